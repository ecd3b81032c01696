"""The tests in ``inside`` run under the null GPU only; ``test_null_gpu.py`` starts them."""

from __future__ import annotations

import os

collect_ignore = [] if "NULL_GPU" in os.environ else ["inside"]
