"""What ``weights`` names is found, or refused with a way out, before torch is imported."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from segzoo.errors import UsageFault
from segzoo.pretrained import (
    MAX_DESCRIPTION_BYTES,
    FileSource,
    HubSource,
    Identity,
    RunSource,
    TagSource,
    check_description,
    find_source,
    read_description,
)
from segzoo.spec import ModelSpec, Params, Weights

PINNED = Weights(hub="a/b", revision="abc", license="MIT")

DESCRIPTION: dict[str, Any] = {
    "schema_version": 1,
    "id": "acme/tiny",
    "revision": 2,
    "params": {"width": 8, "rates": [1, 2]},
    "num_classes": 2,
    "in_channels": 3,
    "classes": [{"name": "road", "color": [1, 2, 3]}, {"name": "sky", "color": None}],
    "metrics": {"mean_iou": 0.5},
    "provenance": {"weights_sha256": "0" * 64, "recipe": "x"},
}


class TinyParams(Params):
    """Parameters of the model under test."""

    width: int = 8
    rates: tuple[int, ...] = (1, 2)


SPEC = ModelSpec(
    name="tiny",
    summary="A model",
    family="acme",
    builder="no_such_module:build",
    params=TinyParams,
    license="MIT",
    weights={"imagenet": PINNED, "coco": PINNED},
    aliases=("mini",),
    revision=2,
)


def identity(*, model_id: str = "acme/tiny", in_channels: int = 3, **params: Any) -> Identity:
    """Return the model that weights are wanted for."""
    return Identity(model_id, SPEC, TinyParams(**params), in_channels)


def find(weights: str) -> object:
    """Return what ``weights`` names for that model."""
    return find_source(identity(), weights)


def describe(folder: Path, **changes: Any) -> Path:
    """Write a ``model`` folder, whose tensors are never looked at, and return it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.safetensors").write_bytes(b"tensors")
    (folder / "model.json").write_text(json.dumps(DESCRIPTION | changes))
    return folder


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Relative paths are those of the current folder."""
    monkeypatch.chdir(tmp_path)


def test_a_tag_is_found() -> None:
    """A tag of the spec wins over a file or run of the same name."""
    describe(Path("imagenet/model"))
    assert find("imagenet") == TagSource("imagenet", PINNED)


def test_an_unknown_tag_gets_a_suggestion() -> None:
    """So does one that a folder, which is no run, happens to be named like."""
    Path("imagnet").mkdir()
    with pytest.raises(UsageFault, match=r"^no weight tag of tiny named 'imagnet'; its tags are ") as caught:
        find("imagnet")
    assert "Did you mean 'imagenet'?" in str(caught.value)
    assert "The folder 'imagnet' is no run of segzoo: imagnet/model.json is missing." in str(caught.value)
    for name in ("", "anything"):
        with pytest.raises(UsageFault, match=f"named '{name}'"):
            find(name)


@pytest.mark.parametrize("name", ["best.safetensors", "best.pth", "sub/best.pt", "./best.pth"])
def test_a_file_is_found(name: str) -> None:
    """Each of the three suffixes, here or in another folder."""
    Path(name).parent.mkdir(exist_ok=True)
    Path(name).write_bytes(b"")
    assert find(name) == FileSource(Path(name))


def test_the_home_folder_may_be_written_as_a_tilde(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a recipe no shell expands it."""
    monkeypatch.setenv("HOME", str(tmp_path))
    Path("best.pth").write_bytes(b"")
    assert find("~/best.pth") == FileSource(tmp_path / "best.pth")


@pytest.mark.parametrize("name", ["runs/mine", "runs/mine/", "runs/mine/model", "mine"])
def test_a_run_is_found(name: str) -> None:
    """The run directory and its model folder are the same; a bare name is a run where one is there."""
    folder = describe(Path(name if name.endswith("model") else f"{name}/model"))
    found = find(name)
    assert isinstance(found, RunSource)
    assert found.folder == folder
    assert found.description.class_names == ("road", "sky")


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("hf-hub:owner/name", HubSource("owner/name", None)),
        ("hf-hub:a/b@main", HubSource("a/b", "main")),
        ("hf-hub:Own.er-1/na_me.v2@refs/pr/1", HubSource("Own.er-1/na_me.v2", "refs/pr/1")),
        (f"hf-hub:a/b@{'0' * 40}", HubSource("a/b", "0" * 40)),
    ],
)
def test_a_repository_is_found(name: str, source: HubSource) -> None:
    """With a revision and without one; no network is asked."""
    assert find(name) == source


