"""Pretrained weights: fetching a tag's file, and loading it whole or not at all."""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, wait
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlsplit

import platformdirs
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from segzoo import download
from segzoo.errors import DownloadError, UnknownName, UsageFault
from segzoo.files import sha256_file
from segzoo.spec import ModelSpec, Weights

if TYPE_CHECKING:
    from huggingface_hub.utils.tqdm import tqdm

CONTACT_SECONDS = 10.0
"""How long the hub may take to answer at all."""

PATIENCE_SECONDS = 25.0
"""How long a download may stand still, with the client's own retries inside."""

CLASSIFIERS = ("_fc.", "classifier.", "fc.", "head.", "last_linear.", "linear.")
"""Beginnings of the names of classification layers that come with an encoder's weights and have no place in it."""

T = TypeVar("T")


@dataclass(frozen=True)
class TransferReport:
    """What became of each tensor of a model when pretrained weights were loaded.

    Args:
        source: Where the weights come from, in words.
        loaded: Tensors taken as they are.
        adapted: Tensors converted to another number of image channels.
        reinitialised: Tensors that keep their random values.
    """

    source: str
    loaded: tuple[str, ...]
    adapted: tuple[str, ...]
    reinitialised: tuple[str, ...]

    def summary(self) -> str:
        """Return one line that counts the tensors and names the parts that start at random."""
        line = f"{self.source}: {len(self.loaded)} tensors loaded, {len(self.adapted)} adapted"
        if self.adapted:
            line += f" ({', '.join(self.adapted)})"
        line += f", {len(self.reinitialised)} re-initialised"
        if self.reinitialised:
            line += f" ({', '.join(sorted({name.partition('.')[0] for name in self.reinitialised}))})"
        return line


def load_pretrained(model: nn.Module, spec: ModelSpec, tag: str, *, in_channels: int) -> TransferReport:
    """Fetch the weights that ``spec`` lists under ``tag`` and load them into ``model``.

    Every shape is compared before anything is copied, so a file that does not fit leaves the model as it was.

    Args:
        model: A model built from ``spec``.
        spec: The model's spec.
        tag: A key of ``spec.weights``.
        in_channels: Image channels the model was built for; see :func:`adapt_first_conv`.

    Raises:
        UnknownName: If the spec has no such tag.
        DownloadError: If the file cannot be fetched or read, or its checksum is wrong.
        UsageFault: If a tensor is missing, unknown or of another shape; it names the tensor and both shapes.
    """
    if tag not in spec.weights:
        raise UnknownName("weight tag", tag, spec.weights)
    weights = spec.weights[tag]
    tensors = read_tensors(fetch(weights))
    source = f"{tag} weights from {weights.hub or weights.url}"
    if weights.part == "encoder":
        tensors = {f"encoder.{name}": tensor for name, tensor in tensors.items() if not name.startswith(CLASSIFIERS)}
    return _transfer(model, tensors, part=weights.part, in_channels=in_channels, source=source)


def adapt_first_conv(weight: Tensor, in_channels: int) -> Tensor:
    """Convert a first convolution's weights from RGB to another number of channels.

    One channel gets the sum over RGB, so that a grey image scores as it did in RGB. Any other number gets red,
    green and blue in turn, times ``3 / in_channels``, so that the sum over channels keeps its scale.

    Args:
        weight: Weights of the convolution, ``(out_channels, 3, kernel_height, kernel_width)``.
        in_channels: Channels wanted.
    """
    if in_channels == 1:
        return weight.sum(dim=1, keepdim=True)
    return weight[:, torch.arange(in_channels) % 3] * (3 / in_channels)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read named tensors from a ``.safetensors`` file, or from a torch file without running code in it.

    Raises:
        DownloadError: If the file is damaged or holds anything but tensors by name.
    """
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        tensors = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # each reader has exceptions of its own for a damaged file
        raise DownloadError(
            f"{path.name} cannot be read: {type(error).__name__}: {error}; delete {path.resolve()} and run again"
        ) from error
    if not (isinstance(tensors, dict) and all(isinstance(tensor, Tensor) for tensor in tensors.values())):
        raise DownloadError(f"{path} does not hold tensors by name")
    return tensors


def fetch(weights: Weights) -> Path:
    """Return the local path of a weights file, downloading it where the cache lacks it.

    Raises:
        DownloadError: If it cannot be fetched, or its content is not what was promised.
    """
    if weights.hub is not None:
        return _fetch_from_hub(weights, weights.hub)
    return _fetch_from_url(weights.url or "", weights.sha256 or "")


def _fetch_from_url(url: str, sha256: str) -> Path:
    folder = Path(platformdirs.user_cache_dir("segzoo")) / "weights" / sha256[:16]
    return download.fetch(url, sha256=sha256, folder=folder, name=Path(urlsplit(url).path).name)


def _fetch_from_hub(weights: Weights, repo: str) -> Path:
    from huggingface_hub import constants, get_hf_file_metadata, hf_hub_download, hf_hub_url
    from huggingface_hub.errors import LocalEntryNotFoundError

    # The client reads HF_ENDPOINT when it is imported; it may have been set since.
    endpoint = os.environ.get("HF_ENDPOINT", constants.ENDPOINT).rstrip("/")
    folder = Path(constants.HF_HUB_CACHE) / f"models--{repo.replace('/', '--')}"
    progress = _Progress(folder)

    def from_cache_or_network() -> str:
        try:
            return hf_hub_download(repo, weights.filename, revision=weights.revision, local_files_only=True)
        except LocalEntryNotFoundError:
            url = hf_hub_url(repo, weights.filename, revision=weights.revision, endpoint=endpoint)
        # The client would meet a refused connection with half a minute of retries; this asks once.
        get_hf_file_metadata(url, timeout=CONTACT_SECONDS, endpoint=endpoint)
        return hf_hub_download(
            repo, weights.filename, revision=weights.revision, endpoint=endpoint, tqdm_class=progress.bar()
        )

    try:
        path = Path(_run_while_it_advances(from_cache_or_network, progress))
    except Exception as error:  # the client raises its own, its HTTP library's and the system's
        raise DownloadError(_unreachable(weights, endpoint, folder, error)) from error
    _check_content(path, weights, repo)
    return path


def _unreachable(weights: Weights, endpoint: str, folder: Path, error: Exception) -> str:
    reason = next((line for line in str(error).splitlines() if line), "")
    revision = f" --revision {weights.revision}" if weights.revision else ""
    return (
        f"cannot fetch {weights.filename} of {weights.hub} (revision {weights.revision or 'main'}) from {endpoint}: "
        f"{type(error).__name__}: {reason}\n"
        f"It is looked for in {folder}. Without a network, run\n"
        f"  hf download {weights.hub} {weights.filename}{revision}\n"
        f"where there is one and copy the folder {folder.name} of its cache to {folder.parent} (HF_HOME moves the "
        "cache); or train from random weights:\n"
        "  --set model.weights=null --set transfer.strategy=scratch"
    )


def _check_content(path: Path, weights: Weights, repo: str) -> None:
    # The hub's cache names a large file after its SHA-256, but the client compares no more than the size.
    blob = path.resolve()
    expected = weights.sha256 or (blob.name if re.fullmatch("[0-9a-f]{64}", blob.name) else None)
    if expected is not None and sha256_file(path) != expected:
        raise DownloadError(
            f"{weights.filename} of {repo} is damaged: its SHA-256 is not {expected}; delete {blob} and run again"
        )


class _Progress:
    """Bytes that a download has brought so far.

    Both the client's progress bars and the files in the cache count: the bars move before a block is written, and the
    files grow while another process downloads and this one waits for its lock.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._shown = 0.0

    def bar(self) -> type[tqdm]:
        """Return the client's class of progress bars, made to report here."""
        from huggingface_hub.utils.tqdm import tqdm

        progress = self

        class Bar(tqdm):
            def update(self, n: float | None = 1) -> bool | None:
                progress._shown += n or 0
                drawn: bool | None = super().update(n)
                return drawn

        return Bar

    def __call__(self) -> float:
        return self._shown + sum(_size(file) for file in (self._folder / "blobs").glob("*"))


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except FileNotFoundError:  # renamed since it was listed
        return 0


