"""Commands to print for people, which run as they are printed: scripts by their paths, or the command `alphazero`."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

PROGRAM = "alphazero "


def python_command(*words: object) -> str:
    """A command line that gives these words to the Python of this process, as short as it can be named from here."""
    python, here = Path(sys.executable), Path.cwd()
    return shlex.join(map(str, (python.relative_to(here) if python.is_relative_to(here) else python, *words)))


def script_command(name: str, *words: object) -> str:
    """The same for the script of this name, as the one that runs was called."""
    if _installed():
        return shlex.join(map(str, (PROGRAM.strip(), Path(name).stem, *words)))
    return python_command(Path(sys.argv[0] or name).with_name(name), *words)


def as_called(text: str) -> str:
    """The text with `scripts/train.py` in it written as `alphazero train`, if that is how scripts are called here."""
    return re.sub(r"scripts/(\w+)\.py", rf"{PROGRAM}\1", text) if _installed() else text


def _installed() -> bool:
    """Whether the command `alphazero` runs, and not a script by its path."""
    return sys.argv[0].startswith(PROGRAM)
