"""How much memory this process may still take, as the system and the control groups around it tell."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath


def available_memory(root: Path = Path("/")) -> int:
    """Return the bytes that can be taken without swapping; 0 where the system does not tell, as outside Linux.

    Args:
        root: Where ``proc`` and ``sys`` lie.
    """
    try:
        lines = (root / "proc/meminfo").read_text().splitlines()
        free = next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")) * 1024
    except (OSError, ValueError, IndexError, StopIteration):
        return 0
    return max(min([free, *_left_in_groups(root)]), 0)


def _left_in_groups(root: Path) -> Iterator[int]:
    """Yield what is left below the limit of each control group that this process is in, from version 1 and 2."""
    groups = ""
    with suppress(OSError):
        groups = (root / "proc/self/cgroup").read_text()
    for line in groups.splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            yield from _left(root / "sys/fs/cgroup", path, "memory.max", "memory.current", "inactive_file")
        elif "memory" in controllers.split(","):
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
            yield from _left(root / "sys/fs/cgroup/memory", path, *names)


def _left(mount: Path, path: str, limit: str, usage: str, cached: str) -> Iterator[int]:
    """Yield limit minus usage for a group and those around it; files that can be dropped from memory do not count."""
    group = PurePosixPath(path.lstrip("/"))
    # In a container the path may be that of the host, of which only the root is to be seen.
    for folder in (group, *group.parents):
        with suppress(OSError, ValueError):
            most, used = (int((mount / folder / name).read_text()) for name in (limit, usage))
            statistics = dict(line.split() for line in (mount / folder / "memory.stat").read_text().splitlines())
            yield most - used + int(statistics.get(cached, 0))
