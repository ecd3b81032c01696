"""Images and masks as pairs of files: what has no partner is told, not lost."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from segzoo.data.files.images import SUFFIXES
from segzoo.data.findings import Finding, Kind
from segzoo.data.source import Sample, draw_splits
from segzoo.errors import DataError


class Found(NamedTuple):
    """The pairs of a split, sorted by name, and the files that are no half of one."""

    samples: tuple[Sample, ...] = ()
    findings: tuple[Finding, ...] = ()


def deal(
    splits: Mapping[str, float] | Mapping[str, str],
    official: Callable[[str], Found],
    everything: Callable[[], Found],
    *,
    seed: int,
) -> tuple[dict[str, tuple[Sample, ...]], tuple[Finding, ...]]:
    """Return the samples of each split of a recipe, and what is wrong with files among them.

    Args:
        splits: Names of splits, all of them with fractions or all with official splits.
        official: Finds the files of an official split.
        everything: Finds the files that fractions are drawn from.
        seed: The recipe's seed.

    Raises:
        DataError: If whole pairs are all there is, and a fraction of them comes to none.
    """
    fractions = {split: share for split, share in splits.items() if not isinstance(share, str)}
    if fractions:
        samples, findings = everything()
        drawn = draw_splits(samples, fractions, seed=seed)
        if samples and not findings:
            _refuse_too_small(drawn, fractions, len(samples))
        return drawn, findings
    found = {split: official(str(share)) for split, share in splits.items()}
    findings = tuple(dict.fromkeys(finding for part in found.values() for finding in part.findings))
    return {split: part.samples for split, part in found.items()}, findings


def _refuse_too_small(drawn: Mapping[str, tuple[Sample, ...]], fractions: Mapping[str, float], samples: int) -> None:
    empty = [f"data.splits.{split} {fractions[split]:g}" for split, members in drawn.items() if not members]
    if empty:
        raise DataError(
            f"{', '.join(empty)}: this fraction of {samples} sample{'s' * (samples > 1)} comes to none; "
            "give a larger one, or add samples"
        )


def pair_folders(images: Path, masks: Path, *, prefix: str = "", image_end: str = "", mask_end: str = "") -> Found:
    """Pair the image files below two folders by their relative names.

    Args:
        images: The folder of images.
        masks: The folder of masks.
        prefix: What the samples' names begin with.
        image_end: The end of an image's name, before the suffix, that its mask does not share; other files are none.
        mask_end: Likewise for masks.
    """
    here, there = _files(images, image_end), _files(masks, mask_end)
    alone = [
        Finding("missing_mask", str(here.found[name]), f"no mask in {masks}")
        for name in here.found.keys() - there.names
    ]
    alone += [
        Finding("missing_image", str(there.found[name]), f"no image in {images}")
        for name in there.found.keys() - here.names
    ]
    both = sorted(here.found.keys() & there.found.keys())
    samples = [Sample(prefix + name, here.found[name], there.found[name], number) for number, name in enumerate(both)]
    return Found(tuple(samples), (*here.findings, *there.findings, *sorted(alone, key=lambda finding: finding.file)))


def pair_listed(names: Iterable[str], image: Callable[[str], Path], mask: Callable[[str], Path]) -> Found:
    """Pair the files that a list of names stands for; those that are not there are findings.

    Args:
        names: The names, in any order.
        image: Returns the image of a name.
        mask: Returns the mask of a name.
    """
    samples: list[Sample] = []
    findings: list[Finding] = []
    for number, name in enumerate(sorted(set(names))):
        files = image(name), mask(name)
        kinds: tuple[Kind, Kind] = ("missing_image", "missing_mask")
        absent = [
            Finding(kind, str(path), "the file is missing; a split lists it")
            if not os.path.lexists(path)
            else Finding("unreadable", str(path), reason)
            for kind, path in zip(kinds, files, strict=True)
            if (reason := _no_file(path)) is not None
        ]
        findings += absent
        if not absent:
            samples.append(Sample(name, *files, number))
    return Found(tuple(samples), tuple(findings))


def join(parts: Iterable[Found]) -> Found:
    """Return what several folders hold together."""
    parts = list(parts)
    return Found(
        tuple(sample for part in parts for sample in part.samples),
        tuple(finding for part in parts for finding in part.findings),
    )


class _Files(NamedTuple):
    """What has an image's suffix below a folder, by relative names without end and suffix.

    Args:
        found: The regular files.
        names: The names of all that was found, of what is no regular file too.
        findings: What is no regular file, names told twice, and folders that are not entered.
    """

    found: dict[str, Path]
    names: set[str]
    findings: list[Finding]


def _files(folder: Path, end: str) -> _Files:
    files = _Files({}, set(), [])
    for path in sorted(_walk(folder, files.findings)):
        if path.suffix.lower() not in SUFFIXES or not path.stem.endswith(end):
            continue
        name = path.relative_to(folder).with_suffix("").as_posix().removesuffix(end)
        reason = _no_file(path)
        if reason is not None:
            files.findings.append(Finding("unreadable", str(path), reason))
        elif name in files.found:
            files.findings.append(Finding("repeated_name", str(path), f"{files.found[name].name} has the same name"))
        else:
            files.found[name] = path
        files.names.add(name)
    return files


def _walk(folder: Path, findings: list[Finding]) -> Iterator[Path]:
    """Yield what lies in a folder and the folders in it, hidden ones apart; links to folders are told, not followed."""

    def tell(error: OSError) -> None:
        findings.append(Finding("unreadable", str(error.filename), error.strerror or str(error)))

    for parent, folders, names in os.walk(folder, onerror=tell):
        inside = Path(parent)
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in folders:
            path = inside / name
            if path.suffix.lower() in SUFFIXES:
                yield path
            elif _is_link(path):
                findings.append(
                    Finding("unreadable", str(path), "a link to a folder is not followed; copy or mount it")
                )
        yield from (inside / name for name in names if not name.startswith("."))


def _is_link(path: Path) -> bool:
    """Say whether a path is a link; in a folder that may not be entered nobody can tell."""
    try:
        return path.is_symlink()
    except PermissionError:
        return False


def _no_file(path: Path) -> str | None:
    """Return why a path is no file that could be read, or None where it is a regular one."""
    try:
        mode = path.stat().st_mode
    except OSError as error:
        return f"a link that leads nowhere ({error.strerror})" if _is_link(path) else error.strerror
    if stat.S_ISREG(mode):
        return None
    return "it is a folder" if stat.S_ISDIR(mode) else "it is not a regular file"
