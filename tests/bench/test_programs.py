"""A prepared network computes what the network computes, in the way that was asked for."""

from __future__ import annotations

import os
from pathlib import Path
from typing import get_args

import pytest
import torch
from torch import Tensor, nn

from segzoo.bench.clock import clock_for
from segzoo.bench.modes import way_of
from segzoo.bench.programs import CACHES, Program, UnsupportedMode, prepare, prepare_fastest
from segzoo.bench.rows import Mode
from segzoo.inference import fast
from segzoo.inference.ways import PLAIN, Way

CPU = torch.device("cpu")

cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")


class Net(nn.Module):
    """Two convolutions; it remembers what its last image was like."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 2, 1))

    def forward(self, image: Tensor) -> Tensor:
        """Map ``(N, 3, H, W)`` to ``(N, 2, H, W)``."""
        self.seen = (image.dtype, image.is_contiguous(memory_format=torch.channels_last))
        logits: Tensor = self.layers(image)
        return logits


class NoHalf(Net):
    """A network with float32 of its own inside."""

    def forward(self, image: Tensor) -> Tensor:
        """Map ``(N, 3, H, W)`` to ``(N, 2, H, W)``."""
        return super().forward(image.float())


def prepared(way: Way, net: nn.Module | None = None, device: torch.device = CPU) -> tuple[Program, nn.Module, Tensor]:
    """Return a program, its network and the batch that it was made of."""
    torch.manual_seed(0)
    net = (net or Net()).eval()
    image = torch.randn(2, 3, 16, 24)
    with torch.inference_mode():
        return prepare(net, image, way, device=device, clock=clock_for(device)), net, image


@pytest.mark.parametrize("mode", ["eager", "channels_last", "bf16"])
def test_logits_are_the_network_s(mode: Mode) -> None:
    """In every way the logits are the plain ones, to the precision of the way; the network itself stays as it is."""
    way = way_of(mode, "cpu") or PLAIN
    program, net, image = prepared(way)
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    with torch.inference_mode():
        logits = program.run()
        expected = net(image)
    torch.testing.assert_close(logits.float(), expected, rtol=0, atol=3e-2 if way.precision == "bf16" else 1e-5)
    assert all(tensor.dtype == torch.float32 for tensor in net.parameters())
    assert all(torch.equal(before[name], tensor) for name, tensor in net.state_dict().items())


@pytest.mark.parametrize(
    ("way", "dtype", "channels_last"),
    [
        (Way(), torch.float32, False),
        (Way(channels_last=True), torch.float32, True),
        (Way(precision="bf16"), torch.bfloat16, False),
        (Way(precision="bf16", channels_last=True), torch.bfloat16, True),
        (Way(precision="fp16"), torch.float16, False),
    ],
)
def test_a_way_acts(way: Way, dtype: torch.dtype, channels_last: bool) -> None:
    """The batch has the number format and the memory layout of the way."""
    program, _, _ = prepared(way)
    assert program.image.dtype == dtype
    assert program.image.is_contiguous(memory_format=torch.channels_last) == channels_last
    with torch.inference_mode():
        assert program.run().dtype == dtype
    assert (program.way, program.compile_seconds, program.peak, program.trials) == (way, None, None, ())


def test_what_does_not_run_this_way_is_unsupported() -> None:
    """Where a network fails in a way that changes something, the reason comes through."""
    with pytest.raises(UnsupportedMode, match=r"RuntimeError: .*should be the same"):
        prepared(Way(precision="bf16"), NoHalf())
    prepared(Way(), NoHalf())


def test_what_fails_as_it_is_fails() -> None:
    """A plain run's own error is not dressed up as a missing ability."""
    with pytest.raises(RuntimeError, match="channels"):
        prepared(Way(), nn.Conv2d(5, 2, 1))


def test_too_little_memory_passes() -> None:
    """Whatever the way, running out of memory is for the ladder of batches to handle."""

    class Greedy(Net):
        """A network that wants a petabyte."""

        def forward(self, image: Tensor) -> Tensor:
            """Ask for it."""
            return torch.empty(1 << 50)

    with pytest.raises(RuntimeError, match="DefaultCPUAllocator"):
        prepared(Way(channels_last=True), Greedy())


