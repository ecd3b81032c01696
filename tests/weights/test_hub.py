"""Files come through the real hub client from a loopback server, or a message says what to do."""

from __future__ import annotations

import socket
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from segzoo.errors import DownloadError
from segzoo.weights import hub as hub_module
from segzoo.weights import patience
from segzoo.weights.hub import fetch_description, fetch_file, fetch_model

COMMIT = "0123456789abcdef0123456789abcdef01234567"
NEXT = "f" * 40
TENSORS = {"weight": torch.arange(6.0)}


def fetch(**arguments: Any) -> Path:
    """Fetch the tensors of ``acme/tiny``."""
    return fetch_file("acme/tiny", "model.safetensors", **{"revision": COMMIT, **arguments})


def test_a_cached_file_needs_no_network(hub: Any) -> None:
    """The second time the server is asked nothing."""
    hub.offer(TENSORS)
    first = fetch()
    asked = len(hub.requests)

    assert fetch() == first
    assert first.read_bytes() == hub.files["acme/tiny/model.safetensors"]
    assert asked > 0
    assert len(hub.requests) == asked


def test_refused_connection_is_told_at_once(cache: Path, closed: str) -> None:
    """File, address, cache folder and the ways out stand in one message, without the client's retries."""
    start = time.monotonic()

    with pytest.raises(DownloadError) as caught:
        fetch()

    assert time.monotonic() - start < 60
    for part in (
        "model.safetensors of acme/tiny",
        COMMIT,
        closed,
        str(cache / "models--acme--tiny"),
        f"hf download acme/tiny model.safetensors --revision {COMMIT}",
    ):
        assert part in str(caught.value)
    assert caught.value.__cause__ is not None
    assert caught.value.exit_code == 3


