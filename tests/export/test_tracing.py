"""A model is exported as it is when it is used, and is left as it was."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from segzoo.errors import UnknownName
from segzoo.export.tracing import Half, check_dimensions, evaluation, example


def test_half_computes_in_float16() -> None:
    """Images and logits are float32, what lies between is float16, and the model itself stays in float32."""
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)).eval()
    half = Half(model)
    seen: list[torch.dtype] = []
    half.model[0].register_forward_hook(lambda _module, _inputs, output: seen.append(output.dtype))
    image = torch.rand(1, 3, 4, 4)
    logits = half(image)
    assert logits.dtype == torch.float32
    assert seen == [torch.float16]
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert not half.model.training
    torch.testing.assert_close(logits, model(image), rtol=1e-2, atol=1e-2)


def test_evaluation_puts_every_mode_back() -> None:
    """Layers that were in evaluation mode while the rest trained are so again."""
    model = nn.Sequential(nn.Dropout(), nn.BatchNorm2d(2)).train()
    model[1].eval()
    with evaluation(model):
        assert not any(module.training for module in model.modules())
    assert [module.training for module in model.modules()] == [True, True, False]


@pytest.mark.parametrize(("dynamic", "batch"), [((), 1), (("height",), 1), (("batch",), 2)])
def test_example(dynamic: tuple[str, ...], batch: int) -> None:
    """A batch that is to be open has two images: torch takes a one for a constant."""
    assert example(nn.Conv2d(5, 1, 1), 5, (8, 6), dynamic).shape == (batch, 5, 8, 6)


def test_unknown_dimension() -> None:
    """A typo gets a suggestion."""
    with pytest.raises(UnknownName, match=r"no dimension named 'hight'. Did you mean 'height'\?"):
        check_dimensions(["hight"])
