"""Each kind of source leads to a file, and says what is known of it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save

from segzoo.errors import DownloadError, UsageFault
from segzoo.pretrained import FileSource, HubSource, Identity, RunSource, TagSource, read_description
from segzoo.spec import ModelSpec, Params, Weights
from segzoo.weights.sources import Pretrained, fetch, open_pretrained

COMMIT = "0123456789abcdef0123456789abcdef01234567"
NEXT = "f" * 40
TENSORS = {"weight": torch.arange(6.0)}
CLASSES = ("road", "sky")


class NoParams(Params):
    """Nothing to choose."""


SPEC = ModelSpec(name="tiny", summary="A model", family="acme", builder="nowhere:build", params=NoParams, license="MIT")
IDENTITY = Identity("acme/tiny", SPEC, NoParams(), 3)

DESCRIPTION: dict[str, Any] = {
    "schema_version": 1,
    "id": "acme/tiny",
    "revision": 1,
    "params": {},
    "num_classes": 2,
    "in_channels": 3,
    "classes": [{"name": name} for name in CLASSES],
}


def run_folder(folder: Path, sha256: str | None = None) -> RunSource:
    """Write a run's ``model`` folder."""
    content = save(TENSORS)
    (folder / "model.safetensors").write_bytes(content)
    provenance = {"weights_sha256": sha256 or hashlib.sha256(content).hexdigest()}
    (folder / "model.json").write_text(json.dumps({**DESCRIPTION, "provenance": provenance}))
    return RunSource(folder, read_description(folder / "model.json"))


def test_a_file_is_what_it_is() -> None:
    """Nothing is known of it, and its faults are the user's."""
    path = Path("best.pth")
    assert open_pretrained(IDENTITY, FileSource(path)) == Pretrained("weights from best.pth", path, fault=UsageFault)


def test_a_run_brings_its_classes(tmp_path: Path) -> None:
    """The description beside the tensors names them."""
    found = open_pretrained(IDENTITY, run_folder(tmp_path))
    assert found == Pretrained(f"weights from {tmp_path}", tmp_path / "model.safetensors", classes=CLASSES)


def test_a_run_whose_files_do_not_belong_together_is_refused(tmp_path: Path) -> None:
    """One flipped bit in the tensors is noticed by the checksum in the description."""
    source = run_folder(tmp_path)
    content = bytearray((tmp_path / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(UsageFault, match=r"model\.safetensors is damaged, or not the one described beside it"):
        open_pretrained(IDENTITY, source)


def test_a_tag_says_all_that_the_spec_knows(hub: Any) -> None:
    """Part, layout and classes come from the spec, the file from the hub."""
    hub.offer(TENSORS)
    weights = Weights(hub="acme/tiny", revision=COMMIT, license="MIT", part="encoder", layout="vgg", classes=CLASSES)
    found = open_pretrained(IDENTITY, TagSource("imagenet", weights))
    assert found == Pretrained(
        "imagenet weights from acme/tiny", found.path, DownloadError, part="encoder", layout="vgg", classes=CLASSES
    )
    assert found.path == fetch(weights)
    assert found.path.read_bytes() == save(TENSORS)


def test_a_tag_without_classes_names_none(hub: Any) -> None:
    """No names are not the same as an empty list of them."""
    hub.offer(TENSORS)
    weights = Weights(hub="acme/tiny", revision=COMMIT, license="MIT")
    assert open_pretrained(IDENTITY, TagSource("imagenet", weights)).classes is None


def test_a_url_is_fetched_with_its_checksum(hub: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file keeps its name, and another content is refused by that name."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    hub.files["/files/tiny.pth"] = b"content"

    def load(sha256: str) -> Path:
        return fetch(Weights(url=f"{hub.address}/files/tiny.pth", sha256=sha256, license="MIT"))

    path = load(hashlib.sha256(b"content").hexdigest())
    assert (path.name, path.read_bytes()) == ("tiny.pth", b"content")
    with pytest.raises(DownloadError, match=r"tiny\.pth"):
        load("a" * 64)


@pytest.mark.parametrize("described", [True, False])
def test_a_repository_is_fetched_at_one_commit(hub: Any, caplog: pytest.LogCaptureFixture, described: bool) -> None:
    """What the main branch stands for is in the words and in the log; classes are known from a description."""
    hub.offer(TENSORS, **(DESCRIPTION if described else {}))

    with caplog.at_level("INFO", logger="segzoo.weights"):
        found = open_pretrained(IDENTITY, HubSource("acme/tiny", None))

    assert found.words == f"weights from hf-hub:acme/tiny@{COMMIT}"
    assert f"hf-hub:acme/tiny is at commit {COMMIT}" in caplog.messages
    assert found.fault is DownloadError
    assert found.path.read_bytes() == save(TENSORS)
    assert found.classes == (CLASSES if described else None)


def test_a_branch_is_asked_for_each_time_and_a_commit_is_not(hub: Any) -> None:
    """New weights on the main branch are taken; who pins a commit gets the old ones."""
    hub.offer(TENSORS, **DESCRIPTION)
    old = open_pretrained(IDENTITY, HubSource("acme/tiny", None))
    hub.commits[NEXT] = {}
    hub.main = NEXT
    hub.offer({"weight": torch.zeros(2)}, **DESCRIPTION)

    new = open_pretrained(IDENTITY, HubSource("acme/tiny", None))
    asked = len(hub.requests)
    pinned = open_pretrained(IDENTITY, HubSource("acme/tiny", COMMIT))

    assert new.words.endswith(NEXT)
    assert new.path.read_bytes() == save({"weight": torch.zeros(2)})
    assert pinned == old
    assert len(hub.requests) == asked


def test_tensors_of_another_model_are_never_downloaded(hub: Any) -> None:
    """The description is read first; the message says which model it is."""
    hub.offer(TENSORS, **{**DESCRIPTION, "id": "acme/other"})

    with pytest.raises(DownloadError, match=f"hf-hub:acme/tiny@{COMMIT} holds acme/other, not acme/tiny"):
        open_pretrained(IDENTITY, HubSource("acme/tiny", None))

    assert not [request for request in hub.requests if "safetensors" in request]


def test_a_faulty_description_in_a_repository_is_told(hub: Any) -> None:
    """It was fetched, so it is not the user's fault."""
    hub.offer(TENSORS)
    hub.files["acme/tiny/model.json"] = b"<html>"
    with pytest.raises(DownloadError, match=r"model\.json describes no model: .*JSON"):
        open_pretrained(IDENTITY, HubSource("acme/tiny", None))


def test_a_repository_whose_files_do_not_belong_together_is_refused(hub: Any) -> None:
    """The checksum in the description counts."""
    hub.offer(TENSORS, **DESCRIPTION)
    hub.files["acme/tiny/model.safetensors"] = save({"weight": torch.zeros(2)})
    with pytest.raises(DownloadError, match="not the one described beside it"):
        open_pretrained(IDENTITY, HubSource("acme/tiny", None))


@pytest.mark.usefixtures("cache", "closed")
def test_who_cannot_fetch_may_train_without() -> None:
    """Beside the ways to the file, training from random weights is offered."""
    with pytest.raises(DownloadError, match=r"(?s)cannot fetch model\.json of acme/tiny.*--set model\.weights=null"):
        open_pretrained(IDENTITY, HubSource("acme/tiny", None))
