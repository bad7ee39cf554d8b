"""Measures games that are played one position at a time: those in plain Python, and OpenSpiel's.

    benchmarks/python_games.py [plain] [open_spiel] [--games hex "hex(board_size=7)" ...] [options]

plain: connect-four in plain Python beside the batched one: their rules, and self-play with the network that
connect-four has by default. open_spiel: every game that can be played is held to `check_game`, timed, and trained for
three iterations with a small network.
"""

from __future__ import annotations

import argparse
import io
import sys
import tempfile
import time
from itertools import count
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from alphazero.shell import cli

# isort: split
import torch
from rich.console import Console

from alphazero.config import Config, EvaluationConfig, NetworkConfig, SearchConfig, SelfPlayConfig
from alphazero.game import Game, State, as_game, check_game, load_game, random_actions
from alphazero.game.pace import rules_seconds
from alphazero.network.architectures import inference_module, make_network
from alphazero.network.engines import best_engine
from alphazero.network.inference import NetworkEvaluators
from alphazero.selfplay import SelfPlay
from alphazero.trainer.session import open_session
from benchmarks.harness import Report, Work, in_turns, run_sections, seconds, sections_parser, whole
from examples.plain_connect_four import ConnectFour as PlainConnectFour
from games.connect_four import ConnectFour
from games.open_spiel import playable

PROMISED = 0.25  # of the batched game's rate in self-play
PROMISED_STEPS = 25_000  # a second on one core, each with its legal moves and its observation; of small boards
SMALL = ("tic_tac_toe", "connect_four", "hex(board_size=7)", "breakthrough(rows=6,columns=6)", "othello")
POSITIONS = 128
MOVES = 4  # of a call


def main() -> int:
    return cli.run(measure)


def measure() -> None:
    sections = {"plain": plain, "open_spiel": open_spiel}
    parser = sections_parser(__doc__, list(sections))
    parser.add_argument("--games", nargs="+", metavar="GAME", help="open_spiel: these instead of all")
    parser.add_argument("--random-games", type=whole, default=8, help="open_spiel: random games of a check (8)")
    parser.add_argument("--iterations", type=whole, default=3, help="open_spiel: iterations of a training (3)")
    parser.add_argument("--seconds", type=seconds, default=4.0, help="plain: length of a measurement in a round (4)")
    parser.add_argument("--rounds", type=whole, default=5, help="plain: rounds, of which the median is shown (5)")
    run_sections(parser.parse_args(), sections)


def plain(options: argparse.Namespace, report: Report) -> None:
    """The same game in plain Python and in tensors."""
    games = {"plain Python": as_game(PlainConnectFour()), "batched": ConnectFour()}
    for name, game in games.items():
        for part, taken in rules_seconds(game, midgame(game)).items():
            report.notes.append(f"plain: {name}: {part} takes {1e6 * taken:.2f} µs a position")
    speeds = in_turns({name: self_play_work(game) for name, game in games.items()}, options.rounds, options.seconds)
    for name, speed in speeds.items():
        report.speed("plain", f"self-play, {name}", speed, "moves/s")
    ratio = speeds["plain Python"].rate / speeds["batched"].rate
    report.ratio("plain", "self-play: plain Python / batched", ratio, promised=PROMISED)


def midgame(game: Game) -> State:
    """Positions after six random moves."""
    generator = torch.Generator().manual_seed(0)
    states = game.initial(POSITIONS, generator=generator)
    for _ in range(6):
        states = game.step(states, random_actions(game, states, generator)).state
    return states


def self_play_work(game: Game) -> Work:
    """A stream of self-play with connect-four's default network and search, which plays on from call to call."""
    torch.manual_seed(0)
    network = inference_module(make_network(game, NetworkConfig()))
    evaluator = NetworkEvaluators(game, engine=best_engine(game, NetworkConfig()))(network, midgame(game))
    stream = SelfPlay(game, SearchConfig(), SelfPlayConfig(moves=MOVES), seed=1, stream=0)
    segments = count()

    def work() -> int:
        return stream.play(evaluator, next(segments)).statistics.moves

    return work


def open_spiel(options: argparse.Namespace, report: Report) -> None:
    """Each game is checked, timed and trained; what fails is named, and the next one follows."""
    console, names, failed = cli.console(), options.games or playable(), []
    for name in names:
        try:
            console.print(f"{name:<32} {judged(name, options)}", soft_wrap=True)
        except (AssertionError, ValueError) as error:
            failed.append(name)
            console.print(f"{name:<32} fails: {error}", soft_wrap=True)
    report.notes.append(f"open_spiel: {len(names) - len(failed)} of {len(names)} games pass and train")


def judged(name: str, options: argparse.Namespace) -> str:
    """What a check and a training of one of OpenSpiel's games say. What breaks a promise raises."""
    path = f"games.open_spiel:OpenSpiel({name!r})"
    game = load_game(path)
    check_game(game, games=options.random_games)
    taken = rules_seconds(game, midgame(game))
    rate = 1 / (taken["step"] + taken["legal"] + taken["observe"])
    promised = f", at least {PROMISED_STEPS:,} are promised" if name in SMALL else ""
    head = "wdl" if game.num_players == 2 else "scalar"
    config = Config(
        game=path,
        iterations=options.iterations,
        search=SearchConfig(simulations=4),
        network=NetworkConfig(kind="dense", blocks=1, width=32, value_head=head),
        self_play=SelfPlayConfig(streams=1, parallel_games=16, moves=32, max_moves=64, opening_moves=4),
        evaluation=EvaluationConfig(opponents=(), every=0, games=2, simulations=2),
    )
    began = time.perf_counter()
    with (
        tempfile.TemporaryDirectory() as folder,
        open_session(game, config, Path(folder) / "run", console=Console(file=io.StringIO())) as session,
    ):
        session.train()
        learned = session.run.progress.iteration
    if learned != options.iterations:
        raise AssertionError(f"only {learned} of {options.iterations} iterations were made")
    seconds = time.perf_counter() - began
    return f"passes; {rate:,.0f} steps a second with moves and observations{promised}; trains ({seconds:.0f} s)"


if __name__ == "__main__":
    sys.exit(main())
