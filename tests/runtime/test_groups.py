"""Groups of processes are set up alike for every device."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from segzoo.runtime import distributed
from segzoo.runtime.distributed import PATIENCE, join_group
from segzoo.runtime.launch import Launch


@pytest.mark.parametrize(("device", "backend"), [("cpu", "gloo"), ("cuda:0", "nccl")])
def test_every_group_has_the_same_patience(monkeypatch: pytest.MonkeyPatch, device: str, backend: str) -> None:
    """The first process audits and draws alone, for longer than the ten minutes that nccl would wait."""
    groups: list[dict[str, Any]] = []

    def begin(backend: str, **settings: Any) -> None:
        groups.append({"backend": backend, **settings})

    monkeypatch.setattr(distributed, "rendezvous", lambda *_: iter([(object(),)]))
    monkeypatch.setattr(torch.cuda, "set_device", lambda _: None)
    monkeypatch.setattr(distributed.dist, "init_process_group", begin)
    monkeypatch.setattr(distributed.dist, "new_group", lambda **settings: begin(**settings))
    monkeypatch.setattr(distributed.dist, "destroy_process_group", lambda: None)
    with join_group(Launch(0, 2, 0, 2), torch.device(device)) as world:
        assert world.size == 2

    assert [(group["backend"], group["timeout"]) for group in groups] == [(backend, PATIENCE), ("gloo", PATIENCE)]