@pytest.mark.usefixtures("without_pauses")
def test_silent_server_is_given_up(hub: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that answers and then sends nothing is given up after the patience, not after the client's retries."""
    monkeypatch.setattr(patience, "PATIENCE_SECONDS", 0.5)
    hub.offer(TENSORS)
    hub.cut_at = 0
    hub.stall.clear()
    start = time.monotonic()

    with pytest.raises(DownloadError, match=r"nothing arrived for 0\.5 s"):
        fetch()

    assert time.monotonic() - start < 60


def test_address_that_swallows_everything_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A port that takes the connection and never says a word is given up when contact should have been made."""
    monkeypatch.setattr(hub_module, "CONTACT_SECONDS", 0.3)
    start = time.monotonic()

    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        with pytest.raises(DownloadError, match="ReadTimeout"):
            fetch()

    assert time.monotonic() - start < 60


def test_limits_fit_the_promise() -> None:
    """An unreachable network is told within 30 s: each limit is below that."""
    assert hub_module.CONTACT_SECONDS < patience.PATIENCE_SECONDS < 30


@pytest.mark.parametrize(
    ("refusal", "message"),
    [
        (None, "The repository acme/tiny has no model.safetensors"),
        ((404, "RevisionNotFound"), f"The repository acme/tiny has no commit, tag or branch '{COMMIT}'"),
        ((401, "GatedRepo"), "Ask for access on the page of acme/tiny, then run `hf auth login` or set HF_TOKEN"),
        ((403, "GatedRepo"), "Ask for access on the page of acme/tiny"),
        ((401, "RepoNotFound"), "There is no repository acme/tiny, or it is private: check its name"),
        ((404, "RepoNotFound"), "There is no repository acme/tiny"),
        ((500, ""), "Without a network, run"),
    ],
)
def test_what_the_hub_refuses_is_told_with_a_way_out(hub: Any, refusal: tuple[int, str] | None, message: str) -> None:
    """A file, revision or repository that is not there is told apart from one that is closed to the user."""
    hub.refusal = refusal

    with pytest.raises(DownloadError, match=r"^cannot fetch model\.safetensors of acme/tiny") as caught:
        fetch()

    assert message in str(caught.value)


@pytest.mark.usefixtures("without_pauses")
def test_truncated_download_is_not_kept(hub: Any, cache: Path) -> None:
    """A connection that always breaks half-way is an error, and no part of the file stays in the cache."""
    hub.offer(TENSORS)
    hub.cut_at = 50

    with pytest.raises(DownloadError, match=r"cannot fetch model\.safetensors"):
        fetch()

    assert not [path for path in cache.rglob("*") if path.suffix in {".safetensors", ".incomplete"}]


@pytest.mark.parametrize("damage", ["flip", "truncate"])
def test_damaged_cache_is_noticed_and_named(hub: Any, damage: str) -> None:
    """One flipped bit, or a missing end, is a download error that names the file; once deleted, it is fetched anew."""
    hub.offer(TENSORS)
    blob = fetch().resolve()
    content = bytearray(blob.read_bytes())
    content[-1] ^= 1
    blob.write_bytes(content if damage == "flip" else content[:-8])

    with pytest.raises(DownloadError, match=rf"is damaged.*delete {blob} and run again"):
        fetch()

    blob.unlink()
    assert fetch().read_bytes() == hub.files["acme/tiny/model.safetensors"]


def test_wrong_checksum_is_told(hub: Any) -> None:
    """Where a checksum is known beforehand, that one counts."""
    hub.offer(TENSORS)

    with pytest.raises(DownloadError, match=f"its SHA-256 is not {'0' * 64}"):
        fetch(sha256="0" * 64)


def test_a_description_tells_the_commit(hub: Any) -> None:
    """The main branch stands for a commit, with a description and without one."""
    hub.offer(TENSORS)
    assert fetch_description("acme/tiny", None) == (None, COMMIT)

    hub.commits[NEXT] = dict(hub.files)
    hub.main = NEXT
    hub.offer(TENSORS, id="x")
    path, commit = fetch_description("acme/tiny", None)

    assert commit == NEXT
    assert path is not None
    assert path.read_bytes() == hub.files["acme/tiny/model.json"]
    assert fetch_description("acme/tiny", COMMIT) == (None, COMMIT)


def test_a_pinned_description_needs_no_network(hub: Any) -> None:
    """A commit cannot change, so what the cache holds of it is enough."""
    hub.offer(TENSORS, id="x")
    first = fetch_description("acme/tiny", COMMIT)
    asked = len(hub.requests)

    assert fetch_description("acme/tiny", COMMIT) == first
    assert len(hub.requests) == asked


@pytest.mark.parametrize("described", [True, False])
def test_without_a_network_the_cache_is_taken(
    hub: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, described: bool
) -> None:
    """A branch is then what it was when the repository was cached, and a warning says so."""
    hub.offer(TENSORS, **({"id": "x"} if described else {}))
    path, commit = fetch_description("acme/tiny", None)
    fetch_file("acme/tiny", "model.safetensors", revision=commit)
    hub.refusal = (503, "")

    assert fetch_description("acme/tiny", None) == (path, commit)
    assert f"taking what the cache holds, commit {COMMIT}" in caplog.text
    assert (path is not None) == described


def test_without_a_network_and_a_cache_the_whole_repository_is_asked_for(closed: str) -> None:
    """The command of the offline way out fetches description and tensors alike."""
    with pytest.raises(DownloadError, match=r"hf download acme/tiny\n"):
        fetch_description("acme/tiny", None)


def test_a_model_is_a_folder_with_both_files(hub: Any) -> None:
    """Description and tensors of one commit lie side by side; without a description nothing is fetched."""
    hub.offer(TENSORS)
    with pytest.raises(DownloadError, match=r"hf-hub:acme/tiny says nothing .* it has no model\.json"):
        fetch_model("acme/tiny", None)
    assert not any("safetensors" in request for request in hub.requests)
    hub.files["acme/tiny/model.json"] = b"{}"
    folder = fetch_model("acme/tiny", None)
    assert sorted(path.name for path in folder.iterdir()) == ["model.json", "model.safetensors"]
