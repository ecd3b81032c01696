"""A trained model, its description and its card, as one commit to a repository of the hub."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression

from segzoo.errors import DownloadError, UsageFault
from segzoo.files import sha256_bytes
from segzoo.inference.description import find_model, is_exported, read_model_description
from segzoo.params import validate_params
from segzoo.plugins import default_registry
from segzoo.pretrained import DESCRIPTION, HUB, TENSORS, hub_source, read_description
from segzoo.publish.card import Published, write_card
from segzoo.recipe import Recipe, load_recipe
from segzoo.runs.rundir import RunDirectory
from segzoo.weights.hub import endpoint
from segzoo.weights.patience import run_while_it_advances

if TYPE_CHECKING:
    from huggingface_hub import HfApi

logger = logging.getLogger(__name__)

CARD = "README.md"


def push_model(source: str | Path, target: str, *, license: str | None = None, private: bool = False) -> str:
    """Publish a trained model, and return the address of the commit.

    The repository is made where there is none. It gets the weights, their description and a card in one commit; its
    other files stay.

    Args:
        source: A run directory, its ``model`` folder, or any folder with ``model.json`` and ``model.safetensors``.
        target: ``hf-hub:owner/name``.
        license: SPDX identifier of the weights' license; None states none.
        private: Whether a repository that is made is private; one that exists stays as it is.

    Raises:
        UsageFault: If there is no such model, its files do not fit each other, or the target is no repository.
        DownloadError: If the hub cannot be reached, or refuses.
    """
    return _commit(_repository(target), collect_files(source, target, license=license), private=private)


def collect_files(source: str | Path, target: str, *, license: str | None) -> dict[str, bytes]:
    """Return what a repository would get: files by name, read once and found to fit each other.

    Args:
        source: As :func:`push_model` takes it.
        target: As :func:`push_model` takes it, for the card.
        license: SPDX identifier of the weights' license.

    Raises:
        UsageFault: As :func:`push_model` does.
    """
    repository = _repository(target)
    if license is not None and not _is_spdx(license):
        raise UsageFault(f"a license is an SPDX identifier such as MIT or CC-BY-4.0, got {license!r}")
    if is_exported(source):
        raise UsageFault(f"{source} is an exported file; push the run that it was made from")
    folder = find_model(source)
    description = read_model_description(folder, read_description(folder / DESCRIPTION))
    weights = (folder / TENSORS).read_bytes()
    if sha256_bytes(weights) != description.provenance.weights_sha256:
        raise UsageFault(f"{folder / TENSORS} is damaged, or not the one that {DESCRIPTION} describes")
    spec = default_registry().resolve(description.id).spec()
    card = write_card(
        Published(
            repository=repository,
            description=description,
            spec=spec.refined(validate_params(spec, description.params)),
            recipe=_recipe(folder),
            images=_images(folder),
            license=license,
        )
    )
    return {TENSORS: weights, DESCRIPTION: (folder / DESCRIPTION).read_bytes(), CARD: card.encode()}


def _repository(target: str) -> str:
    if not target.startswith(HUB):
        raise UsageFault(f"a model is pushed to {HUB}owner/name, got {target!r}")
    found = hub_source(target)
    if found.revision is not None:
        raise UsageFault(f"a model is pushed to the main branch; write {HUB}{found.repository}, got {target!r}")
    return found.repository


def _is_spdx(license: str) -> bool:
    try:
        canonicalize_license_expression(license)
    except InvalidLicenseExpression:
        return False
    return True


def _recipe(folder: Path) -> Recipe | None:
    path = folder.parent / "recipe.json"
    return load_recipe(path) if path.is_file() else None


def _images(folder: Path) -> Mapping[str, int]:
    record = RunDirectory(folder.parent).record()
    return record.data.images if record is not None and record.data is not None else {}


def _commit(repository: str, files: Mapping[str, bytes], *, private: bool) -> str:
    from huggingface_hub import CommitOperationAdd, HfApi

    api = HfApi(endpoint=endpoint())
    try:
        # The client waits for ever where nobody answers.
        run_while_it_advances(lambda: _create(api, repository, private=private), lambda: 0.0)
        logger.info("uploading %s to %s", ", ".join(files), repository)
        done = api.create_commit(
            repository,
            [CommitOperationAdd(name, content) for name, content in files.items()],
            commit_message="Add the model, its description and its card",
        )
    except Exception as error:  # the client raises its own, its HTTP library's and the system's
        raise DownloadError(_refusal(repository, error)) from error
    return str(done.commit_url)


def _create(api: HfApi, repository: str, *, private: bool) -> None:
    api.create_repo(repository, private=True if private else None, exist_ok=True)


def _refusal(repository: str, error: Exception) -> str:
    from huggingface_hub.errors import HfHubHTTPError

    cause: BaseException = error
    while isinstance(cause, RuntimeError) and cause.__cause__ is not None:  # of an upload that failed, it tells no more
        cause = cause.__cause__
    status = cause.response.status_code if isinstance(cause, HfHubHTTPError) else None
    first = next((line for line in str(cause).splitlines() if line), "")
    told = f"cannot push to {repository} at {endpoint()}: {type(cause).__name__}: {first}"
    if status in (401, 403):
        owner = repository.partition("/")[0]
        return f"{told}\nRun `hf auth login` or set HF_TOKEN, with a token that may write to {owner}"
    return f"{told}\nNothing was committed; the same command tries again"
