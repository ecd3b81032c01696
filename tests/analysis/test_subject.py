"""The network that is measured is the one that was named, and its logits are looked at."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from segzoo.analysis.subject import Subject, open_subject
from segzoo.errors import PluginError, UnknownModel
from segzoo.recipe import load_recipe
from segzoo.spec import InputSpec
from segzoo.training.finetune import finetune

SUBJECT = Subject("acme/net", nn.Conv2d(3, 2, 1), 2, 3, InputSpec(mean=(0.0,) * 3, std=(1.0,) * 3, margin=1))


def test_a_name_becomes_its_full_id() -> None:
    """A model of the registry is in evaluation mode, and its weights depend on the seed alone."""
    first, same, other = (open_subject("fast_scnn", seed=seed) for seed in (0, 0, 1))
    assert first.name == "segzoo/fast_scnn"
    assert not first.model.training
    assert first.num_classes == 21
    weights = [next(subject.model.parameters()) for subject in (first, same, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_a_run_directory_is_a_model(tmp_path: Path) -> None:
    """A run is measured under its own name, with its classes and its weights."""
    small = ('data.counts={"train":4,"val":2}', "train.batch_size=2", "train.epochs=1", "data.image_size=[64,64]")
    run = finetune(load_recipe("quickstart", small), out=tmp_path / "run", device="cpu")
    subject = open_subject(str(tmp_path / "run"), seed=0)
    assert subject.name == str(tmp_path / "run")
    assert subject.num_classes == len(run.metrics[-1]["per_class_iou"])
    again = open_subject(str(tmp_path / "run" / "model"), seed=1)
    for ours, theirs in zip(subject.model.parameters(), again.model.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_a_model_of_a_plugin(offer: Callable[..., Path]) -> None:
    """A third party's model is found by its id; where its code is missing, that is its fault."""
    offer("acme-seg", "unet_lite")
    with pytest.raises(PluginError, match="acme_nets"):
        open_subject("acme-seg/unet_lite", seed=0)


def test_an_unknown_name_is_refused() -> None:
    """The nearest name is suggested."""
    with pytest.raises(UnknownModel, match=r"no model named 'fast_scn'\. Did you mean 'fast_scnn'"):
        open_subject("fast_scn", seed=0)


def test_images_are_random_and_the_same_each_time() -> None:
    """They depend on the seed, have no zeros, and spread around 0 as normalised images do."""
    image = SUBJECT.image(2, (16, 24), seed=3)
    assert image.shape == (2, 3, 16, 24)
    assert torch.equal(image, SUBJECT.image(2, (16, 24), seed=3))
    assert not torch.equal(image, SUBJECT.image(2, (16, 24), seed=4))
    assert image.count_nonzero() == image.numel()
    assert abs(float(image.std()) - 1) < 0.1


def test_logits_are_checked() -> None:
    """Another shape and values that are not finite are refused; a margin is part of the shape."""
    image = SUBJECT.image(1, (8, 10), seed=0)
    SUBJECT.check(torch.zeros(1, 2, 6, 8), image)
    with pytest.raises(ValueError, match=r"expected logits \(1, 2, 6, 8\) for images .*, got \(1, 2, 8, 10\)"):
        SUBJECT.check(torch.zeros(1, 2, 8, 10), image)
    broken = torch.zeros(1, 2, 6, 8)
    broken[0, 0, 0, :2] = torch.tensor([torch.nan, torch.inf])
    with pytest.raises(ValueError, match="2 of 96 logits are not finite"):
        SUBJECT.check(broken, image)
