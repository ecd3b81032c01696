"""Which rows of a head belong to which class, and which of them another head can keep.

A dimension of a head's tensor counts classes where model and file differ in it by their numbers of classes. Where both
have as many classes under other names, no shape tells; then the kind of the layer does:

- outputs of a convolution, a linear layer or a batch norm are classes where there are as many of them;
- inputs of a transposed convolution are, too, where its outputs are: it enlarges scores, as in FCN;
- inputs of any other layer are features.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from segzoo.errors import UsageFault

HEAD = "head."
MAX_SHOWN = 5

Axes = tuple[int, ...]


@dataclass(frozen=True)
class HeadMatch:
    """What can be kept of a head.

    Args:
        axes: The dimensions that count classes, by tensor; tensors without any are not listed.
        rows: Labels in the model and in the file of the classes that both have.
        told: One sentence for the transfer report; empty where there is nothing to tell.
    """

    axes: Mapping[str, Axes]
    rows: tuple[tuple[int, int], ...]
    told: str

    def merge(self, name: str, own: Tensor, given: Tensor) -> Tensor:
        """Return the model's tensor with the file's values for every class that both have."""
        into, out_of = torch.tensor(self.rows).T
        return _paste(own, given, self.axes[name], into, out_of)


def match_head(
    model: nn.Module,
    given: Mapping[str, Tensor],
    *,
    classes: Sequence[str] | None,
    file_classes: Sequence[str] | None,
) -> HeadMatch:
    """Compare a model's head with that of a file.

    Shapes that differ for another reason than the number of classes are left to the caller.

    Args:
        model: The model.
        given: The file's tensors, named as in the model.
        classes: Names of the model's classes, where they are known.
        file_classes: Names of the file's classes, where they are known.

    Raises:
        UsageFault: If the file names another number of classes than its tensors have.
    """
    head = {name: tensor for name, tensor in model.state_dict().items() if name.startswith(HEAD) and name in given}
    if not head:
        return HeadMatch({}, (), "")
    axes = _axes_by_shape(model, head, given, classes, file_classes)
    if classes is None or file_classes is None:
        return HeadMatch(axes, (), _counted(axes, head, given))
    if not axes and any(tensor.shape != given[name].shape for name, tensor in head.items()):
        return HeadMatch({}, (), "")
    if not axes and len(classes) != len(file_classes):
        raise UsageFault(f"the file names {len(file_classes)} classes, but its head has {len(classes)}")
    if not axes and list(classes) != list(file_classes):
        axes, certain = _axes_by_role(model, head, len(classes))
        if not certain:
            told = f"re-initialised: which of its layers with {len(classes)} channels hold classes cannot be told"
            return HeadMatch(axes, (), told)
    return HeadMatch(axes, _rows(classes, file_classes), _told(classes, file_classes))


def _axes_by_shape(
    model: nn.Module,
    head: Mapping[str, Tensor],
    given: Mapping[str, Tensor],
    classes: Sequence[str] | None,
    file_classes: Sequence[str] | None,
) -> dict[str, Axes]:
    """Return the dimensions in which tensors differ by the two numbers of classes; none, if they differ otherwise."""
    found: dict[str, Axes] = {}
    counts = set()
    same: dict[nn.Module, set[bool]] = {}
    for name, tensor in head.items():
        shape, other = tensor.shape, given[name].shape
        out, into = _roles(model, name)
        if len(shape) != len(other) or len(shape) <= out:
            continue
        same.setdefault(_layer(model, name), set()).add(shape[out] == other[out])
        axes = tuple(axis for axis in range(len(shape)) if shape[axis] != other[axis])
        if out in axes and set(axes) <= {out, into}:
            found[name] = axes
            counts |= {(shape[axis], other[axis]) for axis in axes}
    known = (len(classes) if classes else None, len(file_classes) if file_classes else None)
    fits = len(counts) == 1 and all(
        count is None or count == size for pair in counts for count, size in zip(known, pair, strict=True)
    )
    # All tensors of a layer have as many outputs.
    return found if fits and all(len(kinds) == 1 for kinds in same.values()) else {}


def _axes_by_role(model: nn.Module, head: Mapping[str, Tensor], count: int) -> tuple[dict[str, Axes], bool]:
    """Return the dimensions that count classes, judged by layers, and whether no features can be among them.

    A layer that reads as many features as there are classes leaves open whether the layer before it gives features.
    """
    found: dict[str, Axes] = {}
    readers = set()
    for name, tensor in head.items():
        layer = _layer(model, name)
        out, into = _roles(model, name)
        wide = {axis for axis in (out, into) if axis is not None and tensor.ndim > axis and tensor.shape[axis] == count}
        if not wide:
            continue
        if into in wide and not (out in wide and isinstance(layer, nn.ConvTranspose2d)):
            wide.remove(into)
            readers.add(layer)
        found[name] = tuple(sorted(wide))
    writers = {_layer(model, name) for name, axes in found.items() if axes}
    return found, not readers or (len(readers) == 1 and writers <= readers)


def _layer(model: nn.Module, name: str) -> nn.Module:
    return model.get_submodule(name.rpartition(".")[0])


def _roles(model: nn.Module, name: str) -> tuple[int, int | None]:
    """Return the dimension of a tensor that counts outputs, and the one that counts inputs, where it has one."""
    layer = _layer(model, name)
    if not name.endswith(".weight") or not isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)):
        return 0, None
    if not isinstance(layer, nn.Linear) and layer.groups > 1:
        return 0, None  # each output belongs to the input at its place
    return (1, 0) if isinstance(layer, nn.ConvTranspose2d) else (0, 1)


def _rows(classes: Sequence[str], file_classes: Sequence[str]) -> tuple[tuple[int, int], ...]:
    labels = {name: label for label, name in enumerate(file_classes)}
    return tuple((label, labels[name]) for label, name in enumerate(classes) if name in labels)


def _told(classes: Sequence[str], file_classes: Sequence[str]) -> str:
    new = [name for name in classes if name not in file_classes]
    told = f"{len(classes) - len(new)} of {len(classes)} classes kept by name"
    if not new:
        return told
    more = f" and {len(new) - MAX_SHOWN} more" if len(new) > MAX_SHOWN else ""
    return f"{told} (new: {', '.join(new[:MAX_SHOWN])}{more})"


def _counted(axes: Mapping[str, Axes], head: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> str:
    for name, (axis, *_) in axes.items():
        return f"re-initialised: the file has {given[name].shape[axis]} classes, the model {head[name].shape[axis]}"
    return ""


def _paste(own: Tensor, given: Tensor, axes: Axes, into: Tensor, out_of: Tensor) -> Tensor:
    """Return ``own`` with the block of ``given`` that the labels select in all ``axes``."""
    if not axes:
        return given
    axis, *rest = axes
    block = _paste(own.index_select(axis, into), given.index_select(axis, out_of), tuple(rest), into, out_of)
    return own.index_copy(axis, into, block)
