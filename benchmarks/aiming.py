"""Measures which method aims the trebuchet best, on targets within reach that none has learned from.

    benchmarks/aiming.py shot  --agent runs/NAME     one shot at each of 1,000 targets
    benchmarks/aiming.py siege --agent runs/NAME     four shots each, between which it can be turned only so far

Train the agents first: scripts/train.py configs/trebuchet.toml --run runs/trebuchet, and configs/trebuchet_siege.toml.
With --rivals, SAC and PPO of Stable-Baselines3 learn from as many shots as the agent did; they need the extra `peers`.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from alphazero.shell import cli

# isort: split
import torch
from rich.console import Console
from torch import Tensor

from alphazero.arena.match import SoloResult, play_alone
from alphazero.arena.players import AgentPlayer, NetworkPlayer, Player, RandomPlayer
from alphazero.config import Config, ConfigError, SearchConfig
from alphazero.game import Game, State, batch_size, take
from alphazero.mcts.evaluator import Evaluation, UniformEvaluator
from alphazero.mcts.planning import RefinedActions
from alphazero.report.terminal import metres
from alphazero.runs.agents import Agent, load_agent
from alphazero.runs.checkpoint import read_config, run_folder
from alphazero.runs.files import RunError
from alphazero.runs.metrics import read_history
from benchmarks.harness import empty_table, introduce, whole, without_peers
from benchmarks.targets import HELD_OUT, Policy, held_out_targets, median_and_most, misses_of
from games.trebuchet.aim import descend, home_in
from games.trebuchet.aiming_network import AimingNetwork, train
from games.trebuchet.game import Aiming, Siege, TrebuchetState

if TYPE_CHECKING:
    from benchmarks.peers.stable_baselines import Point

TIMED = 100  # targets, one after the other, for the time an aim


class Method(NamedTuple):
    """A way to aim at targets of `Aiming`.

    aim: angles in degrees and counterweights in kg [B], and the shots that it fired in the simulator for each.
    shots, seconds: of its training.
    """

    name: str
    aim: Callable[[TrebuchetState], tuple[Tensor, Tensor, float]]
    shots: float = 0
    seconds: float = 0


def main() -> int:
    return cli.run(measure, wrong=(ValueError,))


def measure() -> None:
    parser = cli.Parser(description=__doc__)
    sections = parser.add_subparsers(dest="section", required=True, metavar="shot|siege")
    for name, games, text, simulations in (("shot", 1000, "targets", 16), ("siege", 200, "sieges", 64)):
        section = sections.add_parser(name)
        section.add_argument("--agent", type=Path, required=True, metavar="RUN", help="a run, or an agent.onnx")
        section.add_argument("--count", type=whole, default=games, help=f"{text} ({games})")
        simulated = f"of the agent's search ({simulations})"
        section.add_argument("--simulations", type=whole, default=simulations, help=simulated)
    sections.choices["shot"].add_argument("--rivals", action="store_true", help="train SAC and PPO, too")
    options = parser.parse_args()
    console = cli.console()
    agent = load_agent(options.agent)
    game = {"shot": Aiming, "siege": Siege}[options.section]
    if not isinstance(agent.game, game) or agent.game.name != game.name:
        raise ValueError(f"{options.agent} plays {agent.game.name}, not {game.name}; see --help for how to train one")
    introduce(console)
    {"shot": measure_shot, "siege": measure_siege}[options.section](agent, options, console)


# --- One shot


def measure_shot(agent: Agent, options: argparse.Namespace, console: Console) -> None:
    game = agent.game
    assert isinstance(game, Aiming)
    states = held_out_targets(options.count)
    table = empty_table(
        console,
        f"{options.count:,} targets",
        ("", "median miss", "95 % within", "an aim", "shots an aim", "learned from", "in"),
    )
    for method in methods(agent, game, options, console):
        angle, counterweight, shots = method.aim(states)
        table.add_row(
            method.name,
            *map(metres, median_and_most(misses_of(game, angle, counterweight, states))),
            f"{1e3 * pace(method, states):.3g} ms",
            f"{shots:.3g}",
            f"{method.shots:,.0f} shots" if method.shots else "",
            f"{method.seconds:,.0f} s" if method.seconds else "",
        )
    console.print(table)


def methods(agent: Agent, game: Aiming, options: argparse.Namespace, console: Console) -> list[Method]:
    search = replace(agent.search, simulations=options.simulations)
    unrefined = replace(search, refine_steps=0)
    shots, seconds = effort(options.agent)
    others = rivals(game, round(shots), console) if options.rivals else []
    console.print("the aiming network learns ...")
    started = time.monotonic()
    torch.set_num_threads(2)
    fired: list[int] = []
    network = train(report=lambda progress: fired.append(progress.shots))
    torch.set_num_threads(1)
    network_seconds = time.monotonic() - started

    def searching(config: SearchConfig) -> Callable[[TrebuchetState], tuple[Tensor, Tensor, float]]:
        return partial(
            by_actions, game, AgentPlayer(game, agent.evaluator, config, seed=1).actions, shots_a_move(config)
        )

    found = [
        Method("random", partial(by_actions, game, RandomPlayer(game, seed=1).actions, 0)),
        Method("gradient descent, 10 steps", partial(one_by_one, descend)),
        Method("gradient descent, to 1 mm", partial(one_by_one, partial(descend, steps=1000, tolerance=1e-3))),
        Method("Gauss-Newton, to 1 µm", partial(one_by_one, home_in)),
        Method("aiming network", partial(by_network, network), fired[-1], network_seconds),
        Method(
            "agent alone", partial(by_actions, game, NetworkPlayer(game, agent.evaluator).actions, 0), shots, seconds
        ),
        Method(f"agent, {options.simulations} simulations", searching(unrefined), shots, seconds),
    ]
    if search.refine_steps:
        name = f"agent, {options.simulations} simulations, refined"
        found.append(Method(name, searching(search), shots, seconds))
    return found + others


def by_actions(game: Aiming, policy: Policy, shots: float, states: TrebuchetState) -> tuple[Tensor, Tensor, float]:
    return *game.setting(states, policy(states)), shots


def by_network(network: AimingNetwork, states: TrebuchetState) -> tuple[Tensor, Tensor, float]:
    aims = [network.aim(wind, target) for wind, target in goals(states)]
    return *torch.tensor(aims, dtype=torch.float64).unbind(1), 0


def one_by_one(find: Callable[..., object], states: TrebuchetState) -> tuple[Tensor, Tensor, float]:
    aims = [find(wind, target) for wind, target in goals(states)]
    settings = torch.tensor([(aim.angle, aim.counterweight) for aim in aims], dtype=torch.float64)
    return *settings.unbind(1), sum(aim.shots for aim in aims) / len(aims)


def goals(states: TrebuchetState) -> list[tuple[float, float]]:
    return list(zip(states.winds[:, 0].tolist(), states.target.tolist(), strict=True))


def pace(method: Method, states: TrebuchetState) -> float:
    """Seconds an aim, of one target at a time."""
    ones = [take(states, slice(row, row + 1)) for row in range(min(TIMED, batch_size(states)))]
    method.aim(ones[0])
    started = time.perf_counter()
    for one in ones:
        method.aim(one)
    return (time.perf_counter() - started) / len(ones)


def shots_a_move(config: SearchConfig) -> int:
    """Shots of the simulator, each with its gradient or without, that a search of one shot takes."""
    refined = config.sampled_actions * (config.refine_steps + 1) if config.refine_steps else 0
    return refined + config.simulations


def effort(path: Path) -> tuple[float, float]:
    """Shots and seconds of the agent's training; 0 if no run beside the agent tells them."""
    try:
        folder = run_folder(path)
        config: Config = read_config(folder)
    except (RunError, ConfigError):
        return 0, 0
    history, play = read_history(folder / "metrics.csv"), config.self_play
    moves = len(history) * play.streams * play.parallel_games * play.moves
    return moves * (shots_a_move(config.search) + 1), sum(row.get("time/iteration", 0) for row in history.values())


