"""A sign of life on a terminal, in a line that the next one takes; importing this says that torch is loading."""

from __future__ import annotations

import sys

WIDTH = 40  # of the line


def show(text: str) -> None:
    """Shows what takes its time now, until `over`."""
    if sys.stderr is not None and sys.stderr.isatty():
        print(text.ljust(WIDTH), end="\r", file=sys.stderr, flush=True)


def over() -> None:
    """Clears the line."""
    show("")


if "torch" not in sys.modules:
    show("Loading torch ...")
