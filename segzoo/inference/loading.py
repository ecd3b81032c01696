"""From a run, a folder, a repository of the hub or an exported file to a model that can be used."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from segzoo.build import ImageCheck, build_from_spec
from segzoo.errors import NotAvailable, UsageFault
from segzoo.inference.description import ModelDescription, find_model, is_exported, read_model_description
from segzoo.inference.exported import Exported, open_exported
from segzoo.inference.predictor import Mode, Predictor
from segzoo.params import validate_params
from segzoo.plugins import default_registry
from segzoo.pretrained import DESCRIPTION, Identity, RunSource, check_description, read_description
from segzoo.runtime.device import choose_device
from segzoo.spec import ModelSpec
from segzoo.weights import load_source


@dataclass(frozen=True)
class Loaded:
    """A trained model.

    Args:
        model: The network with its weights, in evaluation mode, on the CPU.
        description: What ``model.json`` says.
        min_size: Smallest height and width that it takes.
    """

    model: nn.Module
    description: ModelDescription
    min_size: int

    def choose_device(self, device: str) -> torch.device:
        """Return where the model can run, of what the user asks for: ``auto``, or a torch device.

        Raises:
            UsageFault: If an exported file is to run elsewhere than on the CPU.
            SegzooError: If the device is not there.
        """
        if not isinstance(self.model, Exported):
            return choose_device(device)
        if device not in ("auto", "cpu"):
            raise UsageFault(f"an exported file runs on the CPU, not on {device!r}; the run itself can run there")
        return torch.device("cpu")


@dataclass(frozen=True)
class Trained(Loaded):
    """A trained model that was built here.

    Args:
        spec: The model's spec, refined by its parameters.
    """

    spec: ModelSpec


def load_model(source: str | Path) -> Loaded:
    """Load a trained model, or what was exported of one.

    Args:
        source: As :func:`load_trained` takes it, or a file that ``segzoo export`` wrote.

    Raises:
        SegzooError: As :func:`load_trained` and :func:`segzoo.inference.exported.open_exported` do.
    """
    if not is_exported(source):
        return load_trained(source)
    exported, description = open_exported(Path(source).expanduser())
    return Loaded(exported.eval(), description, description.min_size)


def load_trained(source: str | Path) -> Trained:
    """Build a trained model as its ``model.json`` says, and load its weights.

    Args:
        source: A run directory, its ``model`` folder, any folder with ``model.json`` and ``model.safetensors``, or
            ``hf-hub:owner/name``.

    Raises:
        UsageFault: If there is no such model, a file of it is damaged, or its files do not fit each other.
        DownloadError: If a repository cannot be fetched.
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
    check_description(identity, known, str(source))
    if spec.input.margin:
        raise NotAvailable(f"using {spec.name} without padding, whose logits lack {spec.input.margin} pixels a side,")
    model = build_from_spec(
        spec, params, num_classes=description.num_classes, in_channels=description.in_channels
    ).eval()
    load_source(model, identity, RunSource(folder, known), classes=description.names)
    model.register_forward_pre_hook(
        ImageCheck(spec.name, description.in_channels, spec.input.min_size), with_kwargs=True
    )
    return Trained(model, description, spec.input.min_size, spec)


def load(source: str | Path, *, device: str = "auto", mode: Mode = "eager") -> Predictor:
    """Load a trained model to label images with.

    Args:
        source: As :func:`load_model` takes it.
        device: ``auto``, or a torch device; exported files run on the CPU.
        mode: ``"eager"`` runs the network as it was trained, in float32. ``"best"`` looks for a faster way to run it
            on the device, which has to give the same labels.

    Returns:
        A function of an image: ``mask = segzoo.load("runs/mine")(image)``.

    Raises:
        SegzooError: As :func:`load_model` does, or if the device is not there.
    """
    loaded = load_model(source)
    chosen = loaded.choose_device(device)
    return Predictor(loaded.model, loaded.description, min_size=loaded.min_size, device=chosen, mode=mode)
