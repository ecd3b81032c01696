"""From a name to a loaded model: tags, files, runs and repositories, each refused by name where it is at fault."""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save
from torch import Tensor, nn

from segzoo.build import build_from_spec
from segzoo.catalog import BUILTIN_SPECS
from segzoo.errors import DownloadError, SegzooError, UsageFault
from segzoo.params import validate_params
from segzoo.pretrained import Identity
from segzoo.spec import ModelSpec, Params, Weights
from segzoo.weights import TransferReport, load_pretrained

COMMIT = "0123456789abcdef0123456789abcdef01234567"
ENCODER = Weights(hub="acme/tiny", revision=COMMIT, license="MIT", part="encoder")
WHOLE = Weights(hub="acme/tiny", revision=COMMIT, license="MIT", classes=("road", "sky"))


class Tiny(nn.Module):
    """An encoder of seven tensors and a head of two."""

    def __init__(self, in_channels: int = 3, num_classes: int = 2) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Conv2d(in_channels, 4, 3), nn.BatchNorm2d(4))
        self.head = nn.Conv2d(4, num_classes, 1)


class NoParams(Params):
    """Nothing to choose."""


class Payload:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self.folder),)


def identity(weights: Weights = ENCODER, in_channels: int = 3) -> Identity:
    """Return what the model is; its one tag is ``imagenet``."""
    spec = ModelSpec(
        name="tiny",
        summary="A network for tests",
        family="test",
        builder="nowhere:build",
        params=NoParams,
        license="MIT",
        weights={"imagenet": weights},
    )
    return Identity("acme/tiny", spec, NoParams(), in_channels)


def description(content: bytes, classes: tuple[str, ...] = ("road", "sky"), **changes: Any) -> bytes:
    """Return the ``model.json`` of tensors."""
    described = {
        "schema_version": 1,
        "id": "acme/tiny",
        "revision": 1,
        "params": {},
        "num_classes": len(classes),
        "in_channels": 3,
        "classes": [{"name": name, "color": [0, 0, 0]} for name in classes],
        "provenance": {"weights_sha256": hashlib.sha256(content).hexdigest()},
    }
    return json.dumps(described | changes).encode()


def torch_file(content: object) -> bytes:
    """Return what ``torch.save`` writes."""
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def copied(model: nn.Module) -> dict[str, Tensor]:
    """Return a model's tensors as they are now."""
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def same(model: nn.Module, tensors: dict[str, Tensor]) -> bool:
    """Say whether a model's tensors are these, bit for bit."""
    return all(torch.equal(tensor, tensors[name]) for name, tensor in model.state_dict().items())


def put(hub: Any, tmp_path: Path, kind: str, content: bytes) -> str:
    """Put a file of tensors where a kind of source has it, and return the source's name."""
    if kind == "hub":
        hub.files["acme/tiny/model.safetensors"] = content
        return "hf-hub:acme/tiny"
    if kind == "described":
        hub.files["acme/tiny/model.safetensors"] = content
        hub.files["acme/tiny/model.json"] = description(content)
        return "hf-hub:acme/tiny"
    if kind == "tag":
        hub.files["acme/tiny/model.safetensors"] = content
        return "imagenet"
    if kind == "run":
        (tmp_path / "run/model").mkdir(parents=True)
        (tmp_path / "run/model/model.safetensors").write_bytes(content)
        (tmp_path / "run/model/model.json").write_bytes(description(content))
        return str(tmp_path / "run")
    (tmp_path / kind).write_bytes(content)
    return str(tmp_path / kind)


SOURCES = ("a.safetensors", "a.pth", "a.pt", "run", "tag", "hub", "described")


@pytest.mark.parametrize("kind", SOURCES)
def test_every_source_loads_a_whole_model(hub: Any, tmp_path: Path, kind: str) -> None:
    """Every tensor is the file's, and the report names the source."""
    given, model = Tiny().state_dict(), Tiny()
    name = put(hub, tmp_path, kind, torch_file(given) if kind.startswith("a.p") else save(given))

    report = load_pretrained(model, identity(WHOLE), name)

    assert same(model, given)
    assert report.loaded == tuple(given)
    words = {"tag": "imagenet weights from acme/tiny", "run": f"weights from {tmp_path}/run/model"}
    expected = words.get(kind, f"weights from {name}" + (f"@{COMMIT}" if name.startswith("hf-hub:") else ""))
    assert report.source == expected


