"""Tensors are loaded whole or not at all, and the report says what became of each."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from segzoo.errors import UsageFault
from segzoo.weights.transfer import TransferReport, adapt_first_conv, transfer


class Tiny(nn.Module):
    """An encoder of seven tensors and a head of two; every float is filled at random."""

    def __init__(self, in_channels: int = 3, num_classes: int = 2, width: int = 4) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Conv2d(in_channels, width, 3), nn.BatchNorm2d(width))
        self.head = nn.Conv2d(width, num_classes, 1)
        for tensor in self.state_dict().values():
            if tensor.is_floating_point():
                tensor.uniform_(0.5, 1)


class TwoBranches(nn.Module):
    """The image is read in two places, neither of which holds the first tensor of four dimensions."""

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self.encoder = nn.Module()
        self.encoder.position = nn.Parameter(torch.rand(1, 3, 2, 2))
        self.encoder.context = nn.Conv2d(in_channels, 3, 3)
        self.encoder.deep = nn.Conv2d(3, 3, 3)
        self.decoder = nn.Conv2d(in_channels, 6, 3)
        self.head = nn.Conv2d(6, 2, 1)


def load(model: nn.Module, given: dict[str, Tensor], **arguments: Any) -> TransferReport:
    """Transfer a whole model for RGB without names of classes, unless it is said otherwise."""
    defaults = {"source": "weights from a", "part": "model", "in_channels": 3, "classes": None, "file_classes": None}
    return transfer(model, given, **defaults | arguments)


def copied(model: nn.Module) -> dict[str, Tensor]:
    """Return a model's tensors as they are now."""
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def test_a_whole_model_is_loaded() -> None:
    """Every tensor is the file's, and the report lists every one."""
    given, model = Tiny().state_dict(), Tiny()

    report = load(model, given)

    assert all(torch.equal(tensor, given[name]) for name, tensor in model.state_dict().items())
    assert report == TransferReport("weights from a", tuple(given), (), ())
    assert report.summary() == "weights from a: 9 tensors loaded, 0 adapted, 0 re-initialised"


def test_an_encoder_leaves_the_head_as_it_was() -> None:
    """Only the part that the file holds is compared and loaded."""
    given = {name: tensor for name, tensor in Tiny().state_dict().items() if name.startswith("encoder.")}
    model = Tiny()
    before = copied(model)

    report = load(model, given, part="encoder")

    assert all(torch.equal(tensor, {**before, **given}[name]) for name, tensor in model.state_dict().items())
    assert report.loaded == tuple(given)
    assert report.reinitialised == ("head.weight", "head.bias")
    assert report.summary() == "weights from a: 7 tensors loaded, 0 adapted, 2 re-initialised (head)"


@pytest.mark.parametrize("in_channels", [1, 2, 4, 7])
def test_first_conv_is_adapted_to_other_images(in_channels: int) -> None:
    """One channel gets the sum over RGB; others get red, green and blue in turn, times 3 / channels."""
    given, model = Tiny().state_dict(), Tiny(in_channels)

    report = load(model, given, in_channels=in_channels)

    rgb = given["encoder.0.weight"]
    for channel in range(in_channels):
        expected = rgb.sum(dim=1) if in_channels == 1 else rgb[:, channel % 3] * 3 / in_channels
        torch.testing.assert_close(model.encoder[0].weight[:, channel], expected)
    assert report.adapted == ("encoder.0.weight",)
    assert "8 tensors loaded, 1 adapted (encoder.0.weight)" in report.summary()


def test_a_grey_image_scores_as_in_rgb() -> None:
    """A convolution adapted to one channel answers as the original does to the same grey in all three."""
    rgb, grey = torch.rand(5, 3, 3, 3), torch.rand(1, 1, 8, 8)

    torch.testing.assert_close(
        nn.functional.conv2d(grey, adapt_first_conv(rgb, 1)),
        nn.functional.conv2d(grey.expand(1, 3, 8, 8), rgb),
    )


