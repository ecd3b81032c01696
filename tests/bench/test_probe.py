"""The device is asked for in another process."""

from __future__ import annotations

import subprocess
import sys

import pytest

from segzoo.bench.probe import find_device
from segzoo.errors import DeviceError


def test_the_cpu_is_there() -> None:
    """A device that is there is returned by the name that rows have."""
    assert find_device("cpu") == "cpu"


def test_what_is_not_there_is_told_with_what_is() -> None:
    """The message has the name, and the devices of this machine."""
    with pytest.raises(DeviceError, match=r"the device 'cuda:99' is not here; there is .*cpu"):
        find_device("cuda:99")


def test_the_process_that_starts_others_has_no_torch() -> None:
    """Neither asking for the device nor running a sweep loads torch into this process."""
    code = (
        "import sys, segzoo.bench.runner, segzoo.bench.report_page, segzoo.cli.bench;"
        "from segzoo.bench.probe import find_device; find_device('cpu'); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
