"""The frame's first lines, before torch is loaded, which takes seconds: a sign of life, and short last words.

Importing this says on a terminal that torch is loading. Ctrl-C while something is loaded, and an optional package that
is missing, end a script in one line as well.
"""

from __future__ import annotations

import gc
import shutil
import sys
from types import TracebackType

WIDTH = 40  # of the sign of life, a line that the next one takes
EXTRAS = {"gymnasium": "gymnasium", "pysindy": "dynamics", "ray": "cluster"}  # of the package, by what they install


def show(text: str) -> None:
    """Shows on a terminal what takes its time now, until `over`."""
    if sys.stderr is not None and sys.stderr.isatty():
        width = min(WIDTH, shutil.get_terminal_size().columns - 1)
        print(text[:width].ljust(width), end="\r", file=sys.stderr, flush=True)


def over() -> None:
    """Clears the line."""
    show("")


def last_words(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """What to print of an exception that ends the process: see `sys.excepthook`."""
    missing = (error.name or "").partition(".")[0] if isinstance(error, ModuleNotFoundError) else ""
    if isinstance(error, KeyboardInterrupt):
        over()
        print("Stopped.", file=sys.stderr)
    elif missing in EXTRAS:
        over()
        install = f"{sys.executable} -m pip install 'alphazero[{EXTRAS[missing]}]'"
        print(f"error: this needs {missing}, which is not installed: {install}", file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, trace)


sys.excepthook = last_words
if "torch" not in sys.modules:
    show("Loading torch ...")
    # Torch makes some hundred thousand objects that stay to the end. Looking through them for garbage, now and again at
    # the end, would take a third of a short command's time: `cli` goes on collecting, but of what comes after.
    gc.disable()
