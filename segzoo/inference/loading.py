"""From a run directory or an exported folder to a model that can be used."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import nn

from segzoo.build import ImageCheck, build_from_spec
from segzoo.errors import NotAvailable
from segzoo.inference.description import ModelDescription, find_model, read_model_description
from segzoo.inference.predictor import Mode, Predictor
from segzoo.plugins import default_registry
from segzoo.pretrained import DESCRIPTION, Identity, RunSource, check_description, read_description
from segzoo.registry import validate_params
from segzoo.spec import ModelSpec
from segzoo.training.device import choose_device
from segzoo.weights import load_source


@dataclass(frozen=True)
class Loaded:
    """A trained model.

    Args:
        model: The network with its weights, in evaluation mode, on the CPU.
        description: What ``model.json`` says.
        spec: The model's spec, refined by its parameters.
    """

    model: nn.Module
    description: ModelDescription
    spec: ModelSpec


def load_model(source: str | Path) -> Loaded:
    """Build a trained model as its ``model.json`` says, and load its weights.

    Args:
        source: A run directory, its ``model`` folder, or any folder with ``model.json`` and ``model.safetensors``.

    Raises:
        UsageFault: If there is no such folder, a file in it is damaged, or the two do not fit each other.
        ParamsError: If the model does not take the parameters that the description has.
        EnvironmentFault: If the plugin that the model comes from is missing or broken.
    """
    folder = find_model(source)
    known = read_description(folder / DESCRIPTION)
    description = read_model_description(folder, known)
    entry = default_registry().resolve(description.id)
    spec = entry.spec()
    params = validate_params(spec, description.params)
    spec = spec.refined(params)
    identity = Identity(entry.id, spec, params, description.in_channels)
    check_description(identity, known, str(folder))
    if spec.input.margin:
        raise NotAvailable(f"using {spec.name} without padding, whose logits lack {spec.input.margin} pixels a side,")
    model = build_from_spec(
        spec, params, num_classes=description.num_classes, in_channels=description.in_channels
    ).eval()
    load_source(model, identity, RunSource(folder, known), classes=description.names)
    model.register_forward_pre_hook(
        ImageCheck(spec.name, description.in_channels, spec.input.min_size), with_kwargs=True
    )
    return Loaded(model, description, spec)


def load(source: str | Path, *, device: str = "auto", mode: Mode = "eager") -> Predictor:
    """Load a trained model to label images with.

    Args:
        source: A run directory, its ``model`` folder, or any folder with ``model.json`` and ``model.safetensors``.
        device: ``auto``, or a torch device.
        mode: ``"eager"`` runs the network as it was trained, in float32. ``"best"`` looks for a faster way to run it
            on the device, which has to give the same labels.

    Returns:
        A function of an image: ``mask = segzoo.load("runs/mine")(image)``.

    Raises:
        SegzooError: As :func:`load_model` does, or if the device is not there.
    """
    chosen = choose_device(device)
    loaded = load_model(source)
    return Predictor(loaded.model, loaded.description, min_size=loaded.spec.input.min_size, device=chosen, mode=mode)
