"""``python -m segzoo.bench.probe DEVICE``: print the device that a name means, in a process that then ends.

The process that starts the measurements stays away from the device: what it held there would be missing to the models.
"""

from __future__ import annotations

import os
import subprocess
import sys

from segzoo.errors import DeviceError, SegzooError

PROBE = (sys.executable, "-m", "segzoo.bench.probe")


def find_device(name: str) -> str:
    """Return the device that a user named, ``auto`` included, without loading torch into this process.

    Raises:
        DeviceError: If it is not there; the message lists those that are.
    """
    done = subprocess.run((*PROBE, name), stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode:
        words = [line for line in done.stderr.splitlines() if line.strip()]
        raise DeviceError(words[-1] if words else f"the device {name!r} could not be asked for: torch does not start")
    return done.stdout.strip()


def main(name: str) -> int:
    """Print the device of that name, and return the exit code."""
    # Here alone: whoever calls find_device loads this file without torch.
    from segzoo.runtime.device import choose_device

    try:
        print(choose_device(name))
    except SegzooError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return os.EX_OK


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
