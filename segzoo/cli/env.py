"""``segzoo env``."""

from __future__ import annotations

import json

from segzoo.cli.output import Json, print_rows, print_table
from segzoo.environment import collect


def env(as_json: Json = False) -> None:
    """Show versions and hardware, for bug reports."""
    environment = collect()
    if as_json:
        print_rows([dict(environment)])
        return
    rows = [(name, version or "not installed") for name, version in environment["versions"].items()]
    for section in ("machine", "git"):
        for key, value in (environment[section] or {}).items():
            rows.append((f"{section}.{key}", value if isinstance(value, str) else json.dumps(value)))
    print_table(("what", "value"), rows)