@pytest.mark.parametrize(
    "name",
    [
        *(
            "hf-hub:",
            "hf-hub:name",
            "hf-hub:a/b/c",
            "hf-hub:a/",
            "hf-hub:/b",
            "hf-hub:a b/c",
            "hf-hub:../b",
            "hf-hub:a/..b",
        ),
        *("hf-hub:a/b--c", "hf-hub:-a/b", "hf-hub:a/b.", f"hf-hub:a/{'b' * 97}", "hf-hub:a/b@", "hf-hub:a/b@x y"),
        *("hf-hub:a/b@../x", "hf-hub:a/b@-x", "hf-hub:ä/b", "hf-hub:a/b\n"),
    ],
)
def test_a_malformed_repository_is_told(name: str) -> None:
    """The message repeats it and shows the form."""
    with pytest.raises(UsageFault, match="hf-hub:owner/name") as caught:
        find(name)
    assert str(caught.value).startswith(f"weights {name!r}: ")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("runs/other", r"^no file or run directory is named 'runs/other'\.$"),
        ("best.safetensor", r"is named 'best\.safetensor'\. Did you mean 'best\.safetensors'"),
        ("https://x.org/a.pth", r"A repository of the hub is written hf-hub:owner/name$"),
        ("hub:owner/name", r"A repository of the hub is written hf-hub:owner/name$"),
        ("best.onnx", r"^best\.onnx has the suffix '\.onnx'; weights are \.safetensors, \.pth, \.pt files$"),
        ("/dev/null", r"^/dev/null is neither a file nor a folder$"),
        ("folder.safetensors", r"^folder\.safetensors is a folder, but no run of segzoo: .*model\.json is missing$"),
        ("half", r"no weight tag of tiny named 'half'"),
        ("./half", r"^half is a folder, but no run of segzoo: half/model\.json is missing$"),
        ("./early", r"^the run early has no weights yet: early/model/model\.json is missing$"),
        ("x" * 300 + ".pth", r"cannot be read: File name too long$"),
        ("run/checkpoints/last.pt", r"^run/checkpoints/last\.pt is a checkpoint.*give its run directory$"),
    ],
)
def test_what_holds_no_weights_is_told(name: str, message: str) -> None:
    """The message names the file or folder, what is wrong with it, and the way out."""
    for file in ("best.safetensors", "best.onnx", "half/model.safetensors", "early/run.json"):
        Path(file).parent.mkdir(exist_ok=True)
        Path(file).write_bytes(b"")
    for folder in ("folder.safetensors", "early/model", "run/checkpoints"):
        Path(folder).mkdir(parents=True)
    Path("run/checkpoints/last.pt").write_bytes(b"PK\x03\x04state\nsegzoo-sha256:" + b"0" * 64)

    with pytest.raises(UsageFault, match=message) as caught:
        find(name)
    assert caught.value.exit_code == 2


