"""Aims a trebuchet at a target by every available method, and shows the best shot.

    scripts/aim.py --wind 5 --target 100 [--agent AGENT] [--save shot.gif] [--histogram errors.png] [--robust]

Gradient descent as in the talk and until it hits, Gauss and Newton's method, a network that has learned to aim (it is
trained first if there is none yet), and with AGENT (a run's folder, or an agent.onnx) that agent's network with and
without search.
"""

from __future__ import annotations

import sys
from pathlib import Path

if not __package__:  # called by its path
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from alphazero.shell import cli

# isort: split
import argparse
import time
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import torch
from rich.console import Console
from torch import Tensor

from alphazero.arena.players import AgentPlayer, NetworkPlayer, Player, SearchBudget, parse_budget
from alphazero.game import Transition
from alphazero.report.terminal import make_table, metres, progress_bar
from alphazero.runs.agents import Agent
from games.trebuchet.aim import PHYSICS, PUBLISHED, START, Aimed, Simulator, descend, fire, home_in
from games.trebuchet.aiming_network import (
    FIELD,
    NO_ERRORS,
    AimingError,
    AimingNetwork,
    Progress,
    histogram,
    measure,
    train,
)
from games.trebuchet.game import ANGLES, COUNTERWEIGHTS, WINDS, Aiming, TrebuchetState
from games.trebuchet.physics import POUND, Shot
from games.trebuchet.sketch import sketch

CLOSE = 1e-6  # m: a hit
PATIENT = 1000  # steps of a descent that goes on until it hits
NETWORKS = {False: Path("runs/aiming_network.safetensors"), True: Path("runs/aiming_network_robust.safetensors")}


class Row(NamedTuple):
    """A method's result, and the time of one aim, in s."""

    method: str
    aimed: Aimed
    seconds: float


def main() -> int:
    return cli.run(aim, wrong=(ValueError,), errors=(AimingError,), stopped="Stopped; nothing was saved.")


def parsed() -> argparse.Namespace:
    parser = cli.Parser(description=__doc__)
    parser.add_argument(
        "--wind", type=cli.real(-1e3, 1e3), default=5.0, help="m/s along the throw; against it below 0 (default: 5)"
    )
    parser.add_argument("--target", type=cli.real(-1e6, 1e6), default=100.0, help="m from the pivot (default: 100)")
    parser.add_argument(
        "--angle", type=cli.real(-1e3, 1e3), default=START[0], help="degrees, at the start (default: 55)"
    )
    parser.add_argument(
        "--counterweight", type=cli.real(-1e6, 1e6), help="kg (with --published lb), at the start (default: 220 lb)"
    )
    parser.add_argument(
        "--network", type=Path, help=f"the aiming network; trained if there is none ({NETWORKS[False]})"
    )
    parser.add_argument("--robust", action="store_true", help="a network trained with errors of sight and setting")
    parser.add_argument("--agent", type=Path, help="a run's folder, a checkpoint's folder, or an agent.onnx")
    parser.add_argument(
        "--budget",
        "--strength",
        type=cli.option(parse_budget),
        default="64",
        help="search budget of the agent: simulations, such as 64, or seconds, such as 2s (default: 64)",
    )
    parser.add_argument(
        "--seed", type=cli.seed, default=0, help="seed of the training and of the agent's search (default: 0)"
    )
    parser.add_argument("--published", action="store_true", help="the talk's own numbers; no network, no agent")
    parser.add_argument("--save", type=Path, help="the best shot as a picture (.png) or an animation (.gif)")
    parser.add_argument("--histogram", type=Path, help="the network's misses of 1,000 targets as a picture")
    cli.add_code(parser)
    arguments = parser.parse_args()
    for path, endings in ((arguments.save, (".png", ".gif")), (arguments.histogram, (".png",))):
        if path and (path.suffix not in endings or not path.parent.is_dir()):
            parser.error(f"{path}: must end in {' or '.join(endings)}, in a folder that exists")
    if arguments.published and (arguments.agent or arguments.network or arguments.robust or arguments.histogram):
        parser.error("--published has the talk's methods alone: no --agent, --network, --robust or --histogram")
    return arguments


