"""A sign of life: importing this says on a terminal that torch is loading, which takes seconds; `over` clears it."""

from __future__ import annotations

import sys

TEXT = "Loading torch ..."
SHOWN = "torch" not in sys.modules and sys.stderr is not None and sys.stderr.isatty()


def over() -> None:
    """Clears the line, where there is one."""
    _write(" " * len(TEXT))


def _write(text: str) -> None:
    if SHOWN:
        print(text, end="\r", file=sys.stderr, flush=True)


_write(TEXT)
