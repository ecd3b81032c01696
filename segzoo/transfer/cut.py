"""A model cut in two: one half gives features and never changes, the other scores them and is trained."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_map_only, tree_unflatten

from segzoo.transfer.parts import PARTS, find_parts
from segzoo.transfer.tap import Tree, replace_head, tap

TOLERANCE = 1e-3
"""How far the logits of both halves together may be from the model's: kernels for other strides round otherwise."""


@dataclass(frozen=True)
class Features:
    """What the first half of a model makes of a batch of images.

    Args:
        tree: What the second half needs; the batch is the first dimension of every tensor.
        size: Shape of the images, ``(N, C, H, W)``.
        shapes: What the encoder returned, where the second half starts behind the decoder: tensors of the same shapes
            that take no memory.
    """

    tree: Tree
    size: torch.Size
    shapes: Tree = None

    @property
    def tensors(self) -> list[Tensor]:
        """The tensors of the tree, in a fixed order."""
        return [leaf for leaf in tree_flatten(self.tree)[0] if isinstance(leaf, Tensor)]

    def filled(self, tensors: Sequence[Tensor]) -> Features:
        """Return features of the same form that hold other tensors, perhaps of another number of images."""
        count, device = len(tensors[0]), tensors[0].device
        leaves, form = tree_flatten(self.tree)
        given = iter(tensors)
        filled = [next(given) if isinstance(leaf, Tensor) else leaf for leaf in leaves]
        return Features(
            tree_unflatten(filled, form),
            torch.Size((count, *self.size[1:])),
            tree_map_only(Tensor, lambda leaf: _nothing(leaf, (count, *leaf.shape[1:]), device), self.shapes),
        )

    def to(self, device: torch.device) -> Features:
        """Return the features on a device."""
        return self.filled([tensor.to(device, non_blocking=True) for tensor in self.tensors])


class Cut(ABC):
    """A model in two halves.

    Args:
        model: The model.
        frozen: The parts whose work the features hold.
    """

    def __init__(self, model: nn.Module, frozen: tuple[str, ...]) -> None:
        self.model = model
        self.frozen = frozen

    @property
    def trained(self) -> tuple[str, ...]:
        """The parts that score the features."""
        return tuple(part for part in PARTS if hasattr(self.model, part) and part not in self.frozen)

    @abstractmethod
    def extract(self, images: Tensor) -> Features:
        """Return the features of images ``(N, C, H, W)``, without a gradient, in whatever mode the model is."""

    @abstractmethod
    def score(self, features: Features) -> Tensor:
        """Return the logits ``(N, num_classes, H, W)`` of features."""

    def is_whole(self, images: Tensor) -> bool:
        """Return whether both halves together do in evaluation mode what the model does on images ``(N, C, H, W)``."""
        self.model.eval()
        with torch.no_grad():
            whole: Tensor = self.model(images)
            halves = self.score(self.extract(images))
        return whole.shape == halves.shape and torch.allclose(whole, halves, TOLERANCE, TOLERANCE)


class CutBehindTap(Cut):
    """Taps a part of the model with a forward hook, and later runs the model's own ``forward`` on what was tapped.

    In that second run the parts up to the tap only hand out what is known, so that it works for any ``forward`` that
    passes on nothing else of them.

    Args:
        model: The model.
        part: ``"encoder"`` or ``"decoder"``.

    Raises:
        UnknownName: If the model has no such part.
    """

    def __init__(self, model: nn.Module, part: str) -> None:
        find_parts(model, [part])
        super().__init__(model, PARTS[: PARTS.index(part) + 1])
        self.part = part

    def extract(self, images: Tensor) -> Features:
        """Run the model up to the tap."""
        # What the encoder hands to the decoder is needed for its form only.
        with torch.no_grad(), tap(self.model, "encoder") as encoder, tap(self.model, self.part) as tapped:
            with _ended_behind(self.model, self.part):
                self.model(images)
            shapes = None if self.part == "encoder" else tree_map_only(Tensor, _nothing, encoder.features)
            return Features(tapped.features, images.shape, shapes)

    def score(self, features: Features) -> Tensor:
        """Run the model from the tap on."""
        given = {"encoder": features.shapes, self.part: features.tree}
        image = _nothing(features.tensors[0].float(), features.size)
        with _handing_out(self.model, given):
            logits: Tensor = self.model(image)
        return logits


class CutBeforeHead(Cut):
    """Replaces the head by ``nn.Identity``, so that the model returns features, and puts the head behind the model.

    Args:
        model: The model.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__(model, tuple(part for part in PARTS if part != "head" and hasattr(model, part)))

    def extract(self, images: Tensor) -> Features:
        """Run the model without its head."""
        head = replace_head(self.model, nn.Identity())
        try:
            with torch.no_grad():
                return Features(self.model(images), images.shape)
        finally:
            replace_head(self.model, head)

    def score(self, features: Features) -> Tensor:
        """Run the head."""
        logits: Tensor = find_parts(self.model, ["head"])[0](features.tree)
        return logits

    def is_whole(self, images: Tensor) -> bool:
        """Return whether the model returns just what its head returns, as no other can be cut here."""
        try:
            return super().is_whole(images)
        except (TypeError, AttributeError, RuntimeError):
            # The head takes more than one input, or another than the model returns.
            return False


class _Given(nn.Module):
    """Stands where a part was whose output is known."""

    def __init__(self, output: Tree) -> None:
        super().__init__()
        self.output = output

    def forward(self, *_: object, **__: object) -> Tree:
        """Return it."""
        return self.output


class _BehindTap(Exception):  # noqa: N818 - nothing is wrong
    """Ends a forward whose rest nobody needs."""


@contextmanager
def _ended_behind(model: nn.Module, part: str) -> Iterator[None]:
    def end(*_: object) -> None:
        raise _BehindTap

    handle = find_parts(model, [part])[0].register_forward_hook(end)
    try:
        yield
    except _BehindTap:
        pass
    finally:
        handle.remove()


@contextmanager
def _handing_out(model: nn.Module, outputs: dict[str, Tree]) -> Iterator[None]:
    """Let parts of a model return what is given, without running."""
    parts = dict(zip(outputs, find_parts(model, list(outputs)), strict=True))
    for name, output in outputs.items():
        setattr(model, name, _Given(output))
    try:
        yield
    finally:
        for name, part in parts.items():
            setattr(model, name, part)


def _nothing(like: Tensor, shape: Sequence[int] | None = None, device: torch.device | None = None) -> Tensor:
    """Return zeros of a shape that take the memory of one number."""
    return like.new_zeros((), device=device).expand(like.shape if shape is None else tuple(shape))
