"""Measures how fast the engine is, here and now, and how it compares with mctx.

    benchmarks/speed.py [tree] [inference] [self-play] [engines] [minimax] [move] [peers] [options]

All of them by default. Everything is connect-four. Contenders take turns within one process (A B A B ...), and medians
of the rounds are shown: on a busy machine absolute figures suffer, ratios much less.
`peers` needs the packages of the extra of that name.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from alphazero.shell import cli

# isort: split
import torch

from alphazero.arena.minimax import minimax
from alphazero.config import LearnerConfig, NetworkConfig, SearchConfig, SelfPlayConfig
from alphazero.game import State, batch_size
from alphazero.learner import Learner
from alphazero.mcts.evaluator import Evaluation, Evaluator, UniformEvaluator
from alphazero.mcts.search import search
from alphazero.network.architectures import InferenceModule, inference_module, make_network
from alphazero.network.cache import with_cache
from alphazero.network.engines import best_engine, best_precision, multiplies_bfloat16
from alphazero.network.inference import NetworkEvaluators
from alphazero.network.threads import on_all_cores
from alphazero.parallel.executor import available_cores
from alphazero.replay import Samples, no_actions
from alphazero.runs.agents import load_agent
from alphazero.selfplay import SelfPlay, SelfPlayStatistics, fresh_starts, stream_generator
from benchmarks.harness import (
    Report,
    Speed,
    Work,
    in_turns,
    run_sections,
    scaled,
    seconds,
    sections_parser,
    side_by_side,
    whole,
    without_peers,
)
from games.connect_four import ConnectFour

GAME = ConnectFour()
AGENT = Path(__file__).resolve().parents[1] / "games" / "data" / "connect_four" / "agent.onnx"
OPENING = 12  # moves of the game that the included agent plays against itself
PROMISED = (3.0, 2.6, 1.6)  # in int8 and bfloat16 against float32: inference, self-play, learning
ENGINES = ("auto", "int8", "onnx", "torch", "bfloat16")


def main() -> int:
    return cli.run(measure)


def measure() -> None:
    sections = {
        "tree": tree, "inference": inference, "self-play": self_play, "engines": engines, "minimax": baseline,
        "move": move, "peers": peers,
    }  # fmt: skip
    parser = sections_parser(__doc__, list(sections))
    parser.add_argument("--batch", type=whole, default=256, help="games at once (256)")
    parser.add_argument("--simulations", type=whole, default=32, help="simulations a move (32)")
    parser.add_argument("--moves", type=whole, default=20, help="moves of a network, until the cache is emptied (20)")
    parser.add_argument("--move-simulations", type=whole, default=600, help="move: simulations of each move (600)")
    parser.add_argument("--blocks", type=whole, default=4, help="residual blocks of the network (4)")
    parser.add_argument("--width", type=whole, default=32, help="channels of the network (32)")
    parser.add_argument("--engine", choices=ENGINES, default="auto", help="in self-play")
    parser.add_argument("--seconds", type=seconds, default=1.0, help="length of a measurement in each round (1)")
    parser.add_argument("--rounds", type=whole, default=5, help="rounds, of which the median is shown (5)")
    run_sections(parser.parse_args(), sections)


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
    names = ["onnx", "int8", "torch"] + ["bfloat16"] * multiplies_bfloat16("cpu")
    evaluators = {name: evaluator_of(options, name) for name in names}
    contenders = {
        f"{name}, batch {batch}": inference_work(evaluators[name], positions(batch))
        for batch in sorted({1, 64, options.batch})
        for name in names
    }
    for what, speed in in_turns(contenders, options.rounds, options.seconds).items():
        report.speed("inference", what, speed, "evaluations/s")


def self_play(options: argparse.Namespace, report: Report) -> None:
    """Self-play with the network, next to the same engine alone."""
    engine, evaluator = engine_of(options), evaluator_of(options, engine_of(options))
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
    add(f"{engine} alone, batch {options.batch}", speeds["batch"], "evaluations/s")
    add(f"{engine} alone, batch {mean_batch}, self-play's mean", speeds["mean"], "evaluations/s")
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


def engines(options: argparse.Namespace, report: Report) -> None:
    """The engines that are chosen here against float32; the promise is for `--blocks 5 --width 64`."""
    engine, precision = best_engine(GAME, network_config(options)), best_precision(GAME, "cpu")
    promised = PROMISED if engine == "int8" and precision == "bfloat16" else (None, None, None)
    for what, unit, (ours, plain), work, least in (
        ("inference", "evaluations/s", (engine, "onnx"), engine_work, promised[0]),
        ("self-play", "simulations/s", (engine, "onnx"), engine_stream, promised[1]),
        ("learning", "samples/s", (precision, "float32"), learning_work, promised[2]),
    ):
        speeds = in_turns({name: work(options, name) for name in (ours, plain)}, options.rounds, options.seconds)
        for name, speed in speeds.items():
            report.speed("engines", f"{what}: {name}", speed, unit)
        report.ratio("engines", f"{what}: {ours} / {plain}", speeds[ours].rate / speeds[plain].rate, promised=least)


def baseline(options: argparse.Namespace, report: Report) -> None:
    """Minimax, the opponent of most benchmarks, on a batch of positions."""
    states = positions(options.batch)

    def work(depth: int) -> int:
        minimax(GAME, states, depth=depth, best_only=True)  # as `MinimaxPlayer` calls it
        return options.batch

    contenders = {f"depth {depth}, batch {options.batch}": partial(work, depth) for depth in (3, 5)}
    for what, speed in in_turns(contenders, options.rounds, options.seconds).items():
        report.speed("minimax", what, speed, "positions/s")


def move(options: argparse.Namespace, report: Report) -> None:
    """A move of the included agent at the board: at the start, and on average in the opening of a game.

    With the cache, which both sides and hints share, and on as many threads as `scripts/play.py` takes here.
    """
    agent, one = load_agent(AGENT), "one thread"
    evaluator = on_all_cores(agent.evaluator, available_cores())
    config = replace(agent.search, simulations=options.move_simulations)
    contenders = {
        f"start, {one}": opening_work(agent.evaluator, config, 1, cache=False),
        f"opening, {one}": opening_work(agent.evaluator, config, OPENING, cache=False),
        f"opening, {one}, cache": opening_work(agent.evaluator, config, OPENING, cache=True),
    }
    if evaluator is not agent.evaluator:
        contenders["start, all cores"] = opening_work(evaluator, config, 1, cache=False)
        contenders["opening, all cores, cache"] = opening_work(evaluator, config, OPENING, cache=True)
    speeds = in_turns(contenders, options.rounds, options.seconds)
    for what, speed in speeds.items():
        report.speed("move", what, scaled(speed, config.simulations), "simulations/s")
        report.notes.append(f"move: {what}: {1000 / speed.rate:.0f} ms a move")
    names = list(speeds)
    report.ratio("move", f"{names[-1]} / opening, {one}", speeds[names[-1]].rate / speeds[names[1]].rate)


def peers(options: argparse.Namespace, report: Report) -> None:
    """The same work on mctx and pgx, which may use every core."""
    try:
        from benchmarks.peers.mctx_pgx import mctx_work
    except ModuleNotFoundError as error:
        report.notes.append(f"peers: {without_peers(error)}")
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
        promised = {"ours": 1.0} if batch == 1 else {"ours, two processes": 5.0}
        compare(report, f"tree alone, batch {batch}", speeds, ["mctx"], promised)
    contenders: dict[str, Work] = {}
    for cache, name in ((False, "ours, no cache"), (True, "ours, cache")):
        contenders[name] = stream_work(options, cache=cache)
        contenders[f"{name}, two processes"] = side_by_side([partial(stream_work, options, cache=cache)] * 2)
    for dtype in ("float32", "bfloat16"):
        contenders[f"mctx {dtype}"] = mctx_work(options.batch, options.simulations, network(options), dtype)
    speeds = in_turns(contenders, options.rounds, options.seconds)
    for what, speed in speeds.items():
        report.speed("peers", f"self-play, batch {options.batch}: {what}", speed, "simulations/s")
    plain, cached = (6.0, 10.0) if engine_of(options) == "int8" else (4.0, 4.0)  # with AMX mctx is fast as well
    promised = {"ours, no cache, two processes": plain, "ours, cache, two processes": cached}
    compare(report, "self-play", speeds, ["mctx float32", "mctx bfloat16"], promised)


def compare(
    report: Report, title: str, speeds: dict[str, Speed], theirs: list[str], promised: Mapping[str, float]
) -> None:
    """Ours against the fastest of theirs, and the least that is promised of some of ours."""
    best = max(theirs, key=lambda name: speeds[name].rate)
    for name in (name for name in speeds if name not in theirs):
        ratio = speeds[name].rate / speeds[best].rate
        report.ratio("peers", f"{title}: {name} / {best}", ratio, promised=promised.get(name))


# The work that is measured


def network_config(options: argparse.Namespace) -> NetworkConfig:
    return NetworkConfig(blocks=options.blocks, width=options.width)


def engine_of(options: argparse.Namespace) -> str:
    """The engine that was asked for, or the one that `auto` chooses."""
    return best_engine(GAME, network_config(options)) if options.engine == "auto" else str(options.engine)


def evaluator_of(options: argparse.Namespace, engine: str) -> Evaluator:
    return NetworkEvaluators(GAME, engine=engine)(network(options), positions(256))


def network(options: argparse.Namespace) -> InferenceModule:
    torch.manual_seed(0)
    return inference_module(make_network(GAME, network_config(options)))


def positions(batch: int) -> State:
    """Positions as self-play meets them: some empty boards, some after random moves."""
    return fresh_starts(GAME, batch, SelfPlayConfig(), stream_generator(0))


def tree_work(options: argparse.Namespace, batch: int, *, algorithm: str = "gumbel") -> Work:
    """Searches from empty boards, as the peers do."""
    config = SearchConfig(simulations=options.simulations, algorithm=algorithm)  # type: ignore[arg-type]
    evaluator, generator, roots = the_same_answer(batch), stream_generator(0), GAME.initial(batch)

    def work() -> int:
        search(evaluator, GAME, roots, config, generator)
        return batch * config.simulations

    return work


def the_same_answer(batch: int) -> Evaluator:
    """Answers as `UniformEvaluator`, with the same tensors each time: mctx compiles such an answer to a constant."""
    answer = UniformEvaluator(GAME)(GAME.initial(batch), stream_generator(0))

    def evaluate(states: State, generator: torch.Generator) -> Evaluation:
        count = batch_size(states)
        return answer if count == batch else Evaluation(answer.logits[:count], answer.value[:count])

    return evaluate


def inference_work(evaluator: Evaluator, states: State) -> Work:
    generator = stream_generator(0)

    def work() -> int:
        evaluator(states, generator)
        return batch_size(states)

    return work


def opening_work(evaluator: Evaluator, config: SearchConfig, moves: int, *, cache: bool) -> Work:
    """So many first moves of a game, searched one at a time. A cache starts empty with each game."""

    def work() -> int:
        asked, state = with_cache(GAME, evaluator) if cache else evaluator, GAME.initial(1)
        for _ in range(moves):
            found = search(asked, GAME, state, config, stream_generator(0))
            state = GAME.step(state, found.action).state
        return moves

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


def stream_work(options: argparse.Namespace, *, cache: bool) -> Work:
    return Stream(options, evaluator_of(options, engine_of(options)), cache=cache).play


def engine_work(options: argparse.Namespace, engine: str) -> Work:
    return inference_work(evaluator_of(options, engine), positions(options.batch))


def engine_stream(options: argparse.Namespace, engine: str) -> Work:
    return Stream(options, evaluator_of(options, engine), cache=True).play


def learning_work(options: argparse.Namespace, precision: str) -> Work:
    """A step of learning, on the samples of random positions."""
    config = LearnerConfig(precision=precision, batch_size=options.batch)  # type: ignore[arg-type]
    learner, generator = Learner(GAME, config, network_config(options), seed=0), stream_generator(0)
    states, rows = positions(4 * options.batch), 4 * options.batch
    legal = GAME.legal(states).float()
    zero = torch.zeros(rows)
    whole_numbers = torch.ones(rows, dtype=torch.int32)
    samples = Samples(
        state=states, end=states, policy=legal / legal.sum(1, keepdim=True), value=zero, outcome=zero, drawn=zero + 1,
        root_value=zero, plies_left=whole_numbers, iteration=whole_numbers, weight=zero + 1, sampled=no_actions(rows),
        played_out=zero + 1,
    )  # fmt: skip

    def work() -> int:
        learner.learn(samples, [1e-3], generator)
        return options.batch

    return work


if __name__ == "__main__":
    sys.exit(main())
