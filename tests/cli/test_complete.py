"""Completion offers names from metadata alone."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from segzoo.cli.complete import model_names, recipe_names


def test_names_are_completed_without_plugin_code(install: Callable[..., Path]) -> None:
    """Ids and bare names, of broken plugins as well: their code is not run."""
    install("acme-seg", {"segmenter": "acme_seg:SPEC"}, "raise KeyboardInterrupt")
    assert {"segnet", "segzoo/segnet", "segmenter"} <= set(model_names("seg"))
    assert model_names("acme-seg/") == ["acme-seg/segmenter"]
    assert model_names("zzz") == []
    assert recipe_names("quick") == ["quickstart"]


def test_shell_completion() -> None:
    """What a shell asks for when a user presses tab."""
    settings = {**os.environ, "_SEGZOO_COMPLETE": "complete_bash", "COMP_WORDS": "segzoo show fast", "COMP_CWORD": "2"}
    code = "import sys; sys.argv = ['segzoo']; from segzoo.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=settings, timeout=60)
    assert done.stdout.split() == ["fast_scnn"]
