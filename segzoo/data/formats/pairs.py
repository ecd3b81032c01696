"""Images and masks as pairs of files: what has no partner is told, not lost."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from segzoo.data.findings import Finding, Kind
from segzoo.data.images import SUFFIXES
from segzoo.data.source import Sample, draw_splits


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
    """
    fractions = {split: share for split, share in splits.items() if not isinstance(share, str)}
    if fractions:
        samples, findings = everything()
        return draw_splits(samples, fractions, seed=seed), findings
    found = {split: official(str(share)) for split, share in splits.items()}
    findings = tuple(dict.fromkeys(finding for part in found.values() for finding in part.findings))
    return {split: part.samples for split, part in found.items()}, findings


def pair_folders(images: Path, masks: Path, *, prefix: str = "", image_end: str = "", mask_end: str = "") -> Found:
    """Pair the image files below two folders by their relative names.

    Args:
        images: The folder of images.
        masks: The folder of masks.
        prefix: What the samples' names begin with.
        image_end: The end of an image's name, before the suffix, that its mask does not share; other files are none.
        mask_end: Likewise for masks.
    """
    (found, more), (partners, others) = _files(images, image_end), _files(masks, mask_end)
    alone = [
        Finding("missing_mask", str(found[name]), f"no mask in {masks}") for name in found.keys() - partners.keys()
    ]
    alone += [
        Finding("missing_image", str(partners[name]), f"no image in {images}")
        for name in partners.keys() - found.keys()
    ]
    both = sorted(found.keys() & partners.keys())
    samples = [Sample(prefix + name, found[name], partners[name], number) for number, name in enumerate(both)]
    return Found(tuple(samples), (*more, *others, *sorted(alone, key=lambda finding: finding.file)))


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
            for kind, path in zip(kinds, files, strict=True)
            if not path.is_file()
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


def _files(folder: Path, end: str) -> tuple[dict[str, Path], list[Finding]]:
    """Return the image files below a folder by their relative names without end and suffix, and those told twice."""
    found: dict[str, Path] = {}
    repeated: list[Finding] = []
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() not in SUFFIXES or path.name.startswith(".") or not path.stem.endswith(end):
            continue
        name = path.relative_to(folder).with_suffix("").as_posix().removesuffix(end)
        if name in found:
            repeated.append(Finding("repeated_name", str(path), f"{found[name].name} has the same name"))
        else:
            found[name] = path
    return found, repeated