@pytest.mark.parametrize("kind", SOURCES)
def test_names_of_classes_decide_where_they_are_known(hub: Any, tmp_path: Path, kind: str) -> None:
    """Tags, runs and described repositories name their classes; other files do not, and start the head anew."""
    given, model = Tiny().state_dict(), Tiny(num_classes=3)
    before = copied(model)
    name = put(hub, tmp_path, kind, save(given))

    report = load_pretrained(model, identity(WHOLE), name, classes=["sky", "tree", "road"])

    if kind in ("tag", "run", "described"):
        assert report.head == "2 of 3 classes kept by name (new: tree)"
        assert torch.equal(model.head.weight[[0, 2]], given["head.weight"][[1, 0]])
        assert torch.equal(model.head.weight[1], before["head.weight"][1])
    else:
        assert report.head == "re-initialised: the file has 2 classes, the model 3"
        assert torch.equal(model.head.weight, before["head.weight"])


def altered(**changes: Tensor | None) -> dict[str, Tensor]:
    """Return the tensors of a model with some replaced, or left out where None."""
    tensors: dict[str, Tensor | None] = {**Tiny().state_dict(), **changes}
    return {name: tensor for name, tensor in tensors.items() if tensor is not None}


FAULTS: dict[str, tuple[Callable[[Path], bytes], str]] = {
    "empty": (lambda _: b"", "cannot be read: it is empty"),
    "text": (lambda _: b"version https://git-lfs.github.com/spec/v1", "cannot be read: it begins with b'version '"),
    "corrupt": (lambda _: save(altered())[:20] + b"\xff" + save(altered())[21:], "cannot be read: SafetensorError"),
    "truncated": (lambda _: save(altered())[:-4], "cannot be read: SafetensorError"),
    "truncated torch file": (lambda _: torch_file(altered())[:-100], "cannot be read: RuntimeError"),
    "malicious": (lambda trap: torch_file({"w": Payload(trap)}), "no code in a file is run"),
    "malicious beside tensors": (
        lambda trap: torch_file({"state_dict": altered(), "epoch": Payload(trap)}),
        "no code in a file is run",
    ),
    "no tensors": (lambda _: torch_file({"epoch": 3}), "does not hold tensors by name"),
    "not finite": (lambda _: save(altered(**{"head.bias": torch.full((2,), torch.inf)})), "head.bias holds values"),
    "missing": (lambda _: save(altered(**{"encoder.1.bias": None})), "do not fit: the file lacks encoder.1.bias"),
    "unknown": (lambda _: save(altered(more=torch.rand(1))), "do not fit: the model has no more"),
    "wrong shape": (
        lambda _: save(altered(**{"head.weight": torch.rand(2, 5, 1, 1)})),
        "do not fit: head.weight has shape (2, 5, 1, 1) in the file, (2, 4, 1, 1) in the model",
    ),
}


@pytest.mark.parametrize("kind", ["a.safetensors", "a.pth", "run", "tag", "hub", "described"])
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_named_nothing_runs_and_nothing_is_loaded(
    hub: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, fault: str
) -> None:
    """What was fetched ends in exit code 3, the user's own file in 2; the model keeps every bit."""
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    write, message = FAULTS[fault]
    trap = tmp_path / "trap"
    name = put(hub, tmp_path, kind, write(trap))
    model = Tiny()
    before = copied(model)

    with pytest.raises(SegzooError) as caught:
        load_pretrained(model, identity(WHOLE), name)

    fetched = kind in ("tag", "hub", "described")
    assert type(caught.value) is (DownloadError if fetched else UsageFault)
    assert caught.value.exit_code == (3 if fetched else 2)
    assert message in str(caught.value)
    assert ("acme/tiny" if fetched else str(tmp_path)) in str(caught.value)
    assert not trap.exists()
    assert same(model, before)


@pytest.mark.parametrize("name", ["imagenet", "hf-hub:acme/tiny"])
def test_a_damaged_cache_is_named_and_nothing_is_loaded(hub: Any, cache: Path, name: str) -> None:
    """A bit that flipped in the cache since the file was fetched is noticed by its checksum."""
    hub.offer(Tiny().state_dict())
    load_pretrained(Tiny(), identity(WHOLE), name)
    (blob,) = cache.glob("models--acme--tiny/blobs/*")
    content = bytearray(blob.read_bytes())
    content[-1] ^= 1
    blob.write_bytes(content)
    model = Tiny()
    before = copied(model)

    with pytest.raises(DownloadError, match=r"model\.safetensors of acme/tiny is damaged: its SHA-256 is not"):
        load_pretrained(model, identity(WHOLE), name)

    assert same(model, before)


@pytest.mark.parametrize(
    "name", ["imagenet", "hf-hub:acme/tiny", "hf-hub:acme/tiny@main", f"hf-hub:acme/tiny@{COMMIT}"]
)
@pytest.mark.parametrize("fault", [(401, "RepoNotFound"), (403, "GatedRepo"), (404, "RevisionNotFound"), "closed"])
def test_what_cannot_be_fetched_ends_in_3(
    hub: Any, monkeypatch: pytest.MonkeyPatch, name: str, fault: tuple[int, str] | str
) -> None:
    """Missing, gated or out of reach: the message has the file and the repository."""
    hub.refusal = fault if isinstance(fault, tuple) else None
    if fault == "closed":
        monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")

    with pytest.raises(DownloadError, match=r"cannot fetch model\.(safetensors|json) of acme/tiny") as caught:
        load_pretrained(Tiny(), identity(), name)

    assert ("Without a network, run" in str(caught.value)) == (fault == "closed")


