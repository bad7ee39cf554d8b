"""Measures an agent: matches against other players, mistakes on solved positions, a round robin, its run's curve.

    scripts/benchmark.py AGENT [--against minimax:5,mcts:1000,random] [--games 200] [--opening-moves 2]
                         [--simulations 600] [--positions FILE.csv] [--seed S] [--json OUT.json]
                         [--tournament PATH,minimax:5] [--curve 4] [--curve-simulations 64]
                         [--workers N|auto] [--ray-address HOST:PORT]

AGENT is a run's folder, a checkpoint's folder, an agent.onnx, or the name of one that ships, connect_four. Opponents
may be such agents, too.

The results of a run are written to its folder as well: benchmark.json, benchmark.png, and figures for TensorBoard.
Ctrl-C ends the benchmark and keeps the finished results. The same seed gives the same figures, apart from times.
"""

from __future__ import annotations

import sys
from pathlib import Path

if not __package__:  # called by its path
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from alphazero.shell import cli

# isort: split
import argparse
import os
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial

from rich.console import Console

from alphazero.arena.match import OPENING_MOVES
from alphazero.arena.plan import plan
from alphazero.arena.players import parse_budget
from alphazero.arena.registry import PLAYERS
from alphazero.game import Game
from alphazero.game.messages import printable
from alphazero.parallel.executor import Executor, ExecutorError, ThreadExecutor, available_cores
from alphazero.report.benchmark import Steps, tables, write_beside_run
from alphazero.runs.files import write_json
from alphazero.runs.shipped import AGENT_HELP, agent_file


def main() -> int:
    return cli.run(measure, wrong=(ValueError,), errors=(ExecutorError,))


def parse_arguments() -> argparse.Namespace:
    parser = cli.Parser(description=__doc__)
    parser.add_argument("agent", type=agent_file, help=AGENT_HELP)
    parser.add_argument(
        "--against",
        metavar="NAMES",
        type=names,
        help=f"opponents, separated by commas: {PLAYERS}. Default: random,minimax:1,minimax:3,minimax:5,mcts:1000, "
        "in large games without the deeper of minimax; none beside --tournament",
    )
    parser.add_argument(
        "--games", type=cli.whole(0, 1_000_000), default=200, help="games of each match, an even number; default: 200"
    )
    parser.add_argument(
        "--opening-moves",
        metavar="N",
        type=cli.whole(0, 1_000),
        default=OPENING_MOVES,
        help=f"random moves, at most, before the players' own; 0: from the start; default: {OPENING_MOVES}",
    )
    parser.add_argument(
        "--simulations",
        metavar="BUDGET",
        type=cli.option(parse_budget),
        default="600",
        help="search budget of the agent and of opponents that are paths: simulations a move, or seconds, such as 2s; "
        "default: 600",
    )
    parser.add_argument(
        "--positions",
        metavar="FILE",
        type=Path,
        action="append",
        default=[],
        help="a file of solved positions (may be repeated)",
    )
    parser.add_argument("--seed", type=cli.seed, default=1, help="default: 1")
    parser.add_argument("--json", metavar="FILE", type=Path, help="file to write the figures to")
    parser.add_argument(
        "--tournament",
        metavar="NAMES",
        type=names,
        default=(),
        help="players who meet AGENT and one another in a round robin, which rates them",
    )
    parser.add_argument(
        "--curve",
        metavar="N",
        type=cli.whole(0, 10_000),
        default=4,
        help="how many earlier checkpoints of a run play a quarter of the games; 0: none; default: 4",
    )
    parser.add_argument(
        "--curve-simulations",
        metavar="BUDGET",
        type=cli.option(parse_budget),
        help="search budget of agents on the curve; default: as --simulations, but at most 64",
    )
    parser.add_argument(
        "--workers",
        metavar="N",
        type=worker_count,
        default=0,
        help="processes that play and measure, on one machine or many, through Ray; 0: threads of this process, without"
        " Ray; auto: as many as the machines' cores allow. The figures do not depend on it. Default: 0",
    )
    parser.add_argument(
        "--ray-address",
        metavar="ADDRESS",
        default="",
        help="the Ray cluster to join: auto (the one on this machine), or HOST:PORT, with as many workers as it allows "
        "unless --workers is given; default: one of our own, on this machine, if there are --workers",
    )
    cli.add_code(parser)
    arguments = parser.parse_args()
    if arguments.json and not arguments.json.absolute().parent.is_dir():
        parser.error(f"{arguments.json} cannot be written: its folder does not exist")
    return arguments


def names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


@cli.option
def worker_count(text: str) -> int | str:
    if text == "auto" or re.fullmatch(r"\d{1,4}", text):
        return text if text == "auto" else int(text)
    raise ValueError(f"{printable(text)} is neither a number from 0 to 9999 nor auto")


def measure() -> int:
    arguments, console = parse_arguments(), cli.console()
    with ExitStack() as stack:  # left last: a cluster's end takes seconds, for which the figures should not wait
        with Steps(console) as watcher:
            benchmark = plan(
                arguments.agent,
                watcher,
                against=arguments.against,
                tournament=arguments.tournament,
                games=arguments.games,
                opening_moves=arguments.opening_moves,
                budget=arguments.simulations,
                seed=arguments.seed,
                files=arguments.positions,
                curve=arguments.curve,
                curve_budget=arguments.curve_simulations,
                named=arguments.game,
                named_network=arguments.network_kind,
            )
            try:
                executor = stack.enter_context(executor_of(arguments, benchmark.game, console))
                benchmark.run_all(watcher, executor)
                code = 0
            except KeyboardInterrupt:
                code = 130
        for table in tables(benchmark):
            console.print(table)
        for note in benchmark.notes:
            console.print(note)
        if code:
            console.print("Stopped: the figures above are those of finished matches.")
        if arguments.json:
            write_json(arguments.json, benchmark.record())
        write_beside_run(benchmark)
    return code


@contextmanager
def executor_of(arguments: argparse.Namespace, game: Game, console: Console) -> Iterator[Executor]:
    """Threads of this process, or Ray's workers, a core each. Ray is loaded only if it is used."""
    if not (arguments.workers or arguments.ray_address):
        yield ThreadExecutor(None, available_cores())  # never left: that would wait for the searches under way
        return
    from alphazero.parallel.ray_cluster import Needs, cluster, room
    from alphazero.parallel.ray_executor import RayExecutor

    core = Needs(1, 0)
    modules = (game.defined_by.__module__,)
    with cluster(arguments.ray_address, cores=available_cores(), modules=modules):
        size = max(1, room(core)) if arguments.workers in (0, "auto") else arguments.workers
        with RayExecutor(lambda threads: None, size, core, say=partial(console.print, soft_wrap=True)) as executor:
            yield executor


if __name__ == "__main__":
    code = main()
    if code == 130:  # threads may be deep in a search that nobody waits for any more
        sys.stdout.flush()
        os._exit(code)
    sys.exit(code)
