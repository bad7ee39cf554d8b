"""Feeds the engine altered input, and counts what must never happen: tracebacks, hangs, silence, and too much memory.

    benchmarks/fuzz.py [--seed 0] [--first 0] [--count 1000] [--kinds agents,states] [--out FOLDER]

An input is a file of a small run, a configuration, a command line, or a mirror, with something in it altered: bytes,
words, numbers, or what its format can say. A digest that covers it is made to fit again in half of the cases, as a
stranger would. Each input follows from the seed and its number alone, so a large count can be divided over machines,
gone on with (--first), and one input tried again (--first N --count 1). It is read in a process of its own that is
replaced when it dies, hangs, or has taken too much memory. The exit code is 1 if anything failed.
"""

from __future__ import annotations

import contextlib
import io
import multiprocessing
import os
import random
import resource
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from alphazero.shell import cli

# isort: split
import psutil
from rich.console import Console

from benchmarks.altered_inputs import KINDS, Bench, make_originals
from benchmarks.harness import empty_table, whole

PATIENCE = 20.0  # s for an input, from which on it hangs
MEMORY = 1 << 30  # bytes that an input may take
LONGEST = 1_000  # characters of a line of an error
FAILURES = ("traceback", "silent", "unclear", "hang", "death", "memory")


class Result(NamedTuple):
    """What became of an input: accepted, refused, or one of FAILURES; `told` is the error or the traceback."""

    number: int
    kind: str
    what: str
    outcome: str
    told: str = ""


def tried(bench: Bench, seed: int, number: int, kinds: Sequence[str], begin: Callable[[Result], None]) -> Result:
    """Makes the input of this number, reads it, and says what became of it; `begin` is told before it is read."""
    draw = random.Random(f"{seed}:{number}")
    kind = draw.choices(kinds, [KINDS[name][0] for name in kinds])[0]
    trial = KINDS[kind][1](bench, draw)
    said = partial(Result, number, kind, trial.what)
    begin(said("death"))
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            found = trial.read()
    except trial.errors as error:
        text = error.strerror or "" if isinstance(error, OSError) else str(error)  # of which the frame names the file
        clear = any(name in text for name in trial.names) and max(map(len, text.splitlines() or [""])) <= LONGEST
        return said("refused" if clear else "unclear", text[:2000])
    except SystemExit as error:
        return said("refused" if error.code in (0, 2) else "traceback", f"exit {error.code}")
    except BaseException:
        return said("traceback", traceback.format_exc()[-4000:])
    return said("silent" if trial.wrong(found) else "accepted")


def work(pipe: Connection, folder: Path, seed: int, numbers: Sequence[int], kinds: Sequence[str]) -> None:
    """Tries the inputs of these numbers; for a process of its own, which ends early if it has grown too large."""
    sys.stderr = os.fdopen(os.dup(2), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # what ONNX Runtime says for itself
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    bench = Bench(folder / "originals", folder / "copies")
    base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for number in numbers:
        result = tried(bench, seed, number, kinds, pipe.send)
        grown = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - base)
        if grown > MEMORY:
            pipe.send(result._replace(outcome="memory", told=f"{grown:,} bytes; {result.told}"))
            return
        pipe.send(result)


def results(folder: Path, seed: int, numbers: range, kinds: Sequence[str]) -> Iterator[Result]:
    """What became of the inputs of these numbers, in order, by one process after the other.

    folder: has the originals, and gets the copies that are altered.
    """
    processes = multiprocessing.get_context("fork")
    left = numbers
    while left:
        pipe, other = processes.Pipe(duplex=False)
        process = processes.Process(target=work, args=(other, folder, seed, left, kinds), daemon=True)
        process.start()
        other.close()
        begun: Result | None = None
        try:
            # To begin takes longer: a process makes its parts first.
            while left and answers(pipe, process.pid, PATIENCE if begun else 10 * PATIENCE):
                got = pipe.recv()
                if begun is None:
                    begun = got
                    continue
                yield got
                begun, left = None, left[1:]
                if got.outcome == "memory":
                    break
            else:
                if left:
                    yield (begun or Result(left[0], "?", "", ""))._replace(outcome="hang")
                    left = left[1:]
        except EOFError:
            process.join()
            if begun is None:
                raise RuntimeError(f"the process ended with {process.exitcode} before an input") from None
            yield begun._replace(told=f"exit code {process.exitcode}")
            left = left[1:]
        finally:
            process.kill()
            process.join()
            pipe.close()


def answers(pipe: Connection, number: int | None, patience: float) -> bool:
    """Whether the process of this number says something: not once it sleeps, or has computed, for so many seconds."""

    def computed() -> float:
        return sum(psutil.Process(number).cpu_times()[:2])

    limit = computed() + patience
    while not pipe.poll(patience):
        if psutil.Process(number).status() != psutil.STATUS_RUNNING or computed() >= limit:
            return False
    return True


def main() -> int:
    return cli.run(fuzz, stopped="Stopped.")


def fuzz() -> int:
    parser = cli.Parser(description=__doc__)
    parser.add_argument("--seed", type=cli.seed, default=0, help="of all inputs (0)")
    parser.add_argument("--first", type=int, default=0, help="number of the first input (0)")
    parser.add_argument("--count", type=whole, default=1000, help="how many there are (1000)")
    parser.add_argument("--kinds", default=",".join(KINDS), help="separated by commas; default: all")
    parser.add_argument("--out", type=Path, help="folder for what failed: a file for each input")
    arguments = parser.parse_args()
    kinds = arguments.kinds.split(",")
    if unknown := set(kinds) - KINDS.keys():
        parser.error(f"--kinds: there is no {min(unknown)!r}; choose from {', '.join(KINDS)}")
    numbers = range(arguments.first, arguments.first + arguments.count)
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        make_originals(Path(folder) / "originals")
        return show(results(Path(folder), arguments.seed, numbers, kinds), arguments.out, cli.console())


def show(found: Iterator[Result], out: Path | None, console: Console) -> int:
    """Counts results by kind and outcome, writes down what failed; 1 if anything did."""
    counts: dict[str, Counter[str]] = {}
    for result in found:
        counts.setdefault(result.kind, Counter())[result.outcome] += 1
        if result.outcome in FAILURES:
            console.print(f"{result.number}: {result.kind}, {result.what}: {result.outcome}", soft_wrap=True)
            if out:
                out.mkdir(parents=True, exist_ok=True)
                (out / f"{result.number}.txt").write_text("\n".join(map(str, result)) + "\n", errors="replace")
    columns = ("refused", "accepted", *FAILURES)
    table = empty_table(console, "altered inputs", ("", *columns))
    for kind, of_kind in sorted(counts.items()):
        table.add_row(kind, *(str(of_kind[outcome]) for outcome in columns))
    total = sum(counts.values(), Counter())
    table.add_row("all", *(str(total[outcome]) for outcome in columns))
    console.print(table)
    return int(any(total[outcome] for outcome in FAILURES))


if __name__ == "__main__":
    sys.exit(main())
