"""Where each kind of source keeps its tensors, and what is known of them."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import platformdirs

from segzoo import download
from segzoo.errors import DownloadError, SegzooError, UsageFault
from segzoo.files import sha256_file
from segzoo.pretrained import (
    HUB,
    TENSORS,
    Description,
    FileSource,
    HubSource,
    Identity,
    RunSource,
    Source,
    TagSource,
    check_description,
    read_description,
)
from segzoo.spec import Weights
from segzoo.weights.hub import UnreachableError, fetch_description, fetch_file
from segzoo.weights.layouts import Layout, Part

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Pretrained:
    """A file of tensors on this machine.

    Args:
        words: What it is, for messages and records: "imagenet weights from owner/name".
        path: The file.
        fault: What is raised where it is at fault: whoever named a local file can mend it, nobody a fetched one.
        part: The part of the model that it holds.
        layout: How it names its tensors.
        classes: Names of its classes by label, where they are known.
    """

    words: str
    path: Path
    fault: type[SegzooError] = UsageFault
    part: Part = "model"
    layout: Layout = "own"
    classes: tuple[str, ...] | None = None


def open_pretrained(identity: Identity, source: Source) -> Pretrained:
    """Return a source's file, fetched where it is not on this machine.

    Raises:
        UsageFault: If a run's tensors are not those that its description is about.
        DownloadError: If something cannot be fetched, or is not what was promised.
    """
    try:
        return _open(identity, source)
    except UnreachableError as error:
        raise DownloadError(
            f"{error}; or train from random weights:\n"
            "  --set model.weights=null --set transfer.strategy=scratch (in Python: weights=None)"
        ) from error


def _open(identity: Identity, source: Source) -> Pretrained:
    match source:
        case TagSource(tag, weights):
            return Pretrained(
                f"{tag} weights from {weights.hub or weights.url}",
                fetch(weights),
                fault=DownloadError,
                part=weights.part,
                layout=weights.layout,
                classes=weights.classes or None,
            )
        case FileSource(path):
            return Pretrained(f"weights from {path}", path)
        case RunSource(folder, description):
            words = f"weights from {folder}"
            _check_sha256(folder / TENSORS, description, words, UsageFault)
            return Pretrained(words, folder / TENSORS, classes=description.class_names)
        case HubSource(repository, revision):
            return _open_repository(identity, repository, revision)


def fetch(weights: Weights) -> Path:
    """Return the local path of a tag's file, downloading it where the cache lacks it.

    Raises:
        DownloadError: If it cannot be fetched, or its content is not what was promised.
    """
    if weights.hub is not None:
        return fetch_file(weights.hub, weights.filename, revision=weights.revision, sha256=weights.sha256)
    url, sha256 = weights.url or "", weights.sha256 or ""
    folder = Path(platformdirs.user_cache_dir("segzoo")) / "weights" / sha256[:16]
    return download.fetch(url, sha256=sha256, folder=folder, name=Path(urlsplit(url).path).name)


def _open_repository(identity: Identity, repository: str, revision: str | None) -> Pretrained:
    """Fetch the description first, so that tensors of another model are never downloaded."""
    path, commit = fetch_description(repository, revision)
    words = f"weights from {HUB}{repository}@{commit}"
    if revision != commit:
        logger.info("%s%s is at commit %s", HUB, repository, commit)
    description = None
    if path is not None:
        try:
            description = read_description(path)
            check_description(identity, description, words)
        except UsageFault as error:
            raise DownloadError(str(error)) from error
    tensors = fetch_file(repository, TENSORS, revision=commit)
    if description is None:
        return Pretrained(words, tensors, fault=DownloadError)
    _check_sha256(tensors, description, words, DownloadError)
    return Pretrained(words, tensors, fault=DownloadError, classes=description.class_names)


def _check_sha256(path: Path, description: Description, words: str, fault: type[SegzooError]) -> None:
    expected = description.provenance.weights_sha256
    if sha256_file(path) != expected:
        raise fault(
            f"{words}: {path.name} is damaged, or not the one described beside it: its SHA-256 is not {expected}"
        )
