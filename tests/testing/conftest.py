"""Small networks that keep the contract but for one rule."""

from __future__ import annotations

import itertools
import sys
import types
from collections.abc import Callable

import pytest
import torch.nn.functional as F
from torch import Tensor, nn

from segzoo.spec import InputSpec, ModelSpec, Params
from segzoo.testing import CHECKS, check_model


class WidthParams(Params):
    """One parameter."""

    width: int = 8


class Network(nn.Module):
    """Keeps the whole contract; tests derive networks that do not."""

    def __init__(self, *, in_channels: int, num_classes: int) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv2d(in_channels, 8, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.1)
        )
        self.decoder = nn.Sequential(nn.Conv2d(8, 8, 1), nn.Dropout(0.1))
        self.head = nn.Conv2d(8, num_classes, 1)

    def forward(self, image: Tensor) -> Tensor:
        """Map ``(N, in_channels, H, W)`` to logits of the same size."""
        logits = self.head(self.decoder(self.encoder(image)))
        return F.interpolate(logits, size=image.shape[-2:], mode="bilinear", align_corners=False)


class Toys:
    """Makes specs of networks that exist in this process alone."""

    Network = Network

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch
        self._numbers = itertools.count()

    def spec(self, network: Callable[..., nn.Module] = Network, **fields: object) -> ModelSpec:
        """Return a spec that builds ``network``; further arguments are fields of the spec."""
        module = types.ModuleType(f"toys_{next(self._numbers)}")
        module.__dict__["build"] = lambda params, **channels: network(**channels)
        self._monkeypatch.setitem(sys.modules, module.__name__, module)
        return ModelSpec(
            **{
                "name": "toy",
                "summary": "A network for tests",
                "family": "test",
                "builder": f"{module.__name__}:build",
                "params": WidthParams,
                "license": "MIT",
                "input": InputSpec(min_size=8),
                **fields,
            }
        )

    def faults(self, network: Callable[..., nn.Module] = Network, **fields: object) -> dict[str, str]:
        """Return what the kit finds wrong by check, but for the export, which takes seconds."""
        checks = [name for name in CHECKS if name != "onnx_export"]
        return {row.check: row.detail for row in check_model(self.spec(network, **fields), only=checks).faults}


@pytest.fixture
def toys(monkeypatch: pytest.MonkeyPatch) -> Toys:
    """Return a maker of specs."""
    return Toys(monkeypatch)
