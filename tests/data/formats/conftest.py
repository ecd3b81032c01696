"""Trees of small files in the layouts of the data sets."""

from __future__ import annotations

import functools
import http.server
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import ArrayLike
from PIL import Image

WritePair = Callable[[Path, Path, ArrayLike], None]
Serve = Callable[[Path], AbstractContextManager[str]]


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    """Answers without a log."""

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def write_pair() -> WritePair:
    """Return what writes an image and its mask of the given labels or colours."""

    def write(image: Path, mask: Path, labels: ArrayLike) -> None:
        pixels = np.asarray(labels, np.uint8)
        for path, content in ((image, np.full((*pixels.shape[:2], 3), 90, np.uint8)), (mask, pixels)):
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(content).save(path)

    return write


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Serve:
    """Return what serves a folder on the loopback address."""
    monkeypatch.setenv("NO_PROXY", "*")

    @contextmanager
    def serving(folder: Path) -> Iterator[str]:
        handler = functools.partial(QuietHandler, directory=folder)
        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as web:
            thread = threading.Thread(target=web.serve_forever, kwargs={"poll_interval": 0.02})
            thread.start()
            try:
                yield f"http://127.0.0.1:{web.server_port}"
            finally:
                web.shutdown()
                thread.join()

    return serving
