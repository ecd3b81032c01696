"""Files of the Hugging Face hub, from its client's cache or the network, which may be slow, silent or absent."""

from __future__ import annotations

import logging
import os
import re
from contextlib import suppress
from pathlib import Path

from segzoo.errors import DownloadError
from segzoo.files import sha256_file
from segzoo.pretrained import DESCRIPTION, HUB, TENSORS
from segzoo.weights.patience import Progress, run_while_it_advances

logger = logging.getLogger(__name__)

CONTACT_SECONDS = 10.0
"""How long the hub may take to answer at all."""

COMMIT = re.compile("[0-9a-f]{40}")


class UnreachableError(DownloadError):
    """A file can neither be fetched nor be found in the cache."""


def fetch_model(repository: str, revision: str | None) -> Path:
    """Return the local folder of a repository's ``model.json`` and ``model.safetensors``.

    Raises:
        DownloadError: If they cannot be fetched, or the repository holds no model of segzoo.
    """
    description, commit = fetch_description(repository, revision)
    if description is None:
        raise DownloadError(
            f"{HUB}{repository} says nothing of the model that its weights belong to: it has no {DESCRIPTION}"
        )
    fetch_file(repository, TENSORS, revision=commit)
    return description.parent


def fetch_file(repository: str, filename: str, *, revision: str | None, sha256: str | None = None) -> Path:
    """Return the local path of a file; one that the cache holds needs no network.

    Args:
        repository: ``owner/name``.
        filename: The file in the repository.
        revision: Commit, tag or branch; None is the main branch.
        sha256: What its checksum has to be, where that is known.

    Raises:
        DownloadError: If it cannot be fetched, or its content is not what was promised.
    """
    try:
        path = _download(repository, filename, revision, cached_first=True)
    except Exception as error:  # the client raises its own, its HTTP library's and the system's
        raise UnreachableError(_unreachable(repository, filename, revision, error)) from error
    # The hub's cache names a large file after its SHA-256, but the client compares no more than the size.
    blob = path.resolve()
    expected = sha256 or (blob.name if re.fullmatch("[0-9a-f]{64}", blob.name) else None)
    if expected is not None and sha256_file(path) != expected:
        raise DownloadError(
            f"{filename} of {repository} is damaged: its SHA-256 is not {expected}; delete {blob} and run again"
        )
    return path


def fetch_description(repository: str, revision: str | None) -> tuple[Path | None, str]:
    """Return a repository's ``model.json``, or None where it has none, and the commit that ``revision`` stands for.

    Branches and tags move, so the hub is asked what they stand for now. Where it cannot be asked, they are what they
    were when the repository was cached.

    Raises:
        DownloadError: If the hub cannot be asked, and the cache does not hold the repository's weights.
    """
    from huggingface_hub.errors import RemoteEntryNotFoundError

    pinned = revision is not None and COMMIT.fullmatch(revision) is not None
    try:
        path = _download(repository, DESCRIPTION, revision, cached_first=pinned)
    except RemoteEntryNotFoundError as error:
        return None, error.response.headers.get("X-Repo-Commit") or revision or "main"
    except Exception as error:  # as above
        tensors = _cached(repository, TENSORS, revision)
        if tensors is None:
            raise UnreachableError(_unreachable(repository, DESCRIPTION, revision, error)) from error
        commit = tensors.parent.name
        logger.warning(
            "the hub cannot be asked for %s (%s); taking what the cache holds, commit %s",
            repository,
            _first_line(error),
            commit,
        )
        return _cached(repository, DESCRIPTION, commit), commit
    return path, path.parent.name


def _download(repository: str, filename: str, revision: str | None, *, cached_first: bool) -> Path:
    """Return a file of the cache, brought there if need be; what the client raises is raised."""
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url
    from huggingface_hub.errors import LocalEntryNotFoundError, RemoteEntryNotFoundError

    address = endpoint()
    progress = Progress(_folder(repository))

    def from_cache_or_network() -> str:
        if cached_first:
            with suppress(LocalEntryNotFoundError):
                return hf_hub_download(repository, filename, revision=revision, local_files_only=True)
        url = hf_hub_url(repository, filename, revision=revision, endpoint=address)
        # The client would meet a refused connection with half a minute of retries; this asks once. What it may say of
        # a missing file is left to the client, which then remembers the commit.
        with suppress(RemoteEntryNotFoundError):
            get_hf_file_metadata(url, timeout=CONTACT_SECONDS, endpoint=address)
        return hf_hub_download(repository, filename, revision=revision, endpoint=address, tqdm_class=progress.bar())

    return Path(run_while_it_advances(from_cache_or_network, progress))


def _cached(repository: str, filename: str, revision: str | None) -> Path | None:
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(repository, filename, revision=revision)
    return Path(found) if isinstance(found, str) else None


def endpoint() -> str:
    """Return the address of the hub."""
    from huggingface_hub import constants

    # The client reads HF_ENDPOINT when it is imported; it may have been set since.
    return os.environ.get("HF_ENDPOINT", constants.ENDPOINT).rstrip("/")


def _folder(repository: str) -> Path:
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE) / f"models--{repository.replace('/', '--')}"


def _unreachable(repository: str, filename: str, revision: str | None, error: Exception) -> str:
    return (
        f"cannot fetch {filename} of {repository} (revision {revision or 'main'}) from {endpoint()}: "
        f"{type(error).__name__}: {_first_line(error)}\n"
        f"{_way_out(repository, filename, revision, error)}"
    )


def _way_out(repository: str, filename: str, revision: str | None, error: Exception) -> str:
    from huggingface_hub import errors

    folder = _folder(repository)
    match error:
        case errors.EntryNotFoundError() if not isinstance(error, errors.LocalEntryNotFoundError):
            return f"The repository {repository} has no {filename}: is it one of segzoo?"
        case errors.RevisionNotFoundError():
            return f"The repository {repository} has no commit, tag or branch {revision!r}"
        case errors.GatedRepoError():
            return f"Ask for access on the page of {repository}, then run `hf auth login` or set HF_TOKEN"
        case errors.RepositoryNotFoundError():
            return (
                f"There is no repository {repository}, or it is private: check its name; for a private one run "
                "`hf auth login` or set HF_TOKEN"
            )
    pinned = f" --revision {revision}" if revision else ""
    # Of a repository named by the user, all is needed: what it describes and its tensors.
    files = "" if filename == DESCRIPTION else f" {filename}"
    return (
        f"It is looked for in {folder}. Without a network, run\n"
        f"  hf download {repository}{files}{pinned}\n"
        f"where there is one and copy the folder {folder.name} of its cache to {folder.parent} (HF_HOME moves the "
        "cache)"
    )


def _first_line(error: Exception) -> str:
    return next((line for line in str(error).splitlines() if line), type(error).__name__)