def test_a_checkpoint_is_known_by_what_training_writes(tmp_path: Path) -> None:
    """A real checkpoint is told, under any name."""
    from segzoo.runs.checkpoint import save_checkpoint

    save_checkpoint(tmp_path, {"step": 1}, best=True)
    (tmp_path / "best.pt").rename(tmp_path / "renamed.pth")
    for name in ("last.pt", "renamed.pth"):
        with pytest.raises(UsageFault, match=f"{name} is a checkpoint"):
            find(str(tmp_path / name))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "invalid JSON"),
        ("{", "invalid JSON"),
        ("[]", "should be an object"),
        ("[" * 100_000, "invalid JSON"),
        (json.dumps({key: value for key, value in DESCRIPTION.items() if key != "params"}), "params: this key is requ"),
        (json.dumps(DESCRIPTION | {"provenance": {}}), "provenance.weights_sha256: this key is required"),
        (json.dumps(DESCRIPTION | {"classes": [{"color": None}]}), "classes.0.name: this key is required"),
        (json.dumps(DESCRIPTION | {"schema_version": 2}), "schema_version = 2: expected 1"),
        (json.dumps(DESCRIPTION | {"num_classes": "2"}), 'num_classes = "2": input should be a valid integer'),
        (json.dumps(DESCRIPTION | {"num_classes": 3}), "num_classes is 3, but classes has 2 names"),
        (json.dumps(DESCRIPTION | {"classes": [{"name": "a"}] * 2}), "num_classes is 2, but classes has 1 names"),
        (" " * (MAX_DESCRIPTION_BYTES + 1), "is larger than 1024 KiB"),
    ],
)
def test_a_faulty_description_is_told(tmp_path: Path, text: str, message: str) -> None:
    """The message names the file, and the key where it is about one."""
    (tmp_path / "model.json").write_text(text)
    with pytest.raises(UsageFault, match=message) as caught:
        read_description(tmp_path / "model.json")
    assert str(caught.value).startswith(f"{tmp_path / 'model.json'} ")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"id": "acme/other"}, "runs/a holds acme/other, not acme/tiny. "),
        ({"id": "segzoo/tiny"}, "runs/a holds segzoo/tiny, not acme/tiny. "),
        ({"revision": 1}, "runs/a holds revision 1 of acme/tiny, but this is revision 2. "),
        ({"in_channels": 4}, "runs/a holds acme/tiny for images of 4 channels, not 3. "),
        (
            {"params": {"width": 16, "rates": [3]}},
            "runs/a holds acme/tiny with width 16, not 8, rates [3], not [1, 2]. ",
        ),
        ({"params": {"widht": 8}}, "runs/a holds acme/tiny with parameters that it does not take: tiny: widht = 8"),
    ],
)
def test_another_model_is_refused(changes: dict[str, Any], message: str) -> None:
    """The message says which model it is, and how to go by the tensors alone."""
    describe(Path("runs/a/model"), **changes)
    with pytest.raises(UsageFault) as caught:
        find("runs/a")
    assert str(caught.value).startswith(message)
    assert str(caught.value).endswith("the file model.safetensors is judged by its tensors alone")
    assert find("runs/a/model/model.safetensors") == FileSource(Path("runs/a/model/model.safetensors"))


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({"num_classes": 1, "classes": [{"name": "a"}]}, {}),
        ({"id": "acme/mini"}, {}),
        ({"params": {}}, {}),
        ({"params": {"width": 16}}, {"width": 16}),
        ({"in_channels": 3}, {"in_channels": 1}),
        ({"in_channels": 4}, {"in_channels": 4}),
    ],
)
def test_the_same_model_passes(tmp_path: Path, changes: dict[str, Any], wanted: dict[str, Any]) -> None:
    """Other classes, a former name, defaults left out, and an image of other channels than RGB make no other model."""
    description = read_description(describe(tmp_path, **changes) / "model.json")
    check_description(identity(**wanted), description, "runs/a")


def test_no_torch_is_needed() -> None:
    """A run is found and compared in a process without torch."""
    describe(Path("run/model"))
    code = (
        "import sys; from segzoo import get_spec; from segzoo.pretrained import Identity, find_source\n"
        "spec = get_spec('fast_scnn')\n"
        "try: find_source(Identity('segzoo/fast_scnn', spec, spec.params(), 3), 'run')\n"
        "except Exception as error: print(error, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("run holds acme/tiny, not segzoo/fast_scnn")
    assert done.stdout.endswith("False\n")


def test_a_suggested_file_keeps_its_folder() -> None:
    """What is suggested can be pasted; files are near by their own names, however long the folder's is."""
    folder = Path("kept/in_a_folder_with_a_long_name")
    folder.mkdir(parents=True)
    for name in ("best.pth", "notes.txt"):
        (folder / name).touch()
    with pytest.raises(UsageFault, match=rf"Did you mean '{folder}/best\.pth'\?$"):
        find(f"{folder}/bestt.pth")
