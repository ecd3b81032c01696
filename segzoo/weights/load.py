"""From what ``weights`` names to a loaded model."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from segzoo.errors import DownloadError, UsageFault
from segzoo.pretrained import Identity, Source, find_source
from segzoo.weights.files import read_tensors
from segzoo.weights.layouts import named_as_model
from segzoo.weights.sources import Pretrained, open_pretrained
from segzoo.weights.transfer import TransferReport, transfer


def load_pretrained(
    model: nn.Module, identity: Identity, weights: str, *, classes: Sequence[str] | None = None
) -> TransferReport:
    """Find, fetch and read weights, and load them into ``model``.

    Every name and shape is compared before anything is copied, so a file that does not fit leaves the model as it was.
    Rows of the head go to classes of the same name. Where either side's names are not known, a head of as many classes
    is taken whole, and any other starts at random.

    Args:
        model: A model that was built as ``identity`` says.
        identity: What the model is.
        weights: A tag of the spec, a file, a run directory or ``hf-hub:owner/name``; see
            :func:`segzoo.pretrained.find_source`.
        classes: Names of the model's classes by label, where they are known.

    Raises:
        UsageFault: If there is no such tag, file or run, or a local one cannot be read or does not fit; it names the
            tensor and both shapes.
        DownloadError: If something cannot be fetched, or what was fetched cannot be read or does not fit.
    """
    return load_source(model, identity, find_source(identity, weights), classes=classes)


def load_source(
    model: nn.Module, identity: Identity, source: Source, *, classes: Sequence[str] | None = None
) -> TransferReport:
    """Do what :func:`load_pretrained` does with a source that is found.

    Raises:
        UsageFault: If a local file cannot be read or does not fit.
        DownloadError: If something cannot be fetched, or what was fetched cannot be read or does not fit.
    """
    found = open_pretrained(identity, source)
    tensors = _read(found)
    try:
        return transfer(
            model,
            named_as_model(model, tensors, found.path, layout=found.layout, part=found.part),
            source=found.words,
            part=found.part,
            in_channels=identity.in_channels,
            classes=classes,
            file_classes=found.classes,
        )
    except UsageFault as error:
        raise found.fault(f"{found.words} do not fit: {error}") from error


def _read(found: Pretrained) -> dict[str, Tensor]:
    try:
        return read_tensors(found.path)
    except UsageFault as error:
        way_out = f"; delete {found.path.resolve()} and run again" if found.fault is DownloadError else ""
        raise found.fault(f"{found.words}: {error}{way_out}") from error