def aim() -> None:
    arguments, console = parsed(), cli.console()
    wind, target = arguments.wind, arguments.target
    simulator = PUBLISHED if arguments.published else PHYSICS
    weight = arguments.counterweight
    if weight is None:
        weight = 220.0 if arguments.published else START[1]
    start = (arguments.angle, weight)
    # Before the training, for it may be refused.
    agent = load(arguments.agent, arguments.game, arguments.network_kind) if arguments.agent else None
    fire(0.0, *START)  # compiles
    newton = row("Gauss-Newton", lambda: home_in(wind, target, start=start, tolerance=CLOSE, simulator=simulator))
    rows = [row("descent, 10 steps", lambda: descend(wind, target, start=start, simulator=simulator)), newton]
    if not arguments.published:  # whose shots take a second each
        patient = row("descent", lambda: descend(wind, target, start=start, steps=PATIENT, tolerance=CLOSE))
        rows.insert(1, patient)
        network = find_network(arguments, console)
        rows.append(by_network(network, wind, target))
        if arguments.histogram:
            errors = FIELD if arguments.robust else NO_ERRORS
            accuracy, miss = measure(network, errors=errors)
            histogram(miss, title=f"{len(miss):,} targets: {accuracy}").savefig(arguments.histogram)
            console.print(f"the network's misses: {accuracy}; drawn in {arguments.histogram}", soft_wrap=True)
    if agent:
        rows += by_agent(agent, arguments.budget, wind, target, arguments.seed)
    show(rows, wind, target, simulator, console)
    if not newton.aimed.hit:
        way = "no farther" if newton.aimed.miss < 0 else "no nearer"
        console.print(f"Out of reach: in this wind it throws {way} than {newton.aimed.distance:.2f} m.", soft_wrap=True)
    shown = min(rows, key=lambda row: abs(row.aimed.miss))
    console.print(f"{shown.method}:")
    kg = shown.aimed.counterweight * (POUND if arguments.published else 1.0)
    if arguments.published:
        console.print("(drawn by the accurate simulator, in which it lands elsewhere than the talk's)")
    console.print(sketch(wind, shown.aimed.angle, kg, target=target), soft_wrap=True)
    if arguments.save:
        save(arguments.save, wind, target, shown.aimed.angle, kg)
        console.print(f"saved to {arguments.save}", soft_wrap=True)


def row(method: str, aim: Callable[[], Aimed]) -> Row:
    started = time.perf_counter()
    aimed = aim()
    return Row(method, aimed, time.perf_counter() - started)


def find_network(arguments: argparse.Namespace, console: Console) -> AimingNetwork:
    """The network in the file; if there is none it is trained and kept there."""
    path = arguments.network or NETWORKS[arguments.robust]
    if path.exists():
        return AimingNetwork.load(path)
    if arguments.network and not path.parent.is_dir():
        raise ValueError(f"{path.parent} is not a folder; the aiming network must be trained and kept there")
    what, errors = "training the aiming network", FIELD if arguments.robust else NO_ERRORS
    with progress_bar(console, what) as show:

        def report(made: Progress) -> None:
            show(f"{what}: median miss {made.miss:6.3f} m", made.step, made.steps)

        network = train(seed=arguments.seed, errors=errors, report=report)
    path.parent.mkdir(exist_ok=True)
    network.save(path)
    console.print(f"trained the aiming network: {measure(network)[0]}; kept in {path}", soft_wrap=True)
    return network


def by_network(network: AimingNetwork, wind: float, target: float) -> Row:
    setting = network.aim(wind, target)  # compiles
    started, repeats = time.perf_counter(), 1000
    for _ in range(repeats):
        network.aim(wind, target)
    seconds = (time.perf_counter() - started) / repeats
    return Row("aiming network", outcome(wind, target, *setting), seconds)


