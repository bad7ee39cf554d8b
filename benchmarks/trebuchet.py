"""Measures the trebuchet: its speed against other solvers, and how fast other methods learn to aim it.

    benchmarks/trebuchet.py speed       shots and gradients, against solvers that give the same answers
    benchmarks/trebuchet.py rivals      SAC and PPO of Stable-Baselines3, learning by trial and error

Contenders of `speed` take turns within one process (A B A B ...), and medians of the rounds are shown. It compares
with the packages of the extra `peers`, and leaves out what needs those that are missing; `rivals` needs them.
"""

from __future__ import annotations

import argparse
import csv
import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from alphazero.shell import cli

# isort: split
import numpy as np
import torch
from numpy.typing import ArrayLike
from rich.console import Console
from torch import Tensor

from alphazero.runs.files import RunError
from benchmarks.harness import empty_table, in_turns, introduce, new_file, one_of, seconds, whole, without_peers
from benchmarks.targets import held_out_targets, misses
from games.trebuchet import shoot, shoot_with_gradient
from games.trebuchet.game import ANGLES, COUNTERWEIGHTS, FARTHEST, NEAREST, WINDS, Aiming

if TYPE_CHECKING:
    from benchmarks.peers.stable_baselines import Point

SHOT = (5.0, 45.0, 44.5)  # m/s, degrees, kg: the one of the module's example
ANSWER, GRADIENT = 1e-4, 1e-3  # how far they may be apart: in m, and relative
RIVALS = ("sac", "ppo")
LEARNED = 0.1  # m, of the median miss


class Comparison(NamedTuple):
    """ours, theirs: s. promised: the least that theirs / ours should be, or with at_most the most of ours / theirs."""

    what: str
    rival: str
    ours: float
    theirs: float
    promised: float
    at_most: bool = False

    @property
    def ratio(self) -> float:
        return self.ours / self.theirs if self.at_most else self.theirs / self.ours

    @property
    def kept(self) -> bool:
        return self.ratio <= self.promised if self.at_most else self.ratio >= self.promised


def main() -> int:
    return cli.run(measure)


def measure() -> None:
    parser = cli.Parser(description=__doc__)
    sections = parser.add_subparsers(dest="section", required=True, metavar="speed|rivals")
    fast = sections.add_parser("speed", help="shots and gradients against other solvers")
    fast.add_argument("--batch", type=whole, default=4096, help="shots at once (4096)")
    fast.add_argument("--seconds", type=seconds, default=1.0, help="length of a measurement in each round (1)")
    fast.add_argument("--rounds", type=whole, default=5, help="rounds, of which the median is shown (5)")
    learning = sections.add_parser("rivals", help="how fast Stable-Baselines3 learns to aim")
    learning.add_argument(
        "rivals", nargs="*", metavar="rival", type=one_of(RIVALS, "rival"), default=RIVALS,
        help=f"any of {', '.join(RIVALS)}; default: all",
    )  # fmt: skip
    learning.add_argument("--shots", type=whole, default=30_000, help="to learn from (30000)")
    learning.add_argument("--points", type=whole, default=20, help="of the learning curve (20)")
    learning.add_argument("--seed", type=cli.seed, default=0, help="of the learning (0)")
    learning.add_argument("--csv", type=new_file, metavar="FILE", help="write the learning curves there")
    options = parser.parse_args()
    console = cli.console()
    introduce(console)
    {"speed": speed, "rivals": rivals}[options.section](options, console)


# How fast it is


def speed(options: argparse.Namespace, console: Console) -> None:
    torch.set_num_threads(os.cpu_count() or 1)  # jax uses all the cores, too
    compared, left_out = [], []
    for compare in (against_itself, against_scipy, against_torch, against_torchdiffeq, against_diffrax):
        try:
            compared.append(compare(options))
        except ModuleNotFoundError as error:
            left_out.append(f"{compare.__name__.replace('_', ' ')}: {without_peers(error)}")
    table = empty_table(console, "speed", ("", "ours", "theirs", "ratio", "promised", ""))
    for row in compared:
        table.add_row(
            f"{row.what}: {row.rival}",
            f"{row.ours * 1e3:,.4f} ms",
            f"{row.theirs * 1e3:,.4f} ms",
            f"{row.ratio:,.2f}",
            f"at {'most' if row.at_most else 'least'} {row.promised:g}",
            "kept" if row.kept else "not kept",
        )
    console.print(table)
    for note in left_out:
        console.print(note, soft_wrap=True)


def against_itself(options: argparse.Namespace) -> Comparison:
    times = durations(options, partial(shoot_with_gradient, *SHOT), partial(shoot, *SHOT))
    return Comparison("a shot with gradient", "the shot alone", *times, promised=1.3, at_most=True)


def against_scipy(options: argparse.Namespace) -> Comparison:
    from benchmarks.peers.ode_solvers import scipy_shot

    agree("scipy", shoot(*SHOT).distance, scipy_shot(*SHOT))
    times = durations(options, partial(shoot, *SHOT), partial(scipy_shot, *SHOT))
    return Comparison("a shot", "scipy, DOP853", *times, promised=5)