def rivals(game: Aiming, shots: int, console: Console) -> list[Method]:
    if not shots:
        raise ValueError("--rivals needs a run as the agent: its history tells how many shots to learn from")
    try:
        from benchmarks.peers.stable_baselines import learn
    except ModuleNotFoundError as error:
        raise RunError(f"--rivals: {without_peers(error)}") from error
    found = []
    for rival in ("sac", "ppo"):
        learned: list[Policy] = []

        def keep(policy: Policy, learned: list[Policy] = learned) -> Tensor:
            learned[:] = [policy]
            return torch.zeros(1)

        def show(point: Point, rival: str = rival) -> None:  # SAC takes minutes
            console.print(f"{rival} has learned from {point.shots:,} shots")

        console.print(f"{rival} learns from {shots:,} shots ...")
        checkpoints = [shots * tenths // 10 for tenths in range(1, 10)]
        end = learn(rival, shots, checkpoints, keep, seed=0, show=show)[-1]
        found.append(Method(rival.upper(), partial(by_actions, game, learned[0], 0), end.shots, end.seconds))
    return found


# --- The siege


# How the search samples in the siege: more thoroughly than in training, as the greedy player does.
THOROUGH: dict[str, Any] = {
    "sampled_actions": 32,
    "considered_actions": 32,
    "uniform_share": 0.75,
    "refine_steps": 8,
}


class GreedyPlayer:
    """Aims each shot as well as possible, whatever comes next: the best of many samples, refined for long."""

    name = "greedy, one step"

    def __init__(self, game: Game, seed: int) -> None:
        config = SearchConfig(refine_steps=12, refine_gain=0.03)

        def worthless(states: State, generator: torch.Generator) -> Evaluation:
            nothing = torch.zeros(batch_size(states))
            return Evaluation(nothing[:, None], nothing)

        self._game, self._refined = game, RefinedActions(game, UniformEvaluator(game, samples=32), worthless, config)
        self._generator = torch.Generator().manual_seed(seed)

    def actions(self, states: State) -> Tensor:
        actions = self._refined(states, self._generator).actions
        assert actions is not None
        batch, count, _ = actions.shape
        many = take(states, torch.arange(batch).repeat_interleave(count))
        best = self._game.step(many, actions.flatten(0, 1)).reward.view(batch, count).argmax(1)
        return actions[torch.arange(batch), best]


def measure_siege(agent: Agent, options: argparse.Namespace, console: Console) -> None:
    game = agent.game
    search = replace(agent.search, simulations=options.simulations, **THOROUGH)
    players: list[Player] = [
        RandomPlayer(game, seed=1),
        GreedyPlayer(game, seed=1),
        NetworkPlayer(game, agent.evaluator),
        named("search", AgentPlayer(game, agent.evaluator, replace(search, refine_steps=0), seed=1)),
    ]
    if search.refine_steps:
        players.append(named("search, refined", AgentPlayer(game, agent.evaluator, search, seed=1)))
    table = empty_table(
        console,
        f"{options.count:,} sieges of {Siege.shots} shots",
        ("", "reward", "95 % interval", "search better by", "95 % interval", "a shot"),
    )
    results = [play_alone(game, player, games=options.count, seed=HELD_OUT) for player in players]
    for player, result in zip(players, results, strict=True):
        ahead = SoloResult(
            rewards=tuple(mine - other for mine, other in zip(results[-1].rewards, result.rewards, strict=True)),
            distinct_games=result.distinct_games,
        )
        table.add_row(
            player.name,
            f"{result.mean:.4f}",
            "{:.4f} to {:.4f}".format(*result.interval),
            f"{ahead.mean:.4f}" if result is not results[-1] else "",
            "{:.4f} to {:.4f}".format(*ahead.interval) if result is not results[-1] else "",
            f"{1e3 * result.seconds_a_move:.2f} ms",
        )
    console.print(table)
    console.print("Reward: -ln(1 + miss / 1 cm) / ln(1 + 100 m / 1 cm), the mean of the shots; 0 is a hit each time.")


def named(name: str, player: AgentPlayer) -> AgentPlayer:
    player.name = name
    return player


if __name__ == "__main__":
    sys.exit(main())
