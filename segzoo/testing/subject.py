"""What the checks of one model share."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator
from functools import cached_property
from typing import TypeVar, cast

import torch
from pydantic import BaseModel
from torch import Tensor, nn

from segzoo.build import build_from_spec
from segzoo.errors import PluginError
from segzoo.params import validate_params
from segzoo.plugins import default_registry
from segzoo.registry import BUILTIN, LOCAL, Entry
from segzoo.spec import ModelSpec

T = TypeVar("T")

CLASSES = 2
SIDE = 64


class ContractError(AssertionError):
    """A model breaks the contract; the message says how."""


class SkippedCheck(Exception):  # noqa: N818 - nothing is wrong
    """A check does not apply here; the message says why."""


class Subject:
    """One model under the kit: its spec, and networks that are built once for all checks.

    A check that changes a network takes a copy of it.

    Args:
        spec: The model's spec.
        id: The model's id; its bare name where no registry holds it.
        module: The module that offers the spec to ``segzoo list``, or None where nothing does.
    """

    def __init__(self, spec: ModelSpec, id: str, module: str | None) -> None:
        self.spec = spec
        self.id = id
        self.module = module
        self._on_meta: dict[tuple[int, int], nn.Module] = {}
        self._known: dict[Callable[[Subject], object], object] = {}

    @cached_property
    def params(self) -> BaseModel:
        """The model's parameters where a user gives none."""
        return validate_params(self.spec, {})

    @cached_property
    def refined(self) -> ModelSpec:
        """The spec of the model that these parameters make."""
        return self.spec.refined(self.params)

    @cached_property
    def model(self) -> nn.Module:
        """The network in evaluation mode; no check changes it."""
        return self.build().eval()

    def build(self, *, seed: int = 0, in_channels: int = 3, num_classes: int = CLASSES) -> nn.Module:
        """Return a new network, its weights drawn with this seed."""
        with seeded(seed), torch.enable_grad():
            return build_from_spec(self.refined, self.params, in_channels=in_channels, num_classes=num_classes)

    def copy(self) -> nn.Module:
        """Return a network in training mode that a check may change."""
        return copy.deepcopy(self.model).train()

    def once(self, compute: Callable[[Subject], T]) -> T:
        """Return what ``compute`` finds out about this model; it runs for the first check that asks."""
        if compute not in self._known:
            self._known[compute] = compute(self)
        return cast("T", self._known[compute])

    def on_meta(self, *, in_channels: int = 3, num_classes: int = CLASSES) -> nn.Module:
        """Return a network in evaluation mode on the meta device, where nothing is computed."""
        key = (in_channels, num_classes)
        if key not in self._on_meta:
            self._on_meta[key] = self._build_on_meta(in_channels, num_classes).eval()
        return self._on_meta[key]

    def _build_on_meta(self, in_channels: int, num_classes: int) -> nn.Module:
        try:
            with torch.device("meta"):
                return self.build(in_channels=in_channels, num_classes=num_classes).to("meta")
        except Exception:  # some builders look at values that they compute; what else is wrong is told now
            return self.build(in_channels=in_channels, num_classes=num_classes).to("meta")

    def sized(self, height: int, width: int) -> tuple[int, int]:
        """Return this size, or the model's smallest where that is larger."""
        smallest = self.refined.input.min_size
        return max(height, smallest), max(width, smallest)


def subject_of(model: str | ModelSpec) -> Subject:
    """Return the subject for a name or a spec.

    Raises:
        UnknownModel: If no model has this name.
        PluginError: If the plugin that offers the model is broken.
    """
    registry = default_registry()
    if isinstance(model, str):
        return _from_entry(registry.resolve(model))
    found = next((entry for entry in registry if entry.name == model.name and _offers(entry, model)), None)
    return Subject(model, model.name, None) if found is None else _from_entry(found)


def _offers(entry: Entry, spec: ModelSpec) -> bool:
    try:
        return entry.spec() == spec
    except PluginError:
        return False


def _from_entry(entry: Entry) -> Subject:
    if entry.distribution == LOCAL:
        return Subject(entry.spec(), entry.id, None)
    module = "segzoo.catalog" if entry.distribution == BUILTIN else entry.target.partition(":")[0]
    return Subject(entry.spec(), entry.id, module)


def random_image(batch: int, height: int, width: int, *, channels: int = 3) -> Tensor:
    """Return ``(batch, channels, height, width)`` values in [0, 1], the same each time."""
    return torch.rand(batch, channels, height, width, generator=torch.Generator().manual_seed(0))


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed torch inside the block, and leave the caller's random numbers as they were."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
