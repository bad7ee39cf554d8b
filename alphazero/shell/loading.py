"""The frame's first lines, before torch is loaded, which takes seconds: a sign of life, and short last words.

Importing this says on a terminal that torch is loading. Ctrl-C while something is loaded, and an optional package that
is missing, end a script in one line as well.

So does a start on Windows, which nothing here is made for.
"""

from __future__ import annotations

import gc
import os
import shutil
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType, TracebackType

WIDTH = 40  # of the sign of life, a line that the next one takes
AGAIN = 0.02  # seconds until a Ctrl-C that was lost in a callback comes again, outside of it
# Of the package, by what they install.
EXTRAS = {
    "gymnasium": "gymnasium", "optuna": "tune", "pysindy": "dynamics", "pyspiel": "open_spiel", "ray": "cluster",
}  # fmt: skip


def show(text: str) -> None:
    """Shows on a terminal what takes its time now, until `over`."""
    if sys.stderr is not None and sys.stderr.isatty():
        width = min(WIDTH, shutil.get_terminal_size().columns - 1)
        print(text[:width].ljust(width), end="\r", file=sys.stderr, flush=True)


def over() -> None:
    """Clears the line."""
    show("")


def stop(number: int, frame: FrameType | None) -> None:
    """Ctrl-C while a script loads or ends: it ends at once, by the signal, which shells show as 130.

    A KeyboardInterrupt would come up within packages that are loading, some of which take it for a fault of their own.
    """
    with suppress(OSError):  # past Python's streams, in which the signal may have come
        clear = b"\r" + b" " * WIDTH + b"\r" if os.isatty(2) else b""
        os.write(2, clear + b"Stopped.\n")
    signal.signal(number, signal.SIG_DFL)
    signal.raise_signal(number)


@contextmanager
def interruptible() -> Iterator[None]:
    """A context in which Ctrl-C is a KeyboardInterrupt again, for what a script does itself."""
    if signal.getsignal(signal.SIGINT) is not stop:  # not a script's process, or one that ignores Ctrl-C
        yield
        return
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, stop)


def unraisable(lost: sys.UnraisableHookArgs) -> None:
    """What to do about an exception that cannot be raised where it arose: see `sys.unraisablehook`.

    A KeyboardInterrupt in a callback of a package, such as those of numba's compiler, comes again outside of it.
    """
    if lost.exc_type is KeyboardInterrupt:
        threading.Timer(AGAIN, signal.raise_signal, [signal.SIGINT]).start()
    else:
        sys.__unraisablehook__(lost)


def last_words(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """What to print of an exception that ends the process: see `sys.excepthook`."""
    missing = (error.name or "").partition(".")[0] if isinstance(error, ModuleNotFoundError) else ""
    if isinstance(error, KeyboardInterrupt):
        over()
        print("Stopped.", file=sys.stderr)
    elif missing in EXTRAS:
        over()
        install = f"{sys.executable} -m pip install 'alphazero-engine[{EXTRAS[missing]}]'"
        print(f"error: this needs {missing}, which is not installed: {install}", file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, trace)


if sys.platform == "win32":
    sys.exit("error: Windows is not supported; in its Subsystem for Linux (WSL) this runs as on Linux")
sys.excepthook, sys.unraisablehook = last_words, unraisable
if signal.getsignal(signal.SIGINT) is signal.default_int_handler and "torch" not in sys.modules:
    signal.signal(signal.SIGINT, stop)
if "torch" not in sys.modules:
    show("Loading torch ...")
    # Torch makes some hundred thousand objects that stay to the end. Looking through them for garbage, now and again at
    # the end, would take a third of a short command's time: `cli` goes on collecting, but of what comes after.
    gc.disable()
