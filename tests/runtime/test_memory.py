"""How much memory is left is told by the system and by every control group around the process, if by any."""

from __future__ import annotations

from pathlib import Path

import pytest

from segzoo.runtime.memory import available_memory

MIB = 2**20
UNLIMITED = "9223372036854771712"


def make_system(root: Path, files: dict[str, str]) -> Path:
    """Write what the kernel would show, with 1000 MiB available."""
    for name, content in {"proc/meminfo": f"MemTotal: 9 kB\nMemAvailable:  {1000 * 1024} kB\n", **files}.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return root


def version_2(path: str, limit: str, used: int, cached: int = 0) -> dict[str, str]:
    """Return the files of a group of version 2."""
    folder = f"sys/fs/cgroup{path}".rstrip("/")
    return {
        f"{folder}/memory.max": f"{limit}\n",
        f"{folder}/memory.current": f"{used * MIB}\n",
        f"{folder}/memory.stat": f"anon 5\ninactive_file {cached * MIB}\n",
    }


def version_1(path: str, limit: str, used: int, cached: int = 0) -> dict[str, str]:
    """Return the files of a group of version 1."""
    folder = f"sys/fs/cgroup/memory{path}".rstrip("/")
    return {
        f"{folder}/memory.limit_in_bytes": f"{limit}\n",
        f"{folder}/memory.usage_in_bytes": f"{used * MIB}\n",
        f"{folder}/memory.stat": f"inactive_file 1\ntotal_inactive_file {cached * MIB}\n",
    }


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, 1000),
        ({"proc/self/cgroup": "0::/\n"}, 1000),
        ({"proc/self/cgroup": "0::/a/b\n", **version_2("/a/b", "max", 5), **version_2("/a", str(300 * MIB), 100)}, 200),
        ({"proc/self/cgroup": "0::/a\n", **version_2("/a", str(300 * MIB), 250, cached=70)}, 120),
        # A container sees its own group as the root, whatever the path says.
        ({"proc/self/cgroup": "0::/host/path\n", **version_2("/", str(64 * MIB), 4)}, 60),
        ({"proc/self/cgroup": "3:cpu:/x\n4:memory:/x\n0::/\n", **version_1("/x", UNLIMITED, 90)}, 1000),
        (
            {
                "proc/self/cgroup": "4:memory,pids:/x\n",
                **version_1("/x", str(500 * MIB), 400, cached=30),
                **version_1("/", UNLIMITED, 5),
            },
            130,
        ),
        ({"proc/self/cgroup": "0::/a\n", **version_2("/a", str(10 * MIB), 11)}, 0),
    ],
)
def test_the_tightest_limit_counts(tmp_path: Path, files: dict[str, str], expected: int) -> None:
    """What is left is the least of the system's and every group's, in which dropped files count as free."""
    assert available_memory(make_system(tmp_path, files)) == expected * MIB


@pytest.mark.parametrize("content", ["", "MemTotal: 5 kB\n", "MemAvailable: many kB\n", "MemAvailable:\n"])
def test_a_system_that_does_not_tell(tmp_path: Path, content: str) -> None:
    """Where the system says nothing that can be read, nothing is counted on."""
    assert available_memory(make_system(tmp_path, {"proc/meminfo": content})) == 0


def test_other_systems_have_nothing_to_tell(tmp_path: Path) -> None:
    """Outside Linux there are no such files."""
    assert available_memory(tmp_path) == 0


def test_this_system_tells() -> None:
    """A machine that runs this has some memory left, and less than a petabyte."""
    if not Path("/proc/meminfo").exists():
        pytest.skip("no /proc/meminfo here")
    assert MIB < available_memory() < 2**50