def against_torch(options: argparse.Namespace) -> Comparison:
    """One aim; the module's inputs are ready and its outputs stay scaled, which is in its favour."""
    from games.trebuchet.aiming_network import PARAMETERS, SHAPES, AimingNetwork, layers  # matplotlib takes its time

    parameters = np.random.default_rng(0).normal(size=PARAMETERS) / 4
    network = AimingNetwork(parameters)
    linear = [torch.nn.Linear(*shape, dtype=torch.float64) for shape in SHAPES[::2]]
    module = torch.nn.Sequential(linear[0], torch.nn.Tanh(), linear[1], torch.nn.Tanh(), linear[2], torch.nn.Sigmoid())
    values = layers(torch.from_numpy(parameters))
    with torch.no_grad():
        for layer, weights, biases in zip(linear, values[::2], values[1::2], strict=True):
            layer.weight.copy_(weights.T)
            layer.bias.copy_(biases)
    wind, target = 5.0, 60.0
    seen = torch.tensor([wind / WINDS, (2 * target - NEAREST - FARTHEST) / (FARTHEST - NEAREST)], dtype=torch.float64)
    low, high = torch.tensor([ANGLES, COUNTERWEIGHTS], dtype=torch.float64).unbind(1)
    with torch.inference_mode():
        agree("torch", network.aim(wind, target), low + (high - low) * module(seen))
        times = durations(options, partial(network.aim, wind, target), partial(module, seen))
    return Comparison("an aim", "its network as a torch module", *times, promised=5)


def against_torchdiffeq(options: argparse.Namespace) -> Comparison:
    from benchmarks.peers.ode_solvers import torchdiffeq_shot

    shot, gradient = shoot_with_gradient(*SHOT)
    distance, slope = torchdiffeq_shot(*SHOT)
    agree("torchdiffeq", shot.distance, distance, (gradient, slope))
    times = durations(options, partial(shoot_with_gradient, *SHOT), partial(torchdiffeq_shot, *SHOT))
    return Comparison("a shot with gradient", "torchdiffeq, dopri5", *times, promised=50)


def against_diffrax(options: argparse.Namespace) -> Comparison:
    from benchmarks.peers.ode_solvers import diffrax_shots

    inputs = batch_of_shots(options.batch)
    arrays, theirs = [value.numpy() for value in inputs], diffrax_shots()

    def ours() -> tuple[Tensor, Tensor]:
        leaves = [value.clone().requires_grad_() for value in inputs]
        distance = shoot(*leaves).distance
        return distance.detach(), torch.stack(torch.autograd.grad(distance.sum(), leaves), 1)

    (distances, slopes), (their_distances, their_slopes) = ours(), theirs(*arrays)
    agree("diffrax", distances, their_distances, (slopes, their_slopes))
    times = (time / options.batch for time in durations(options, ours, partial(theirs, *arrays)))
    return Comparison(f"one of {options.batch:,} with gradient", "diffrax, Tsit5", *times, promised=3)


def batch_of_shots(count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Winds, angles and counterweights as one aims with them."""
    generator = torch.Generator().manual_seed(0)
    winds = Aiming().initial(count, generator=generator).winds[:, 0]
    angles, weights = torch.rand(2, count, generator=generator, dtype=torch.float64)
    return winds, 20 + 40 * angles, torch.lerp(*torch.tensor(COUNTERWEIGHTS, dtype=torch.float64), weights)


def agree(name: str, ours: ArrayLike, theirs: ArrayLike, gradients: tuple[ArrayLike, ArrayLike] | None = None) -> None:
    """Exits if answers differ: distances in m, say, [...], and gradients [..., 3], ours and theirs."""
    apart = np.abs(np.asarray(ours) - np.asarray(theirs)).max()
    if not apart <= ANSWER:
        sys.exit(f"{name} does not do the same: its answers and ours are up to {apart:.1e} apart")
    if gradients:
        mine, others = map(np.asarray, gradients)
        apart = (np.linalg.norm(mine - others, axis=-1) / np.linalg.norm(mine, axis=-1)).max()
        if not apart <= GRADIENT:
            sys.exit(f"{name} does not do the same: its gradients and ours are up to {apart:.1e} of ours apart")


def durations(options: argparse.Namespace, *contenders: Callable[[], object]) -> list[float]:
    """Seconds a call of each contender."""

    def counted(call: Callable[[], object]) -> int:
        call()
        return 1

    works = {str(number): partial(counted, call) for number, call in enumerate(contenders)}
    return [1 / measured.rate for measured in in_turns(works, options.rounds, options.seconds).values()]


# How well other methods aim


def rivals(options: argparse.Namespace, console: Console) -> None:
    try:
        from benchmarks.peers.stable_baselines import learn
    except ModuleNotFoundError as error:
        raise RunError(f"rivals: {without_peers(error)}") from error
    checkpoints = [options.shots * number // options.points for number in range(1, options.points)]
    of_policy = partial(misses, states=held_out_targets())
    lines = []
    for rival in options.rivals:
        table = empty_table(console, rival, ("shots", "median miss", "95 of 100 within", "learning took"))

        def show(point: Point, rival: str = rival) -> None:  # a training takes minutes: tell what it is about
            console.print(f"{rival}: after {point.shots:,} shots a median miss of {point.median:.3f} m")

        curve = learn(rival, options.shots, checkpoints, of_policy, seed=options.seed, show=show)
        for point in curve:
            table.add_row(f"{point.shots:,}", f"{point.median:.3f} m", f"{point.most:.2f} m", f"{point.seconds:,.0f} s")
        lines += [{"rival": rival, "seed": options.seed, **point._asdict()} for point in curve]
        console.print(table)
        there = next((point.shots for point in curve if point.median <= LEARNED), None)
        reached = f"not within {options.shots:,} shots" if there is None else f"after {there:,} shots"
        console.print(f"{rival}: a median miss of {LEARNED:.2f} m {reached}")
    if options.csv:
        with options.csv.open("w", newline="") as file:
            writer = csv.DictWriter(file, lines[0].keys())
            writer.writeheader()
            writer.writerows(lines)


if __name__ == "__main__":
    sys.exit(main())
