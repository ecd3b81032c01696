"""The network that is measured."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from segzoo.build import create_model
from segzoo.params import validate_params
from segzoo.plugins import default_registry
from segzoo.pretrained import DESCRIPTION, read_description
from segzoo.spec import InputSpec

NUM_CLASSES = 21
"""Channels of the logits of a model that no run has trained: those of Pascal VOC."""
IN_CHANNELS = 3


@dataclass(frozen=True)
class Subject:
    """A network on the CPU in evaluation mode, and what is known of it.

    Args:
        name: What rows call it: its full id, or the run directory as it was named.
        model: The network.
        num_classes: Channels of its logits.
        in_channels: Channels of its images.
        input: What it expects of an image.
        trained: Whether its weights are those of a run; else they are random.
    """

    name: str
    model: nn.Module
    num_classes: int
    in_channels: int
    input: InputSpec
    trained: bool = False

    def image(self, batch: int, size: tuple[int, int], *, seed: int) -> Tensor:
        """Return ``(batch, in_channels, *size)`` normally distributed values, the same for the same seed."""
        generator = torch.Generator().manual_seed(seed)
        return torch.randn(batch, self.in_channels, *size, generator=generator)

    def check(self, logits: Tensor, image: Tensor) -> None:
        """Refuse logits that cannot be those of an image.

        Raises:
            ValueError: If their shape is another, or a value is not finite.
        """
        height, width = (side - 2 * self.input.margin for side in image.shape[-2:])
        expected = (image.shape[0], self.num_classes, height, width)
        if tuple(logits.shape) != expected:
            raise ValueError(f"expected logits {expected} for images {tuple(image.shape)}, got {tuple(logits.shape)}")
        wrong = logits.numel() - int(torch.isfinite(logits).sum())
        if wrong:
            raise ValueError(f"{wrong} of {logits.numel()} logits are not finite")


def open_subject(name: str, *, seed: int) -> Subject:
    """Build a model by its name, or that of a run directory with its weights.

    Args:
        name: A name or id of the registry, or a run directory.
        seed: Decides on random weights.

    Raises:
        SegzooError: If there is no such model or run, or it cannot be built.
    """
    folder = _model_folder(Path(name))
    if (folder / DESCRIPTION).is_file():
        found = read_description(folder / DESCRIPTION)
        return _build(
            found.id, found.params, seed=seed, classes=found.num_classes, channels=found.in_channels, run=name
        )
    return _build(name, {}, seed=seed, classes=NUM_CLASSES, channels=IN_CHANNELS, run=None)


def _build(name: str, params: dict[str, object], *, seed: int, classes: int, channels: int, run: str | None) -> Subject:
    entry = default_registry().resolve(name)
    spec = entry.spec()
    expected = spec.refined(validate_params(spec, params)).input
    torch.manual_seed(seed)
    model = create_model(entry.id, num_classes=classes, in_channels=channels, weights=run, **params)
    return Subject(run or entry.id, model.eval(), classes, channels, expected, run is not None)


def _model_folder(path: Path) -> Path:
    return path / "model" if (path / "model").is_dir() else path
