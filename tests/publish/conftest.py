"""A small hub on the loopback address that takes commits, and runs to push there."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub(ThreadingHTTPServer):
    """As much of the hub as the client asks for when it makes a repository, commits files and fetches them."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.repositories: dict[str, dict[str, Any]] = {}
        self.files: dict[str, bytes] = {}
        self.objects: dict[str, bytes] = {}
        self.commits: list[dict[str, Any]] = []
        self.cards: list[str] = []
        self.refusal: tuple[str, int] | None = None
        self.silent = threading.Event()
        self.silent.set()

    @property
    def address(self) -> str:
        """Where the server listens."""
        return f"http://127.0.0.1:{self.server_port}"

    def commit(self, repository: str, lines: list[dict[str, Any]]) -> None:
        """Take the files of a commit: small ones lie in it, large ones were put beforehand."""
        self.commits.append(lines[0]["value"])
        for line in lines[1:]:
            value = line["value"]
            stored = line["key"] == "lfsFile"
            content = self.objects[value["oid"]] if stored else base64.b64decode(value["content"])
            self.files[f"{repository}/{value['path']}"] = content


class Answer(BaseHTTPRequestHandler):
    """Answer as the hub does."""

    server: Hub

    def do_POST(self) -> None:
        """Make a repository, judge a card, say how files are taken, or take a commit."""
        body = self.read_body()
        self.server.silent.wait(10)
        if self.server.refusal is not None and self.server.refusal[0] in self.path:
            self.send_json({"error": "no"}, self.server.refusal[1])
        elif self.path == "/api/repos/create":
            wanted = json.loads(body)
            name = f"{wanted['organization']}/{wanted['name']}"
            known = name in self.server.repositories
            self.server.repositories.setdefault(name, wanted)
            self.send_json({"url": f"{self.server.address}/{name}", "name": name}, 409 if known else 200)
        elif self.path == "/api/validate-yaml":
            self.server.cards.append(json.loads(body)["content"])
            self.send_json({"errors": [], "warnings": []})
        elif found := re.fullmatch(r"/api/models/([^/]+/[^/]+)/(preupload|commit)/main", self.path):
            (self.preupload if found[2] == "preupload" else self.take)(found[1], body)
        elif self.path.endswith(".git/info/lfs/objects/batch"):
            actions = [
                {**each, "actions": {"upload": {"href": f"{self.server.address}/objects/{each['oid']}"}}}
                for each in json.loads(body)["objects"]
            ]
            self.send_json({"transfer": "basic", "objects": actions})
        else:
            self.send_json({"error": self.path}, 404)

    def read_body(self) -> bytes:
        """Return what was sent, be it in one piece or in chunks."""
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers["Content-Length"]))
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def preupload(self, repository: str, body: bytes) -> None:
        """Say that tensors are put beforehand, and all else comes with the commit."""
        modes = [
            {
                "path": each["path"],
                "uploadMode": "lfs" if each["path"].endswith(".safetensors") else "regular",
                "shouldIgnore": False,
            }
            for each in json.loads(body)["files"]
        ]
        self.send_json({"files": modes})

    def take(self, repository: str, body: bytes) -> None:
        """Take a commit."""
        self.server.commit(repository, [json.loads(line) for line in body.splitlines()])
        address = f"{self.server.address}/{repository}/commit/{COMMIT}"
        self.send_json({"success": True, "commitOid": COMMIT, "commitUrl": address})

    def do_PUT(self) -> None:
        """Take an object of the large file storage."""
        content = self.read_body()
        self.server.objects[hashlib.sha256(content).hexdigest()] = content
        self.send_json({})

    def do_HEAD(self) -> None:
        """Send the headers of a file."""
        self.send_file()

    def do_GET(self) -> None:
        """Send a file."""
        self.wfile.write(self.send_file())

    def send_file(self) -> bytes:
        """Send the headers and return the content."""
        found = re.fullmatch(r"/([^/]+/[^/]+)/resolve/[^/]+/(.+)", self.path)
        content = self.server.files.get(f"{found[1]}/{found[2]}") if found else None
        self.send_response(404 if content is None else 200)
        if content is not None:
            self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Content-Length", str(len(content or b"")))
        self.end_headers()
        return content or b""

    def send_json(self, content: dict[str, Any], status: int = 200) -> None:
        """Send JSON."""
        data = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        """Keep the tests' output clean."""


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """Serve a hub, and point the client there with a token, a cache of its own, and plain HTTP uploads."""
    server = Hub()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    monkeypatch.setenv("HF_ENDPOINT", server.address)
    monkeypatch.setenv("HF_TOKEN", "hf_token")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    yield server
    server.silent.set()
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def leave_run(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that leaves a run of U-Net behind, never trained, and returns its directory."""
    import torch

    from segzoo.build import build_from_spec
    from segzoo.metrics import Passport
    from segzoo.params import validate_params
    from segzoo.plugins import get_spec
    from segzoo.recipe import Recipe, recipe_json
    from segzoo.recipe.data import ClassEntry
    from segzoo.runs.model_folder import write_model

    def leave(
        *, names: tuple[str, ...] = ("background", "crack"), pretrained: str | None = None, **metrics: Any
    ) -> Path:
        spec = get_spec("segzoo/fast_scnn")
        params = validate_params(spec, {})
        recipe = Recipe.model_validate_json(
            json.dumps(
                {
                    "recipe_version": 1,
                    "name": "cracks",
                    "description": "Cracks in concrete.",
                    "model": {"name": spec_id, "params": params.model_dump(mode="json")},
                    "data": {"format": "shapes", "image_size": [64, 96]},
                    "augment": [{"name": "HorizontalFlip", "p": 0.5}],
                }
            )
        )
        run = tmp_path / "run"
        (run / "model").mkdir(parents=True)
        (run / "recipe.json").write_text(recipe_json(recipe))
        passport = Passport(split="val", images=12, ignore_index=255, image_size=(64, 96))
        torch.manual_seed(0)
        write_model(
            run / "model",
            build_from_spec(spec, params, num_classes=len(names), in_channels=3),
            recipe=recipe,
            spec=spec,
            classes=[ClassEntry(name=name, color=(label, 0, 0)) for label, name in enumerate(names)],
            metrics={
                "mean_iou": 0.8125,
                "per_class_iou": dict.fromkeys(names, 0.8125),
                "passport": passport.model_dump(mode="json"),
                **metrics,
            },
            provenance={"data_fingerprint": "abc123", "pretrained": pretrained},
        )
        return run

    spec_id = "segzoo/fast_scnn"
    return leave
