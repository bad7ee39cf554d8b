"""Small files of the user's own, outside of all runs: what is trusted, and what need not be made twice."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


def own_folder(variable: str, default: str) -> Path:
    """The project's folder in the one that the environment variable names, or in `default` below the home.

    RuntimeError if there is no home.
    """
    named = os.environ.get(variable, "")
    # A relative path must be ignored, says the XDG Base Directory Specification: it might be in a stranger's folder.
    return (Path(named) if os.path.isabs(named) else Path.home() / default) / "alphazero"


def write_own(path: Path, content: bytes) -> None:
    """Replaces the file as a whole; only the user can read it."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor, unfinished = tempfile.mkstemp(dir=path.parent)  # 0600
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(unfinished, path)
    except BaseException:
        os.unlink(unfinished)
        raise
