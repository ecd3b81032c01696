"""Which images are meant, and what the files are called that are made of them."""

from __future__ import annotations

import glob
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from segzoo.data.files.images import SUFFIXES
from segzoo.data.source import name_some
from segzoo.errors import UsageFault

MAGIC = "*?["


def find_images(words: Sequence[str], *, beside: Path) -> dict[Path, Path]:
    """Return the images that words name, in order, each with a name for what is made of it.

    Args:
        words: Files, folders, which are searched with all folders in them for the suffixes of images, and patterns
            such as ``"scans/*.png"``. Hidden files are in no folder.
        beside: The folder of results; what lies in it is no image of a folder that it lies in.

    Returns:
        For each file a relative path without suffix; with its suffix where two differ by nothing else.

    Raises:
        UsageFault: If a word names nothing, or the folder of results, or two images would give files of one name.
    """
    found: dict[Path, Path] = {}
    for word in words:
        for path, name in _named(word, beside):
            found.setdefault(path, name)
    stems = Counter(name.with_suffix("") for name in found.values())
    kept = {name for name in found.values() if stems[name.with_suffix("")] > 1}
    names = {
        path: name if name in kept or name.with_suffix("") in kept else name.with_suffix("")
        for path, name in found.items()
    }
    owners: dict[Path, Path] = {}
    for path, name in names.items():
        if name in owners:
            raise UsageFault(f"{owners[name]} and {path} would both give {name}; predict them into different folders")
        owners[name] = path
    return names


def check_targets(targets: Sequence[Path], images: Iterable[Path], *, exist_ok: bool) -> None:
    """Make sure that results may be written before anything is read.

    Raises:
        UsageFault: If a result would take the place of an image, of a folder, or, unless ``exist_ok``, of a file that
            exists; up to 20 of these are named.
    """
    originals = {_real(image) for image in images}
    for path in targets:
        if _real(path) in originals:
            raise UsageFault(f"{path} is one of the images, and would be replaced by a result; choose another --out")
        if path.is_dir():
            raise UsageFault(f"{path} is a folder, where a result is to be written; choose another --out")
    existing = [] if exist_ok else [str(path) for path in targets if path.exists()]
    if existing:
        raise UsageFault(
            f"results exist; choose another --out, or pass --overwrite or --skip-existing:\n{name_some(existing)}"
        )


def _named(word: str, beside: Path) -> list[tuple[Path, Path]]:
    if not word:
        raise UsageFault("the name of an image or folder is empty")
    path = Path(word).expanduser()
    if path.is_dir():
        if _real(path) == _real(beside):
            raise UsageFault(
                f"--out {beside} is the folder of images itself: masks in it would be images the next time"
            )
        inside = [found for found in sorted(path.rglob("*")) if _is_image(found.relative_to(path), found)]
        own = [found for found in inside if not _lies_in(found, beside) or _lies_in(path, beside)]
        if not own:
            raise UsageFault(f"no images in {path}: none of its files ends in {', '.join(sorted(SUFFIXES))}")
        return [(found, found.relative_to(path)) for found in own]
    if any(mark in word for mark in MAGIC) and not path.exists():
        matches = [Path(match) for match in sorted(glob.glob(str(path), recursive=True))]  # noqa: PTH207 - Path.glob takes no absolute pattern
        files = [(match, Path(match.name)) for match in matches if not match.is_dir()]
        if not files:
            raise UsageFault(f"no file matches {word!r}")
        return files
    if not path.exists() and not path.is_symlink():
        raise UsageFault(f"there is neither a file nor a folder {word!r}")
    return [(path, Path(path.name))]


def _is_image(relative: Path, path: Path) -> bool:
    hidden = any(part.startswith(".") for part in relative.parts)
    return path.suffix.lower() in SUFFIXES and not hidden and not path.is_dir()


def _lies_in(path: Path, folder: Path) -> bool:
    return _real(path).is_relative_to(_real(folder))


def _real(path: Path) -> Path:
    """Return where a path leads; unlike ``Path.resolve`` this takes a link to itself for the last one."""
    return Path(os.path.realpath(path))
