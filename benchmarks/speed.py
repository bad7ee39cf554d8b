"""Measures how fast the engine is, here and now, and how it compares with mctx.

    benchmarks/speed.py [tree] [inference] [self-play] [minimax] [peers] [options]      all by default

Everything is connect-four. What is compared runs in turns within one process (A B A B ...), and
medians of the rounds are shown: on a busy machine absolute figures suffer, ratios much less.
`peers` needs the packages of the extra of that name.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

# Before torch is loaded: streams run side by side, each on one thread. (It does not bind jax.)
os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import psutil
import torch
from rich import box
from rich.console import Console
from rich.table import Table

from alphazero.arena.minimax import minimax
from alphazero.config import NetworkConfig, SearchConfig, SelfPlayConfig
from alphazero.game import State, batch_size
from alphazero.mcts.evaluator import Evaluator, UniformEvaluator
from alphazero.mcts.search import search
from alphazero.network.architectures import InferenceModule, inference_module, make_network, multiplies_bfloat16
from alphazero.network.inference import NetworkEvaluators
from alphazero.selfplay import SelfPlay, SelfPlayStatistics, fresh_starts, stream_generator
from games.connect_four import ConnectFour

SECTIONS = ("tree", "inference", "self-play", "minimax", "peers")
GAME = ConnectFour()

Work = Callable[[], int]  # does a piece of work and says how many units it was


class Speed(NamedTuple):
    """rate: units a second. cores: CPU seconds a second; both medians over the rounds."""

    rate: float
    cores: float


@dataclass
class Report:
    """What was measured.

    speeds: section, what, how fast, in which unit. ratios: section, of what, how much, and what is promised.
    """

    machine: dict[str, Any]
    speeds: list[dict[str, Any]] = field(default_factory=list)
    ratios: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def speed(self, section: str, what: str, speed: Speed, unit: str) -> None:
        self.speeds.append({"section": section, "what": what, "unit": unit, **speed._asdict()})

    def ratio(self, section: str, what: str, ratio: float, *, promised: float | None = None) -> None:
        self.ratios.append({"section": section, "what": what, "ratio": ratio, "promised": promised})


def main() -> int:
    options = parsed(sys.argv[1:])
    console = Console(width=None if sys.stdout.isatty() else 120, markup=False)  # piped, no line is broken
    report = Report(machine())
    console.print(f"{report.machine['processor']}, {report.machine['load']:.1f} processes busy before we start")
    measure = {"tree": tree, "inference": inference, "self-play": self_play, "minimax": baseline, "peers": peers}
    for section in SECTIONS:
        if section in options.sections:
            measure[section](options, report)
            show(console, report, section)
    if options.json:
        options.json.write_text(json.dumps(asdict(report), indent=2) + "\n")
    return 0


def parsed(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line; exits with a message if it is wrong."""
    parser = argparse.ArgumentParser(prog="benchmarks/speed.py", description=__doc__.splitlines()[0])
    parser.add_argument("sections", nargs="*", metavar="section", help=f"any of {', '.join(SECTIONS)}; default: all")
    parser.add_argument("--batch", type=whole, default=256, help="games at once (256)")
    parser.add_argument("--simulations", type=whole, default=32, help="simulations a move (32)")
    parser.add_argument(
        "--moves", type=whole, default=20, help="moves between new networks, which empty the cache (20)"
    )
    parser.add_argument("--blocks", type=whole, default=4, help="residual blocks of the network (4)")
    parser.add_argument("--width", type=whole, default=32, help="its channels (32)")
    parser.add_argument("--engine", choices=("auto", "onnx", "torch", "bfloat16"), default="auto", help="in self-play")
    parser.add_argument("--seconds", type=seconds, default=1.0, help="of a measurement, in each round (1)")
    parser.add_argument("--rounds", type=whole, default=5, help="of which the median is shown (5)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything measured there")
    options = parser.parse_args(arguments)
    for section in options.sections:
        if section not in SECTIONS:
            parser.error(f"there is no section {section!r}; choose from {', '.join(SECTIONS)}")
    if options.json and not options.json.resolve().parent.is_dir():
        parser.error(f"--json: there is no folder {options.json.resolve().parent}")
    options.sections = options.sections or list(SECTIONS)
    return options


