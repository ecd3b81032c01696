"""A pushed model is one commit that anyone can build on, or nothing at all."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

import segzoo
from segzoo.errors import DownloadError, UsageFault
from segzoo.inference.loading import load_model
from segzoo.publish.push import push_model

if TYPE_CHECKING:
    from conftest import Hub

# The client hands its HTTP library an upload in a way that the latter is about to drop.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")


def test_pushed_model_is_fetched_again(hub: Hub, leave_run: Callable[..., Path]) -> None:
    """Weights, description and card are one commit; ``hf-hub:`` then gives the same tensors."""
    run = leave_run()
    address = push_model(run, "hf-hub:acme/cracks")
    assert address == f"{hub.address}/acme/cracks/commit/0123456789abcdef0123456789abcdef01234567"
    assert len(hub.commits) == 1
    assert sorted(hub.files) == [f"acme/cracks/{name}" for name in ("README.md", "model.json", "model.safetensors")]
    for name in ("model.json", "model.safetensors"):
        assert hub.files[f"acme/cracks/{name}"] == (run / "model" / name).read_bytes()
    assert hub.repositories["acme/cracks"].get("visibility") is None

    image = np.random.default_rng(0).integers(0, 256, (40, 56, 3), dtype=np.uint8)
    masks = [segzoo.load(source, device="cpu")(image) for source in (run, "hf-hub:acme/cracks")]
    assert np.array_equal(masks[0], masks[1])

    fetched = segzoo.create_model("fast_scnn", num_classes=2, weights="hf-hub:acme/cracks").state_dict()
    original = load_model(run).model.state_dict()
    assert fetched.keys() == original.keys()
    assert all(torch.equal(fetched[name], original[name]) for name in original)


def test_a_repository_that_exists_gets_another_commit(hub: Hub, leave_run: Callable[..., Path]) -> None:
    """What a repository had besides stays."""
    run = leave_run()
    hub.files["acme/cracks/LICENSE"] = b"MIT"
    push_model(run, "hf-hub:acme/cracks")
    push_model(run / "model", "hf-hub:acme/cracks", license="CC-BY-4.0")
    assert len(hub.commits) == 2
    assert hub.files["acme/cracks/LICENSE"] == b"MIT"
    assert b"license: cc-by-4.0\n" in hub.files["acme/cracks/README.md"]


def test_private(hub: Hub, leave_run: Callable[..., Path]) -> None:
    """A new repository is private where that is asked for."""
    push_model(leave_run(), "hf-hub:acme/cracks", private=True)
    assert hub.repositories["acme/cracks"]["visibility"] == "private"


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("acme/cracks", "pushed to hf-hub:owner/name, got 'acme/cracks'"),
        ("hf-hub:cracks", "a repository of the hub is written hf-hub:owner/name"),
        ("hf-hub:acme/cracks@v1", "to the main branch; write hf-hub:acme/cracks, got 'hf-hub:acme/cracks@v1'"),
    ],
)
def test_targets_that_are_no_repository(leave_run: Callable[..., Path], target: str, message: str) -> None:
    """The target is judged before anything is read."""
    with pytest.raises(UsageFault, match=message):
        push_model(leave_run(), target)


def test_license_is_an_identifier(leave_run: Callable[..., Path]) -> None:
    """Nothing but an identifier gets into the card's front matter."""
    with pytest.raises(UsageFault, match=r"SPDX identifier such as MIT or CC-BY-4.0, got 'MIT\\ntags: x'"):
        push_model(leave_run(), "hf-hub:acme/cracks", license="MIT\ntags: x")


def test_damaged_weights_are_not_pushed(hub: Hub, leave_run: Callable[..., Path]) -> None:
    """Weights that are not the described ones are told, and the hub is not asked."""
    run = leave_run()
    path = run / "model" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")
    with pytest.raises(UsageFault, match=r"model.safetensors is damaged, or not the one that model.json describes"):
        push_model(run, "hf-hub:acme/cracks")
    assert hub.repositories == {}


def test_runs_without_weights(tmp_path: Path) -> None:
    """A run that has not validated yet has nothing to push."""
    (tmp_path / "model").mkdir()
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(UsageFault, match="the run has no weights yet"):
        push_model(tmp_path, "hf-hub:acme/cracks")


@pytest.mark.parametrize(
    ("place", "status", "message"),
    [
        ("repos/create", 401, "with a token that may write to acme"),
        ("repos/create", 403, "with a token that may write to acme"),
        ("commit/main", 403, "with a token that may write to acme"),
        ("commit/main", 400, "Nothing was committed; the same command tries again"),
    ],
)
def test_refusals(hub: Hub, leave_run: Callable[..., Path], place: str, status: int, message: str) -> None:
    """What the hub refuses ends with exit code 3, the address and the way out, and leaves no file there."""
    hub.refusal = (place, status)
    with pytest.raises(DownloadError, match=f"(?s)cannot push to acme/cracks at {hub.address}: .*{message}") as caught:
        push_model(leave_run(), "hf-hub:acme/cracks")
    assert caught.value.exit_code == 3
    assert hub.files == {}


def test_silence_is_given_up(hub: Hub, leave_run: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """A hub that takes the connection and says nothing is not waited for without end."""
    monkeypatch.setattr("segzoo.weights.patience.PATIENCE_SECONDS", 0.3)
    hub.silent.clear()
    with pytest.raises(DownloadError, match="TimeoutError: nothing arrived"):
        push_model(leave_run(), "hf-hub:acme/cracks")


def test_description_goes_as_it_is(hub: Hub, leave_run: Callable[..., Path]) -> None:
    """What the run recorded of its weights is what is published of them."""
    push_model(leave_run(pretrained="imagenet weights from somewhere"), "hf-hub:acme/cracks")
    described = json.loads(hub.files["acme/cracks/model.json"])
    assert described["provenance"]["pretrained"] == "imagenet weights from somewhere"