def test_an_unknown_tag_is_told_with_a_suggestion() -> None:
    """A typo in a tag is an error before anything is fetched."""
    with pytest.raises(UsageFault, match=r"no weight tag of tiny named 'imagnet'; .* Did you mean 'imagenet'"):
        load_pretrained(Tiny(), identity(), "imagnet")


def test_a_tag_without_a_classifier_loads_an_encoder(hub: Any) -> None:
    """Names are the encoder's own; a classifier beside them is left out, and the first convolution is adapted."""
    given = Tiny().encoder.state_dict()
    hub.offer({**given, "fc.weight": torch.rand(2, 2)})

    report = load_pretrained(Tiny(in_channels=1), identity(in_channels=1), "imagenet")

    assert report.summary() == (
        "imagenet weights from acme/tiny: 6 tensors loaded, 1 adapted (encoder.0.weight), 2 re-initialised (head)"
    )


def test_vggs_layout_is_taken_from_the_spec(hub: Any) -> None:
    """The encoder's convolution and batch norm get those of ``features``, for one image channel, too."""
    own = Tiny().encoder.state_dict()
    hub.offer({**{f"features.{name}": tensor for name, tensor in own.items()}, "classifier.0.bias": torch.rand(2)})
    weights = ENCODER.model_copy(update={"layout": "vgg"})
    model, grey = Tiny(), Tiny(in_channels=1)

    report = load_pretrained(model, identity(weights), "imagenet")

    assert same(model.encoder, own)
    assert len(report.loaded) == 7
    adapted = load_pretrained(grey, identity(weights, in_channels=1), "imagenet").adapted
    assert adapted == ("encoder.0.weight",)
    torch.testing.assert_close(grey.encoder[0].weight, own["0.weight"].sum(dim=1, keepdim=True))


def test_timms_layout_is_taken_from_the_spec(hub: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The adapter gets the fetched file, and what it returns is loaded into the encoder."""
    given = Tiny().encoder.state_dict()
    hub.offer({"stem": torch.rand(1)})
    monkeypatch.setattr("segzoo.smp.timm_tensors", lambda encoder, path: given if path.is_file() else {})
    model = Tiny()

    load_pretrained(model, identity(ENCODER.model_copy(update={"layout": "timm"})), "imagenet")

    assert same(model.encoder, given)


def test_a_file_that_another_layout_hides_is_still_read_without_code(
    hub: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The adapter never sees a file that is not plain tensors."""
    hub.files["acme/tiny/model.safetensors"] = torch_file({"w": Payload(tmp_path / "trap")})
    monkeypatch.setattr("segzoo.smp.timm_tensors", lambda encoder, path: pytest.fail("the file was handed on"))

    with pytest.raises(DownloadError, match="no code in a file is run"):
        load_pretrained(Tiny(), identity(ENCODER.model_copy(update={"layout": "timm"})), "imagenet")


def test_a_real_encoder_fits_smp(hub: Any) -> None:
    """A MobileNetV2 with its classifier loads into the Unet of the catalog, which has no classifier."""
    spec = next(spec for spec in BUILTIN_SPECS if spec.name == "unet_mobilenet_v2")
    params = validate_params(spec, {})
    spec = spec.refined(params)
    source = spec.weights["imagenet"]
    donor = build_from_spec(spec, params, in_channels=3, num_classes=2)
    tensors = {
        **donor.get_submodule("encoder").state_dict(),
        "classifier.1.weight": torch.rand(2, 2),
        "classifier.1.bias": torch.rand(2),
    }
    assert source.revision is not None
    hub.commits[source.revision] = {f"{source.hub}/model.safetensors": save(tensors)}
    model = build_from_spec(spec, params, in_channels=1, num_classes=2)

    report = load_pretrained(model, Identity("segzoo/unet_mobilenet_v2", spec, params, 1), "imagenet")

    first, *others = donor.get_submodule("encoder").state_dict()
    own = model.get_submodule("encoder").state_dict()
    assert report.adapted == (f"encoder.{first}",)
    assert len(report.loaded) == len(others)
    assert all(torch.equal(own[name], tensors[name]) for name in others)
    assert {name.partition(".")[0] for name in report.reinitialised} == {"decoder", "head"}


def test_summary_of_a_complete_load_names_no_part() -> None:
    """Nothing stands in brackets where nothing was adapted or left out."""
    report = TransferReport("x weights from y", ("a", "b"), (), ())

    assert report.summary() == "x weights from y: 2 tensors loaded, 0 adapted, 0 re-initialised"