def test_compiling_is_timed_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first call of what the compiler returns is the compile time; every later call goes to the same."""
    calls: list[Tensor] = []

    def compile_(network: nn.Module, *, dynamic: bool) -> object:
        assert not dynamic
        return lambda image: (calls.append(image), network(image))[1]

    monkeypatch.setattr(torch, "compile", compile_)
    program, _, _ = prepared(Way(compiled=True))
    assert program.compile_seconds is not None
    assert program.compile_seconds > 0
    assert len(calls) == 1
    with torch.inference_mode():
        program.run()
    assert len(calls) == 2


def test_a_compiler_that_fails_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a compiler on the machine the mode is unsupported, with its first line."""

    def fail(image: Tensor) -> Tensor:
        raise RuntimeError("no working C++ compiler\nSee the documentation")

    monkeypatch.setattr(torch, "compile", lambda network, dynamic: fail)
    with pytest.raises(UnsupportedMode, match=r"^RuntimeError: no working C\+\+ compiler$"):
        prepared(Way(compiled=True))


def test_compiling_begins_with_empty_caches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each program is compiled with folders of its own, which are empty and go again: the time is that of the first."""
    folders: list[Path] = []

    def compile_(network: nn.Module, *, dynamic: bool) -> nn.Module:
        folders.extend(Path(os.environ[name]) for name in CACHES)
        folders[-2].mkdir(parents=True)
        (folders[-2] / "code").touch()
        return network

    monkeypatch.setattr(torch, "compile", compile_)
    monkeypatch.setenv(CACHES[0], "of the user")
    for _ in range(2):
        prepared(Way(compiled=True))
    assert len(set(folders)) == 4
    assert not any(folder.exists() for folder in folders)
    assert os.environ[CACHES[0]] == "of the user"


def test_the_fastest_way_is_measured_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was tried is in the program, whose time of compilation is that of the first, with empty caches."""
    compiled: list[nn.Module] = []

    def compile_(network: nn.Module, *, dynamic: bool) -> nn.Module:
        compiled.append(network)
        return network

    monkeypatch.setattr(torch, "compile", compile_)
    times = iter((4.0, 3.0, 2.0))
    monkeypatch.setattr(fast, "_seconds", lambda run, device, patience: next(times))
    clock = clock_for(CPU)
    latencies = iter((50.0, 1.0))
    monkeypatch.setattr(clock, "latency", lambda run: (run(), next(latencies))[1])
    torch.manual_seed(0)
    net, image = Net().eval(), torch.randn(2, 3, 16, 24)
    with torch.inference_mode():
        program = prepare_fastest(net, image, device=CPU, clock=clock, judged=True, patience=9.0)
        torch.testing.assert_close(program.run(), net(image), rtol=0, atol=1e-5)
    assert program.way == Way(channels_last=True, folded=True, compiled=True)
    assert [trial.latency_ms for trial in program.trials] == [4000.0, 3000.0, 2000.0]
    assert len(compiled) == 2
    assert program.compile_seconds == 50.0


@pytest.mark.slow
def test_compiled_logits_are_the_network_s() -> None:
    """What torch really compiles computes the same."""
    program, net, image = prepared(Way(compiled=True, channels_last=True))
    with torch.inference_mode():
        torch.testing.assert_close(program.run(), net(image), rtol=0, atol=1e-5)


@pytest.mark.gpu
@cuda
@pytest.mark.parametrize("mode", get_args(Mode))
def test_every_mode_on_a_gpu(mode: Mode) -> None:
    """All ways give the plain logits, a replayed graph each time anew."""
    device = torch.device("cuda", torch.cuda.current_device())
    net, image = Net().eval(), torch.randn(2, 3, 16, 24)
    way, clock = way_of(mode, "cuda"), clock_for(device)
    with torch.inference_mode():
        if way is None:
            program = prepare_fastest(net, image, device=device, clock=clock, judged=True, patience=9.0)
        else:
            program = prepare(net, image, way, device=device, clock=clock)
        expected = net(image)
        for _ in range(2):
            logits = program.run()
            torch.cuda.synchronize()
            torch.testing.assert_close(
                logits.float().cpu(), expected, rtol=0, atol=3e-2 if mode in ("bf16", "best") else 5e-3
            )
            if program.way.replayed:
                logits.zero_()
    assert (program.peak is not None) == program.way.replayed
    assert (program.compile_seconds is not None) == program.way.compiled