def whole(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 1")
    return int(text)


def seconds(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number < 3600:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds")
    return number


# The sections


def tree(options: argparse.Namespace, report: Report) -> None:
    """The tree alone: select, step and back up, with an evaluator that costs next to nothing."""
    contenders = {
        f"{algorithm}, batch {batch}": tree_work(options, batch, algorithm=algorithm)
        for algorithm in ("gumbel", "puct")
        for batch in (options.batch, 1)
    }
    for what, speed in in_turns(contenders, options.rounds, options.seconds).items():
        report.speed("tree", what, speed, "simulations/s")


def inference(options: argparse.Namespace, report: Report) -> None:
    """The network alone, by engine and batch."""
    engines = ["onnx", "torch"] + ["bfloat16"] * multiplies_bfloat16("cpu")
    module = network(options)
    evaluators = {engine: NetworkEvaluators(GAME, engine=engine)(module) for engine in engines}
    contenders = {
        f"{engine}, batch {batch}": inference_work(evaluators[engine], positions(batch))
        for batch in sorted({1, 64, options.batch})
        for engine in engines
    }
    for what, speed in in_turns(contenders, options.rounds, options.seconds).items():
        report.speed("inference", what, speed, "evaluations/s")


def self_play(options: argparse.Namespace, report: Report) -> None:
    """Self-play with the network, next to what the same engine does alone."""
    evaluators = NetworkEvaluators(GAME, engine=options.engine)
    evaluator = evaluators(network(options))
    plain, cached = (Stream(options, evaluator, cache=cache) for cache in (False, True))
    plain.play()
    mean_batch = max(1, round(plain.mean_batch()))  # finished leaves need no evaluation
    speeds = in_turns(
        {
            "plain": plain.play,
            "cached": cached.play,
            "batch": inference_work(evaluator, positions(options.batch)),
            "mean": inference_work(evaluator, positions(mean_batch)),
        },
        options.rounds,
        options.seconds,
    )
    share, shrunk = plain.statistics, cached.statistics
    evaluations = scaled(speeds["plain"], share.evaluations / share.simulations)
    cached_evaluations = scaled(speeds["cached"], shrunk.evaluations / shrunk.simulations)
    add = partial(report.speed, "self-play")
    add(f"{evaluators.engine} alone, batch {options.batch}", speeds["batch"], "evaluations/s")
    add(f"{evaluators.engine} alone, batch {mean_batch}, self-play's mean", speeds["mean"], "evaluations/s")
    add("without cache", speeds["plain"], "simulations/s")
    add("without cache", evaluations, "evaluations/s")
    add("with cache", speeds["cached"], "simulations/s")
    add("with cache", cached_evaluations, "evaluations/s")
    of = partial(report.ratio, "self-play")
    of("CPU time without cache that is inference", share.inference_seconds / share.seconds)
    of("CPU time with cache that is inference", shrunk.inference_seconds / shrunk.seconds)
    of("found in the cache, of what was asked", shrunk.cache_found / max(1, shrunk.cache_asked))
    of(
        f"evaluations/s without cache / alone at batch {mean_batch}",
        evaluations.rate / speeds["mean"].rate,
        promised=0.9,
    )
    of(f"evaluations/s without cache / alone at batch {options.batch}", evaluations.rate / speeds["batch"].rate)
    of(
        f"simulations/s with cache / evaluations/s alone at batch {options.batch}",
        speeds["cached"].rate / speeds["batch"].rate,
        promised=1.0,
    )


def baseline(options: argparse.Namespace, report: Report) -> None:
    """Minimax, the opponent of most benchmarks, on a batch of positions."""
    states = positions(options.batch)

    def work(depth: int) -> int:
        minimax(GAME, states, depth=depth)
        return options.batch

    contenders: dict[str, Work] = {f"depth {depth}, batch {options.batch}": partial(work, depth) for depth in (3, 5)}
    for what, speed in in_turns(contenders, options.rounds, options.seconds).items():
        report.speed("minimax", what, speed, "positions/s")


def peers(options: argparse.Namespace, report: Report) -> None:
    """The same work on mctx and pgx, which may use every core."""
    try:
        from benchmarks.peers.mctx_pgx import mctx_work
    except ImportError as error:
        report.notes.append(
            f"peers: left out, since {error.name} is missing; get it in a virtual environment of its own with "
            "`pip install -c constraints.txt -e '.[peers]'`"
        )
        return
    for batch in (options.batch, 1):
        speeds = in_turns(
            {
                "ours": tree_work(options, batch),
                "ours, two processes": side_by_side([partial(tree_work, options, batch)] * 2),
                "mctx": mctx_work(batch, options.simulations),
            },
            options.rounds,
            options.seconds,
        )
        for what, speed in speeds.items():
            report.speed("peers", f"tree alone, batch {batch}: {what}", speed, "simulations/s")
        compare(report, f"tree alone, batch {batch}", speeds, ["mctx"], 5.0 if batch == options.batch else None)
    contenders: dict[str, Work] = {}
    for cache, name in ((False, "ours, no cache"), (True, "ours, cache")):
        contenders[name] = stream_work(options, cache=cache)
        contenders[f"{name}, two processes"] = side_by_side([partial(stream_work, options, cache=cache)] * 2)
    for dtype in ("float32", "bfloat16"):
        contenders[f"mctx {dtype}"] = mctx_work(options.batch, options.simulations, network(options), dtype)
    speeds = in_turns(contenders, options.rounds, options.seconds)
    for what, speed in speeds.items():
        report.speed("peers", f"self-play, batch {options.batch}: {what}", speed, "simulations/s")
    compare(report, "self-play", speeds, ["mctx float32", "mctx bfloat16"], 4.0)


def compare(report: Report, title: str, speeds: dict[str, Speed], theirs: list[str], promised: float | None) -> None:
    """Ours against the fastest of theirs. The promise is for the fastest of ours, which uses the same cores."""
    best = max(theirs, key=lambda name: speeds[name].rate)
    ours = [name for name in speeds if name not in theirs]
    for name in ours:
        ratio = speeds[name].rate / speeds[best].rate
        report.ratio("peers", f"{title}: {name} / {best}", ratio, promised=promised if name == ours[-1] else None)


# What is measured


def network(options: argparse.Namespace) -> InferenceModule:
    torch.manual_seed(0)
    return inference_module(make_network(GAME, NetworkConfig(blocks=options.blocks, width=options.width)))


def positions(batch: int) -> State:
    """Positions as self-play meets them: some empty boards, some after random moves."""
    return fresh_starts(GAME, batch, SelfPlayConfig(), stream_generator(0))


def tree_work(options: argparse.Namespace, batch: int, *, algorithm: str = "gumbel") -> Work:
    """Searches from empty boards, as the peers do."""
    config = SearchConfig(simulations=options.simulations, algorithm=algorithm)  # type: ignore[arg-type]
    evaluator, generator, roots = UniformEvaluator(GAME), stream_generator(0), GAME.initial(batch)

    def work() -> int:
        search(evaluator, GAME, roots, config, generator)
        return batch * config.simulations

    return work


def inference_work(evaluator: Evaluator, states: State) -> Work:
    generator = stream_generator(0)

    def work() -> int:
        evaluator(states, generator)
        return batch_size(states)

    return work


class Stream:
    """A stream of self-play. With a cache it starts empty every `options.moves` moves, as in training."""

    def __init__(self, options: argparse.Namespace, evaluator: Evaluator, *, cache: bool, number: int = 0) -> None:
        config = SelfPlayConfig(parallel_games=options.batch, moves=options.moves if cache else 1)
        if not cache:
            config = replace(config, cache=0)
        self.evaluator, self.iteration, self.statistics = evaluator, 0, SelfPlayStatistics()
        self.self_play = SelfPlay(GAME, SearchConfig(simulations=options.simulations), config, seed=0, stream=number)
        self.searches = 0

    def play(self) -> int:
        statistics = self.self_play.play(self.evaluator, self.iteration).statistics
        self.iteration += 1
        self.searches += self.self_play.config.moves
        self.statistics += statistics
        return statistics.simulations

    def mean_batch(self) -> float:
        calls = self.searches * (1 + self.self_play.search_config.simulations)
        return self.statistics.evaluations / calls


def side_by_side(makers: Sequence[Callable[[], Callable[..., int]]]) -> Callable[..., int]:
    """Works that a process each makes and does, all at once, as many workers on one machine would do them.

    What is returned passes its arguments on to each work.
    """
    context = multiprocessing.get_context("spawn")
    ends = []
    for make_work in makers:
        here, there = context.Pipe()
        context.Process(target=serve, args=(there, make_work), daemon=True).start()
        ends.append(here)

    def work(*arguments: Any) -> int:
        for end in ends:
            end.send(arguments)
        return sum(end.recv() for end in ends)

    return work


def serve(connection: Connection, make_work: Callable[[], Callable[..., int]]) -> None:
    """A process that does its work whenever it is asked to, until nobody can ask any more."""
    torch.set_num_threads(1)
    work = make_work()
    with contextlib.suppress(EOFError):
        while True:
            connection.send(work(*connection.recv()))


def stream_work(options: argparse.Namespace, *, cache: bool) -> Work:
    return Stream(options, NetworkEvaluators(GAME, engine=options.engine)(network(options)), cache=cache).play


def cpu_seconds() -> float:
    """Of this process and of all that work for it."""
    total = time.process_time()
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            total += sum(child.cpu_times()[:2])  # user and system
    return total


def in_turns(contenders: dict[str, Work], rounds: int, seconds: float) -> dict[str, Speed]:
    """Each contender's speed: all take turns, `rounds` times, `seconds` long, and the median round counts."""
    speeds: dict[str, list[Speed]] = {name: [] for name in contenders}
    for work in contenders.values():
        work()  # compiles
    for _ in range(rounds):
        for name, work in contenders.items():
            units, started, used = 0, time.perf_counter(), cpu_seconds()
            while units == 0 or time.perf_counter() - started < seconds:
                units += work()
            elapsed = time.perf_counter() - started
            speeds[name].append(Speed(units / elapsed, (cpu_seconds() - used) / elapsed))
    return {name: Speed(*map(statistics.median, zip(*found, strict=True))) for name, found in speeds.items()}


def scaled(speed: Speed, factor: float) -> Speed:
    return speed._replace(rate=speed.rate * factor)


# What is shown


def machine() -> dict[str, Any]:
    """The processor, its cores, and how busy it is."""
    name = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), name)
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    return {"processor": f"{name}, {os.cpu_count()} cores", "load": load, "torch": torch.__version__}