def _run_while_it_advances(call: Callable[[], T], progress: Callable[[], float]) -> T:
    """Return what ``call`` returns, or give up when ``progress`` has not risen for ``PATIENCE_SECONDS``.

    A thread that is given up dies with the process: nothing in Python can stop a system call that hangs in it.

    Raises:
        TimeoutError: If it was given up.
    """
    future: Future[T] = Future()

    def work() -> None:
        try:
            future.set_result(call())
        except BaseException as error:  # handed to the thread that waits
            future.set_exception(error)

    threading.Thread(target=work, name="segzoo-download", daemon=True).start()
    highest, since = progress(), time.monotonic()
    while not wait([future], timeout=0.1).done:
        if (now := progress()) > highest:
            highest, since = now, time.monotonic()
        elif time.monotonic() - since > PATIENCE_SECONDS:
            raise TimeoutError(f"nothing arrived for {PATIENCE_SECONDS:g} s")
    return future.result()


def _transfer(
    model: nn.Module, tensors: Mapping[str, Tensor], *, part: str, in_channels: int, source: str
) -> TransferReport:
    """Decide on each tensor of the model, then load all of them at once."""
    own = model.state_dict()
    wanted = {name: tensor for name, tensor in own.items() if part == "model" or name.startswith(f"{part}.")}
    _check_names(wanted, tensors, source)
    first_conv = next((name for name, tensor in wanted.items() if tensor.ndim == 4), None)
    loaded, adapted = [], []
    for name, tensor in wanted.items():
        given = tensors[name]
        if given.shape == tensor.shape:
            own[name] = given
            loaded.append(name)
        elif (
            name == first_conv
            and _differs_only_in(1, given, tensor)
            and (given.shape[1], in_channels) == (3, tensor.shape[1])
        ):
            own[name] = adapt_first_conv(given, in_channels)
            adapted.append(name)
        elif not (name.startswith("head.") and _differs_only_in(0, given, tensor)):
            raise UsageFault(
                f"{source} do not fit: {name} has shape {tuple(given.shape)} in the file, "
                f"{tuple(tensor.shape)} in the model"
            )
    model.load_state_dict(own)
    taken = {*loaded, *adapted}
    return TransferReport(source, tuple(loaded), tuple(adapted), tuple(name for name in own if name not in taken))


def _check_names(wanted: Mapping[str, Tensor], tensors: Mapping[str, Tensor], source: str) -> None:
    for names, where in (
        (wanted.keys() - tensors.keys(), "the file lacks"),
        (tensors.keys() - wanted.keys(), "the model has no"),
    ):
        if names:
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            raise UsageFault(f"{source} do not fit: {where} {min(names)}{more}")


def _differs_only_in(axis: int, one: Tensor, other: Tensor) -> bool:
    """Tell whether two shapes are equal but for one axis."""
    first, second = list(one.shape), list(other.shape)
    if len(first) != len(second) or len(first) <= axis:
        return False
    first[axis] = second[axis]
    return first == second
