"""The entry points of installed distributions, whatever state their metadata is in.

``import segzoo`` imports this file before any other that uses pydantic.
"""

from __future__ import annotations

import importlib.metadata
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import Distribution, EntryPoint, EntryPoints, PackageNotFoundError
from pathlib import Path

from packaging.utils import canonicalize_name
from pydantic import create_model

from segzoo.errors import fault_text

logger = logging.getLogger(__name__)

UNKNOWN = "?"
"""Stands for the entry points of a distribution that cannot be read."""

_entry_points: Callable[[Distribution], EntryPoints] = vars(Distribution)["entry_points"].__get__


def _entry_points_or_none(distribution: Distribution) -> EntryPoints:
    try:
        return _entry_points(distribution)
    except Exception:
        return EntryPoints()


# The first class that pydantic builds makes it look for plugins of its own in the entry points of every installed
# package. Where those of one cannot be parsed, that fails, but only once. Torch looks there as well, in several places
# and without a way around: then what cannot be parsed counts as none.
try:
    create_model("First")
except Exception:
    MALFORMED = True
    Distribution.entry_points = property(_entry_points_or_none)  # type: ignore[assignment, method-assign]
else:
    MALFORMED = False


@dataclass(frozen=True)
class Offer:
    """What one distribution offers in a group of entry points.

    Args:
        name: Its normalised name.
        folder: The folder of its metadata.
        version: Its version, where the metadata can be read.
        points: Its entry points; one named ``?`` where they cannot be read.
        fault: What is wrong with its metadata, if anything.
    """

    name: str
    folder: str
    version: str | None
    points: tuple[EntryPoint, ...]
    fault: str | None


def offers(group: str) -> Iterator[Offer]:
    """Yield what each distribution that Python would import offers in a group of entry points."""
    for distribution in importlib.metadata.distributions():
        if MALFORMED:
            _warn_if_malformed(distribution)
        # A look at the raw text first: parsing every package's metadata would cost more than all the rest.
        if group not in _entry_points_text(distribution):
            continue
        name, version, fault = _identity(distribution)
        if _superseded(distribution, name):
            continue
        try:
            points = tuple(_entry_points(distribution).select(group=group))
        except Exception as error:  # whatever a damaged file makes the parser raise
            fault = f"the entry points of {name} cannot be read: {fault_text(error)}; install {name} again"
            points = (EntryPoint(UNKNOWN, "entry_points.txt", group),)
        if points:
            yield Offer(name, _folder(distribution), version, points, fault)


def _warn_if_malformed(distribution: Distribution) -> None:
    try:
        _entry_points(distribution)
    except Exception as error:  # as above
        logger.warning("ignored the malformed entry points of %s: %s", _folder(distribution), fault_text(error))


def _entry_points_text(distribution: Distribution) -> str:
    try:
        return distribution.read_text("entry_points.txt") or ""
    except UnicodeDecodeError as error:
        return error.object.decode(errors="replace")
    except Exception as error:  # as above
        logger.warning("skipped %s: %s", _folder(distribution), fault_text(error))
        return ""


def _identity(distribution: Distribution) -> tuple[str, str | None, str | None]:
    """Return a distribution's normalised name, its version, and what is wrong with its metadata, if anything."""
    try:
        metadata = distribution.metadata
        if "Name" not in metadata:
            raise ValueError("there is no Name in it")
        return canonicalize_name(metadata["Name"]), distribution.version, None
    except Exception as error:  # as above
        name = canonicalize_name(_folder(distribution).partition("-")[0])
        return name, None, f"the metadata of {name} cannot be read: {fault_text(error)}; install {name} again"


def _folder(distribution: Distribution) -> str:
    # The one name that is left where the metadata cannot be read; the class keeps it to itself.
    return Path(str(getattr(distribution, "_path", UNKNOWN))).name


def _superseded(distribution: Distribution, name: str) -> bool:
    """Say whether Python would import another copy, one earlier on sys.path, which may offer other models or none."""
    try:
        first = importlib.metadata.distribution(name)
    except PackageNotFoundError:  # its folder is not named after it
        return False
    return str(first.locate_file("")) != str(distribution.locate_file(""))
