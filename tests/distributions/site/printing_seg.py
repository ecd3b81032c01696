"""Prints while it is imported: from Python, past Python and from a child process."""

import os
import subprocess
import sys

from segzoo import ModelSpec, Params


class PlainParams(Params):
    """No parameters."""


PRINTING = ModelSpec(
    name="printing",
    summary="One convolution",
    family="tests",
    builder="good_seg_nets:build",
    params=PlainParams,
    license="MIT",
)

print("hello from print")
print("hello from the first stdout", file=sys.__stdout__)
os.write(1, b"hello from the descriptor\n")
subprocess.run(["echo", "hello from a child"], check=True)
