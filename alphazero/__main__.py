"""The command `alphazero`: the scripts by their names, in any folder.

alphazero train connect_four --minutes 30
alphazero play
"""

from __future__ import annotations

import ast
import difflib
import os
import sys
from importlib import import_module
from pathlib import Path
from textwrap import fill

from alphazero.runs.shipped import CHECKOUT, SCRIPTS


def main() -> int:
    """Runs the script that the first word of the command line names. 2 if there is none."""
    words = sys.argv[1:]
    if not words or words[0] in ("-h", "--help"):
        try:
            print(_help(), flush=True)
        except BrokenPipeError:  # nobody reads any more, as behind `| head`
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0 if words else 2
    name, scripts = words[0], _scripts()
    if name not in scripts:
        close = difflib.get_close_matches(name, scripts, 1)
        hint = f"; did you mean {close[0]}?" if close else ""
        print(f"error: there is no command {name!r}{hint} (alphazero --help lists them)", file=sys.stderr)
        return 2
    sys.argv = [f"alphazero {name}", *words[1:]]  # by which messages know how they are called
    if CHECKOUT:
        sys.path.insert(0, str(CHECKOUT))
    code: int = import_module(f"{'scripts' if CHECKOUT else 'alphazero.scripts'}.{name}").main()
    if code == 130:  # threads may be deep in a search that nobody waits for any more
        sys.stdout.flush()
        os._exit(code)
    return code


def _scripts() -> dict[str, Path]:
    """The scripts by name. Nothing is imported, for torch takes seconds."""
    return {path.stem: path for path in sorted(SCRIPTS.glob("*.py"))}


def _help() -> str:
    """The commands, each with the first line of its script."""
    lines = ["usage: alphazero COMMAND ...", ""]
    for name, path in _scripts().items():
        about = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        lines.append(fill(about.splitlines()[0], 80, initial_indent=f"  {name:<10} ", subsequent_indent=" " * 13))
    return "\n".join([*lines, "", "alphazero COMMAND --help says more."])


if __name__ == "__main__":
    sys.exit(main())
