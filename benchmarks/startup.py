"""Measures how long the scripts take to start: each to the end of its --help, play and train to their first output.

    benchmarks/startup.py [--rounds 3] [--json FILE]

Every command is run once before it counts, so that its packages are in the file cache; medians of the rounds are shown.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from alphazero.shell import cli

# isort: split
from benchmarks.harness import empty_table, introduce, new_file, whole

ROOT = Path(__file__).resolve().parents[1]
PROMISED = 3.0  # s
TO_FIRST_OUTPUT = (["play.py"], ["play.py", "nowhere"], ["train.py", f"{ROOT}/configs/tic_tac_toe.toml"])


def main() -> int:
    return cli.run(measure)


def measure() -> None:
    parser = cli.Parser(description=__doc__)
    parser.add_argument("--rounds", type=whole, default=3, help="of which the median is shown (3)")
    parser.add_argument("--json", type=new_file, metavar="FILE", help="write all measurements there")
    show(parser.parse_args())


def show(options: argparse.Namespace) -> None:
    console = cli.console()
    machine = introduce(console)
    helps = [[path.name, "--help"] for path in sorted((ROOT / "scripts").glob("*.py"))]
    measured = {}
    for command in (*helps, *TO_FIRST_OUTPUT):
        times = [seconds(command) for _ in range(1 + options.rounds)]
        measured[" ".join(command).replace(f"{ROOT}/", "")] = statistics.median(times[1:])
    table = empty_table(console, "start", ("", "seconds", f"at most {PROMISED:g}"))
    for name, median in measured.items():
        table.add_row(name, f"{median:.2f}", "kept" if median <= PROMISED else "not kept")
    console.print(table)
    if options.json:
        found = {"machine": machine, "promised": PROMISED, "seconds": measured}
        options.json.write_text(json.dumps(found, indent=2) + "\n")


def seconds(command: Sequence[str]) -> float:
    """How long a command of scripts/ takes: one that helps to its end, any other to its first output."""
    script, *arguments = command
    unbuffered = os.environ | {"PYTHONUNBUFFERED": "1"}  # as on a terminal
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        with subprocess.Popen(
            [sys.executable, str(ROOT / "scripts" / script), *arguments],
            cwd=folder, env=unbuffered, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        ) as process:  # fmt: skip
            assert process.stdout is not None
            process.stdout.read(-1 if "--help" in arguments else 1)
            if "--help" in arguments:
                process.wait()
            elapsed = time.perf_counter() - started
            process.kill()
    return elapsed


if __name__ == "__main__":
    sys.exit(main())
