"""The command-line frame of every script: threads, streams, errors in one line, and one rule for exit codes.

Exit codes: 0 success; 1 an error; 2 wrong arguments, be it an option, a value or a setting; 130 Ctrl-C.

A script imports this module before any other that loads torch:

    if not __package__:  # called by its path
        sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

    from alphazero.shell import cli

    # isort: split
    import torch

and has all other imports below it, since Ctrl-C is handled from here on.
"""

from __future__ import annotations

from alphazero.shell import loading

# isort: split
import argparse
import gc
import io
import math
import os
import re
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn, TypeVar

# Before torch is loaded: one thread an operation is the fastest for batches of this size.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Before pydantic is loaded: its errors shall not send users to its own pages.
os.environ.setdefault("PYDANTIC_ERRORS_INCLUDE_URL", "0")

# isort: split
import torch
from rich.console import Console

from alphazero.config import MOST, ConfigError
from alphazero.game.loading import run_around
from alphazero.game.messages import shortened, unquoted
from alphazero.mcts.evaluator import EvaluationError
from alphazero.runs.files import RunError
from alphazero.shell.commands import as_called

gc.freeze()  # see `loading`
gc.enable()

LONGEST = 1_000  # characters of a line of an error

Parsed = TypeVar("Parsed")
Errors = tuple[type[Exception], ...]


class Parser(argparse.ArgumentParser):
    """Keeps the line breaks of its description, and says in one line what is wrong."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"formatter_class": argparse.RawDescriptionHelpFormatter} | options)
        self.description = as_called(self.description or "") or None

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {shortened(message.removeprefix('argument '), LONGEST)}\n")


def option(parse: Callable[[str], Parsed]) -> Callable[[str], Parsed]:
    """`parse` as an option's `type`; argparse then shows its ValueError in its own words."""

    def parse_option(text: str) -> Parsed:
        try:
            return parse(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    return parse_option


def whole(least: int, most: int = MOST, words: str = "") -> Callable[[str], int]:
    """Whole numbers within these limits, as an option's `type`; `words` tell them to people."""

    @option
    def parse(text: str) -> int:
        if not (re.fullmatch(r"-?\d{1,19}", text) and least <= int(text) <= most):
            limits = words or f"{least:,} to {most:,}"
            raise ValueError(f"must be a whole number from {limits}, not {unquoted(text)}")
        return int(text)

    return parse


seed = whole(0, (1 << 62) - 1, "0 to 2^62")


def real(least: float, most: float) -> Callable[[str], float]:
    """Real numbers within these limits, as an option's `type`."""

    @option
    def parse(text: str) -> float:
        number = math.nan
        with suppress(ValueError):
            number = float(text)
        if not least <= number <= most:
            raise ValueError(f"must be a number from {least:g} to {most:g}, not {unquoted(text)}")
        return number

    return parse


@option
def duration(text: str) -> float:
    """A time with its units, such as 2h30m or 90s, in seconds, as an option's `type`."""
    parts = re.fullmatch(r"(?:(\d{1,6})h)?(?:(\d{1,6})m)?(?:(\d{1,6})s)?", text)
    if not (parts and any(parts.groups())):
        raise ValueError(f"must be a time with its unit, such as 90s, 30m or 2h30m, not {unquoted(text)}")
    seconds = sum(unit * int(number or 0) for unit, number in zip((3600, 60, 1), parts.groups(), strict=True))
    if not 0 < seconds <= MOST:
        raise ValueError(f"must be longer than no time and shorter than {MOST:,} seconds, not {unquoted(text)}")
    return float(seconds)


@option
def part(text: str) -> float:
    """A part of a whole, as an option's `type`."""
    if not 0 <= float(text) < 1:
        raise ValueError(f"must be a part, from 0 to below 1, not {unquoted(text)}")
    return float(text)


def add_code(parser: argparse.ArgumentParser) -> None:
    """Adds `--game` and `--network.kind`, which name the code of the run or the agent."""
    told = "where neither this project nor an installed package registers it: files alone get no other imported"
    parser.add_argument("--game", metavar="MODULE:CLASS", help=f"the game, {told}")
    told = "the run's network, if it is a class of somebody's own: the same; an agent.onnx plays without"
    parser.add_argument("--network.kind", dest="network_kind", metavar="MODULE:CLASS", help=told)


def console() -> Console:
    """A console that takes no text for markup, and on which tables and lines are whole when piped, however wide."""
    return Console(width=None if sys.stdout.isatty() else 1_000, highlight=False, markup=False, emoji=False)


def run(main: Callable[[], int | None], *, wrong: Errors = (), errors: Errors = (), stopped: str = "Stopped.") -> int:
    """Runs a script and returns its exit code.

    wrong:   exceptions that mean wrong arguments; ConfigError always does.
    errors:  other exceptions that are shown in one line; RunError, EvaluationError and OSError always are.
    stopped: printed after Ctrl-C.
    """
    wrong, errors = (ConfigError, *wrong), (RunError, EvaluationError, OSError, *errors)
    torch.set_num_threads(1)
    loading.over()
    _prepare_streams()
    _find_own_code()
    try:
        with loading.interruptible():
            try:
                code = main() or 0
            except SystemExit:  # after --help, or wrong arguments
                sys.stdout.flush()
                raise
            sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        print(stopped, file=sys.stderr)
        return 130
    except BrokenPipeError:  # nobody reads any more, as behind `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (*wrong, *errors) as error:
        loading.over()
        plain = f"{error.filename}: {error.strerror}" if isinstance(error, OSError) and error.filename else error
        lines = [shortened(line, LONGEST) for line in str(plain).splitlines()]
        print("error: " + "\n".join(lines), file=sys.stderr)
        return 2 if isinstance(error, wrong) else 1


def _find_own_code() -> None:
    """Has games and networks of one's own found in the working directory, after all other places: it hides no package.

    Not in the folder of a run, which may be a stranger's.
    """
    with suppress(OSError):  # the folder may be gone
        here = os.getcwd()
        if here not in sys.path and run_around(Path(here)) is None:
            sys.path.append(here)


def _prepare_streams() -> None:
    """Makes closed streams (`<&-`) empty ones, and has characters replaced that cannot be decoded or encoded."""
    for name in ("stdin", "stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, io.StringIO())
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
