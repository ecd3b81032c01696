"""What checks share is built once, and a spec is found where it is offered."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import segzoo
from segzoo.errors import UnknownModel
from segzoo.plugins import default_registry, get_spec
from segzoo.spec import InputSpec, ModelSpec, Params
from segzoo.testing.subject import Subject, random_image, seeded, subject_of


def test_networks_are_built_once(toys: Any) -> None:
    """The shared networks are built on first use; what a check may change is a copy."""
    built: list[torch.device] = []

    class Counted(toys.Network):
        def __init__(self, **channels: int) -> None:
            super().__init__(**channels)
            built.append(self.head.bias.device)

    subject = subject_of(toys.spec(Counted))
    assert built == []
    assert subject.model is subject.model
    assert subject.on_meta(num_classes=1) is subject.on_meta(num_classes=1)
    assert not subject.model.training
    assert not subject.on_meta(num_classes=1).training
    copy = subject.copy()
    assert copy.training
    assert copy.head.bias is not subject.model.head.bias
    assert built == [torch.device("cpu"), torch.device("meta")]


def test_findings_are_computed_once(toys: Any) -> None:
    """Checks that look at the same step share it; what raises is computed anew for the next, and raises there, too."""
    asked: list[object] = []

    def find(subject: Subject) -> str:
        asked.append(subject)
        if len(asked) == 1:
            raise ValueError("no luck")
        return "found"

    subject = subject_of(toys.spec())
    with pytest.raises(ValueError, match="no luck"):
        subject.once(find)
    assert (subject.once(find), subject.once(find)) == ("found", "found")
    assert asked == [subject, subject]


def test_building_leaves_random_numbers_alone(toys: Any) -> None:
    """The kit does not change what a test around it draws."""
    subject = subject_of(toys.spec())
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    first, second, other = (subject.build(seed=seed).head.weight for seed in (0, 0, 1))
    with seeded(5):
        torch.rand(1)
    assert torch.equal(torch.rand(1), expected)
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


def test_networks_are_built_with_gradients(toys: Any) -> None:
    """A builder may look at gradients, also where a check that computes none asks for the network first."""

    class Looking(toys.Network):
        def __init__(self, **channels: int) -> None:
            super().__init__(**channels)
            self.head.weight.sum().backward()

    subject = subject_of(toys.spec(Looking))
    with torch.no_grad():
        assert subject.model.head.weight.grad is not None


def test_sizes_are_never_below_the_smallest(toys: Any) -> None:
    """Heavy models get small images, and none gets one that is too small."""
    subject = subject_of(toys.spec(input=InputSpec(min_size=96)))
    assert subject.sized(64, 131) == (96, 131)


def test_parameters_decide_on_the_input(toys: Any) -> None:
    """What a spec says is taken after its parameters have refined it."""

    class Sized(Params):
        size: int = 40

        def refine(self, spec: ModelSpec) -> ModelSpec:
            return spec.model_copy(update={"input": InputSpec(min_size=self.size)})

    assert subject_of(toys.spec(params=Sized)).sized(8, 64) == (40, 64)


def test_images_are_the_same_each_time() -> None:
    """Two checks look at the same picture."""
    image = random_image(2, 5, 7, channels=4)
    assert image.shape == (2, 4, 5, 7)
    assert torch.equal(image, random_image(2, 5, 7, channels=4))


@pytest.mark.parametrize("by_name", [True, False])
def test_where_a_spec_is_offered(
    offer: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, toys: Any, by_name: bool
) -> None:
    """By its name or as an object: a built-in, a plugin's, a notebook's and an unknown spec."""
    offer("acme-seg", "lite")
    own = toys.spec(name="own")
    segzoo.register(own)
    expected = {
        "segnet": ("segzoo/segnet", "segzoo.catalog"),
        "lite": ("acme-seg/lite", "acme_seg"),
        "own": ("local/own", None),
    }
    for name, (model_id, module) in expected.items():
        subject = subject_of(name if by_name else get_spec(name))
        assert (subject.id, subject.module) == (model_id, module)
        assert subject.spec is get_spec(name)


def test_a_spec_that_nothing_offers(toys: Any, offer: Callable[..., Path], install: Callable[..., Path]) -> None:
    """It is itself, also where a plugin has another of its name, or a broken one."""
    offer("acme-seg", "toy")
    install("bad-seg", {"toy": "bad_seg:SPEC"}, "raise RuntimeError('no luck')")
    spec = toys.spec()
    subject = subject_of(spec)
    assert (subject.id, subject.module) == ("toy", None)
    assert subject.spec is spec
    assert len([entry for entry in default_registry() if entry.name == "toy"]) == 2


def test_unknown_names_are_told() -> None:
    """A typo gets a suggestion."""
    with pytest.raises(UnknownModel, match=r"no model named 'segnt'.*'segnet'"):
        subject_of("segnt")