def show(console: Console, report: Report, section: str) -> None:
    speeds = [speed for speed in report.speeds if speed["section"] == section]
    ratios = [ratio for ratio in report.ratios if ratio["section"] == section]
    if speeds:
        table = empty_table(console, section, ("", "a second", "", "cores used"))
        for speed in speeds:
            table.add_row(speed["what"], f"{speed['rate']:,.0f}", speed["unit"], f"{speed['cores']:.1f}")
        console.print(table)
    if ratios:
        table = empty_table(console, f"{section}: ratios", ("", "ratio", "promised", ""))
        for ratio in ratios:
            promised = ratio["promised"]
            kept = "" if promised is None else "kept" if ratio["ratio"] >= promised else "not kept"
            table.add_row(
                ratio["what"], f"{ratio['ratio']:.2f}", "" if promised is None else f"at least {promised:g}", kept
            )
        console.print(table)
    for note in report.notes:
        if note.startswith(section):
            console.print(note, soft_wrap=True)


def empty_table(console: Console, title: str, columns: Sequence[str]) -> Table:
    """With lines on a terminal, without when piped."""
    table = Table(title=title, title_justify="left", box=box.ROUNDED if console.is_terminal else None)
    for number, column in enumerate(columns):
        table.add_column(column, justify="right" if number in {1, 3} else "left", no_wrap=not console.is_terminal)
    return table


if __name__ == "__main__":
    sys.exit(main())
