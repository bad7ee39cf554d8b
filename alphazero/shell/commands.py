"""Commands to print for people: they run as they are printed."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path


def python_command(*words: object) -> str:
    """A command line that gives these words to the Python of this process, as short as it can be named from here."""
    python, here = Path(sys.executable), Path.cwd()
    return shlex.join(map(str, (python.relative_to(here) if python.is_relative_to(here) else python, *words)))


def script_command(name: str, *words: object) -> str:
    """The same for the script of this name beside the one that runs."""
    return python_command(Path(sys.argv[0] or name).with_name(name), *words)