def test_every_convolution_that_reads_the_image_is_adapted() -> None:
    """Wherever they stand; what has three channels for another reason is loaded as it is."""
    report = load(TwoBranches(4), TwoBranches(3).state_dict(), in_channels=4)
    assert report.adapted == ("encoder.context.weight", "decoder.weight")
    assert {"encoder.position", "encoder.deep.weight"} <= set(report.loaded)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (Tiny(width=5).state_dict(), r"^encoder\.0\.weight has shape \(5, 3, 3, 3\) in the file, \(4, 3, 3, 3\) in"),
        (Tiny(in_channels=4).state_dict(), r"^encoder\.0\.weight has shape \(4, 4, 3, 3\) in the file"),
        ({"encoder.0.weight": torch.rand(4, 3, 3, 3)}, r"^the file lacks encoder\.0\.bias and 6 more$"),
        ({**Tiny().state_dict(), "encoder.7.weight": torch.rand(1)}, r"^the model has no encoder\.7\.weight$"),
        (
            {f"net.{name}": tensor for name, tensor in Tiny().state_dict().items()},
            r"^the file lacks encoder\.0\.bias and 7 more; the model has no net\.encoder\.0\.bias and 8 more$",
        ),
        (
            {**Tiny().state_dict(), "head.weight": torch.rand(2, 4, 3, 3)},
            r"^head\.weight has shape \(2, 4, 3, 3\) in the file, \(2, 4, 1, 1\) in the model$",
        ),
        (
            {**Tiny().state_dict(), "head.bias": torch.rand(3)},
            r"^head\.bias has shape \(3,\) in the file, \(2,\) in the model$",
        ),
        (
            {**Tiny().state_dict(), "encoder.1.bias": torch.arange(4)},
            r"^encoder\.1\.bias is int64 in the file, float32",
        ),
        (
            {**Tiny().state_dict(), "encoder.1.num_batches_tracked": torch.tensor(1.0)},
            r"^encoder\.1\.num_batches_tracked is float32 in the file, int64 in the model$",
        ),
        (
            {**Tiny().state_dict(), "encoder.1.bias": torch.full((4,), 1e300, dtype=torch.float64)},
            r"^encoder\.1\.bias holds values that are too large for float32$",
        ),
    ],
)
def test_what_does_not_fit_is_named_and_nothing_is_loaded(given: dict[str, Tensor], message: str) -> None:
    """The message names the tensor and both shapes or types, and every tensor of the model is as it was."""
    model = Tiny()
    before = copied(model)

    with pytest.raises(UsageFault, match=message):
        load(model, given)

    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_a_fault_in_the_head_leaves_the_encoder_alone() -> None:
    """The last tensor of the file is at fault, and not even the first has been copied."""
    model = Tiny()
    before = copied(model)
    with pytest.raises(UsageFault, match=r"head\.bias"):
        load(model, {**Tiny().state_dict(), "head.bias": torch.rand(2, 1)})
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize(
    ("dtype", "told"),
    [
        (torch.float16, "converted from float16, without loss"),
        (torch.bfloat16, "converted from bfloat16, without loss"),
        (torch.float64, "converted from float64, rounded"),
    ],
)
def test_other_types_of_numbers_are_converted(dtype: torch.dtype, told: str) -> None:
    """The model keeps its own type, every value survives as well as it can, and the report says how well that is."""
    given = {
        name: tensor.to(dtype) if tensor.is_floating_point() else tensor.to(torch.int32)
        for name, tensor in Tiny().state_dict().items()
    }
    model = Tiny(in_channels=1)

    report = load(model, given, in_channels=1)

    for name, tensor in model.state_dict().items():
        assert tensor.dtype == (torch.float32 if given[name].is_floating_point() else torch.int64)
        if name not in report.adapted:
            assert torch.equal(tensor, given[name].to(tensor.dtype))
    torch.testing.assert_close(model.encoder[0].weight, given["encoder.0.weight"].float().sum(dim=1, keepdim=True))
    assert report.summary() == (
        f"weights from a: 8 tensors loaded, 1 adapted (encoder.0.weight), 0 re-initialised; {told}"
    )


def test_counters_of_batches_may_be_missing() -> None:
    """Files from before torch 0.4.1 have none; the model's own counter stays, and nothing is said of it."""
    given = Tiny().state_dict()
    del given["encoder.1.num_batches_tracked"]

    report = load(Tiny(), given)

    assert len(report.loaded) == 8
    assert report.reinitialised == ()


def test_a_head_of_another_class_count_starts_at_random() -> None:
    """Without names, a whole model loads into one with more classes; only the head keeps its values."""
    given, model = Tiny(num_classes=2).state_dict(), Tiny(num_classes=5)
    head = model.head.weight.clone()

    report = load(model, given)

    assert torch.equal(model.encoder[0].weight, given["encoder.0.weight"])
    assert torch.equal(model.head.weight, head)
    assert report.reinitialised == ("head.weight", "head.bias")
    assert report.summary() == (
        "weights from a: 7 tensors loaded, 0 adapted, 2 re-initialised (head); "
        "head: re-initialised: the file has 2 classes, the model 5"
    )


def test_rows_of_the_head_go_by_name() -> None:
    """Rows of common classes are the file's, wherever they stand there; the others keep their values."""
    given, model = Tiny(num_classes=4).state_dict(), Tiny(num_classes=3)
    before = copied(model)

    report = load(model, given, classes=["car", "road", "sky"], file_classes=["road", "tree", "car", "pole"])

    for leaf in ("head.weight", "head.bias"):
        own = model.state_dict()[leaf]
        assert torch.equal(own[:2], given[leaf][[2, 0]])
        assert torch.equal(own[2], before[leaf][2])
    assert report.kept == ("head.weight", "head.bias")
    assert len(report.loaded) == 7
    assert report.reinitialised == ()
    assert report.summary() == (
        "weights from a: 7 tensors loaded, 0 adapted, 0 re-initialised; head: 2 of 3 classes kept by name (new: sky)"
    )
