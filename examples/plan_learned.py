"""Plans with a model that it completes itself, from the shots that it has fired.

    examples/plan_learned.py [--shots 2,5,10,20] [--noise 0]

The true air slows the projectile; the model knows nothing of that. Search with refinement within the model aims, the
true trebuchet fires, and each flight is observed. From these trajectories a network learns the term that is missing,
and the term becomes an equation (as in scripts/discover.py drag). With the completed model it aims better, fires again,
and so on. After each number of shots in --shots, all models aim at targets that none has learned from, and the true
trebuchet fires: once exactly as it was aimed, and once with errors of a degree and a kilogram (standard deviations).

No network has learned to aim before: one that has done so in the true model would know what the wrong one does not.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from alphazero.shell import cli

# isort: split
import torch
from matplotlib.figure import Figure
from rich.console import Console

from alphazero.arena.players import PLANNING, planning_player
from alphazero.dynamics import figures
from alphazero.dynamics.equations import PoorFitError, recover
from alphazero.dynamics.ude import DiscoveryError, learn, thoroughness
from alphazero.game import concatenate, take
from alphazero.report.position_figures import png
from alphazero.report.terminal import make_table, metres, progress_bar
from games.trebuchet.aiming_network import FIELD
from games.trebuchet.discover import Settings, drag, observe_flights, with_drag
from games.trebuchet.game import Aiming, TrebuchetState
from games.trebuchet.physics import STEEPEST, shoot
from games.trebuchet.solver import Terms

MOST_VOLLEYS = 20  # to get as many shots that land as were asked for
HELD_OUT = 1 << 40  # seed of the targets that all models aim at
MODELS = ("true", "wrong", "network", "equation")
VACUUM = with_drag(torch.zeros_like)


def main() -> int:
    return cli.run(run, errors=(DiscoveryError,))


@cli.option
def counts(text: str) -> list[int]:
    numbers = sorted({int(number) if number.isdecimal() else 0 for number in text.split(",")})
    if numbers[0] < 2:
        raise ValueError(f"must be numbers from 2, like 2,5,10,20, not {text}")
    return numbers


def run() -> None:
    parser = cli.Parser(description=__doc__)
    parser.add_argument("--shots", type=counts, default="2,5,10,20", help="numbers of shots to measure after")
    parser.add_argument("--noise", type=cli.part, default=0.0, help="noise, as a part of the states (0)")
    parser.add_argument("--targets", type=int, default=200, help="targets for all models to aim at (200)")
    parser.add_argument("--seed", type=cli.seed, default=0)
    parser.add_argument("--out", type=Path, default=Path("runs/discovered/plan"), help="folder for table and figure")
    options = parser.parse_args()
    if options.targets < 1:
        parser.error(f"--targets must be from 1, not {options.targets}")
    options.out.mkdir(parents=True, exist_ok=True)
    console, generator = cli.console(), torch.Generator().manual_seed(options.seed)
    rows = plan(options, generator, console)
    for way, name in (("exact", "exactly as aimed"), ("erring", "with errors of a degree and a kilogram")):
        table = make_table(f"median miss (95 % within), {name}", ["model"], [f"{row['shots']} shots" for row in rows])
        for model in MODELS:
            table.add_row(model, *(shown(row[model], way) for row in rows))
        console.print(table)
    results = [
        {name: value._asdict() if isinstance(value, Misses) else value for name, value in row.items()} for row in rows
    ]
    (options.out / "results.json").write_text(json.dumps(results, indent=2) + "\n")
    lines = {f"{model} model": [(row["shots"], row[model].exact[0]) for row in rows if row[model]] for model in MODELS}
    (options.out / "misses.png").write_bytes(png(figure_of_misses(lines)))
    console.print(f"Results: {options.out}", soft_wrap=True)


def plan(options: argparse.Namespace, generator: torch.Generator, console: Console) -> list[dict[str, Any]]:
    """Fires and learns by turns; a row for each number of shots, with the `Misses` of each of the MODELS."""
    targets = Aiming().initial(options.targets, generator=torch.Generator().manual_seed(HELD_OUT))
    known = {"true": measure(None, targets), "wrong": measure(VACUUM, targets)}
    rows: list[dict[str, Any]] = []
    completed, fired = VACUUM, None  # the model's terms, and the shots so far
    for count in options.shots:
        fresh = fire(completed, count - (len(fired.target) if fired else 0), generator)
        fired = concatenate([fired, fresh]) if fired else fresh
        started = time.perf_counter()
        network, equation, said = complete(fired, options.noise, generator, console)
        row = {"shots": count, "formula": said, "learned_in": time.perf_counter() - started, **known}
        row["network"] = measure(network, targets)
        row["equation"] = measure(equation, targets) if equation else None
        rows.append(row)
        completed = equation or network
        console.print(f"after {count} shots: {said}", soft_wrap=True)
    return rows


class Misses(NamedTuple):
    """The median miss and the one that 95 % are within, in m: of shots exactly as aimed, and of shots with errors."""

    exact: tuple[float, float]
    erring: tuple[float, float]


def aim(terms: Terms | None, states: TrebuchetState) -> TrebuchetState:
    """The outcome of true shots that are aimed in the model with these terms."""
    after: TrebuchetState = Aiming().step(states, planning_player(Aiming(terms=terms), PLANNING).actions(states)).state
    return after


def measure(terms: Terms | None, targets: TrebuchetState) -> Misses:
    """The misses with these terms; the errors are the same for all models."""
    after = aim(terms, targets)
    error = torch.randn(2, len(after.target), generator=torch.Generator().manual_seed(HELD_OUT), dtype=torch.float64)
    angle = (after.angle + FIELD.angle * error[0]).clamp(-STEEPEST, STEEPEST)
    erring = shoot(after.winds[:, 0], angle, after.counterweight + FIELD.counterweight * error[1])
    found = []
    for distance in (after.distance, erring.distance):
        miss = (distance - after.target).abs()
        median, most = miss.quantile(torch.tensor([0.5, 0.95], dtype=torch.float64)).tolist()
        found.append((median, most))
    return Misses(*found)


def fire(terms: Terms | None, count: int, generator: torch.Generator) -> TrebuchetState:
    """`count` shots at random targets that land: one that fails cannot be observed, and is replaced by another."""
    landed: list[TrebuchetState] = []
    for _ in range(MOST_VOLLEYS):
        missing = count - sum(len(state.target) for state in landed)
        if not missing:
            found: TrebuchetState = concatenate(landed)
            return found
        after = aim(terms, Aiming().initial(missing, generator=generator))
        landed.append(take(after, shoot(after.winds[:, 0], after.angle, after.counterweight).landed))
    raise DiscoveryError(f"after {MOST_VOLLEYS} volleys, {missing} of {count} shots that were aimed so have not landed")


def complete(
    fired: TrebuchetState, noise: float, generator: torch.Generator, console: Console
) -> tuple[Terms, Terms | None, str]:
    """The drag as a network and as an equation, from these shots' flights; the last quarter of them is held out."""
    case = drag()
    flights = observe_flights(Settings(fired.winds[:, 0], fired.angle, fired.counterweight), noise, generator)
    cut = min(math.ceil(0.75 * len(flights.times)), len(flights.times) - 1)
    observed, held_out = take(flights, slice(cut)), take(flights, slice(cut, None))
    with progress_bar(console, "the network learns") as show:
        learned = learn(
            case.incomplete, observed, generator=generator, pieces=case.pieces, **thoroughness(noise),
            report=lambda made: show(f"the network learns: residual {made.residual:9.4g} σ", made.step, made.steps),
        )  # fmt: skip
        network = with_drag(learned.term)
        try:
            found = recover(
                case.incomplete, case.library, learned, observed, held_out, generator=generator, report=show
            )
        except PoorFitError as error:
            return network, None, str(error)
    equation = found.best.equation
    return network, with_drag(equation.term), equation.text(case.symbol)


def shown(misses: Misses | None, way: str) -> str:
    if misses is None:
        return "no equation"
    median, most = getattr(misses, way)
    return f"{metres(median)} ({metres(most)})"


def figure_of_misses(models: Mapping[str, Sequence[tuple[int, float]]]) -> Figure:
    """The median miss in m of each model, by the number of shots that it has learned from."""
    figure = Figure(figsize=(6.4, 4), layout="constrained", facecolor="white")
    axes = figure.subplots()
    colours = (figures.TRUTH, figures.DATA, figures.NETWORK, figures.EQUATION)
    for (name, points), colour in zip(models.items(), colours, strict=True):
        if points:
            axes.loglog(*zip(*points, strict=True), "o-", color=colour, label=name)
    axes.set(xlabel="observed shots", ylabel="median miss, m")
    axes.legend(frameon=False)
    return figure


if __name__ == "__main__":
    sys.exit(main())