def load(path: Path, game: str | None, network: str | None) -> Agent:
    from alphazero.runs.agents import load_agent  # ONNX takes its time to load

    agent = load_agent(path, game=game, network=network)
    if agent.game.name != Aiming.name:
        raise ValueError(f"{path} plays {agent.game.name}, not {Aiming.name}")
    return agent


def by_agent(agent: Agent, budget: SearchBudget, wind: float, target: float, seed: int) -> list[Row]:
    """The agent's network alone, and with search."""
    if abs(wind) > WINDS:
        print(f"the agent has not learned winds above {WINDS:g} m/s", file=sys.stderr)
    one = torch.ones(1, dtype=torch.float64)
    state = TrebuchetState(
        winds=wind * one[:, None],
        target=target * one,
        angle=sum(ANGLES) / 2 * one,
        counterweight=sum(COUNTERWEIGHTS) / 2 * one,
        fired=torch.zeros(1, dtype=torch.int64),
        distance=0 * one,
    )
    search, game = replace(agent.search, simulations=budget.simulations), Counting()
    players: list[tuple[str, Player]] = [
        ("agent's network", NetworkPlayer(game, agent.evaluator)),
        (f"agent, search {budget}", AgentPlayer(game, agent.evaluator, search, seed, seconds=budget.seconds)),
    ]
    rows = []
    for name, player in players:
        game.fired = 0
        started = time.perf_counter()
        action = player.actions(state)
        seconds, shots = time.perf_counter() - started, game.fired
        after = game.step(state, action).state
        aimed = outcome(wind, target, after.angle.item(), after.counterweight.item())
        rows.append(Row(name, aimed._replace(shots=shots), seconds))
    return rows


class Counting(Aiming):
    """Counts the shots that are fired in it."""

    fired = 0

    def fire(self, state: TrebuchetState, action: Tensor) -> tuple[Shot, Transition]:
        self.fired += len(action)
        return super().fire(state, action)


def outcome(wind: float, target: float, angle: float, counterweight: float) -> Aimed:
    """The result of an aim, counted as no shot."""
    distance = fire(wind, angle, counterweight).distance
    return Aimed(angle, counterweight, distance, distance - target, 0, abs(distance - target) <= CLOSE)


def show(rows: list[Row], wind: float, target: float, simulator: Simulator, console: Console) -> None:
    plain = not console.is_terminal
    console.print(f"wind {wind:g} m/s, target {target:g} m")
    # Where there is little room, the distance goes first: it is the target and the miss.
    figures = ["angle °", f"weight {simulator.unit}", "distance m", "miss", "shots", "time"]
    table = make_table("", ["method"], figures, spare=(3, 5, 6, 2, 1), plain=plain)
    for method, aimed, seconds in rows:
        table.add_row(
            method, f"{aimed.angle:.2f}", f"{aimed.counterweight:.2f}", f"{aimed.distance:.3f}",
            f"{'-' if aimed.miss < 0 else '+'}{metres(abs(aimed.miss))}", str(aimed.shots), duration(seconds),
        )  # fmt: skip
    console.print(table, soft_wrap=plain)


def duration(seconds: float) -> str:
    for factor, unit in ((1.0, "s"), (1e3, "ms")):
        if seconds * factor >= 1:
            return f"{seconds * factor:.1f} {unit}"
    return f"{seconds * 1e6:.1f} µs"


def save(path: Path, wind: float, target: float, angle: float, kg: float) -> None:
    from games.trebuchet.render import draw, save_animation  # matplotlib takes its time to load

    if path.suffix == ".gif":
        save_animation(path, wind, angle, kg, target=target)
    else:
        draw(wind, angle, kg, target=target).savefig(path)


if __name__ == "__main__":
    sys.exit(main())
