"""Plans with a model that it has completed itself, from the shots that it has fired.

    examples/plan_learned.py [--shots 2,5,10,20] [--noise 0]

The true air slows the projectile; the model knows nothing of that. Search with refinement within the model aims, the
true trebuchet fires, each flight is filmed. From the films a network learns the term that is missing, and an equation
is made of that (as in scripts/discover.py drag). With the completed model it aims better, fires again, and so on. After
so many shots as --shots says, all models aim at targets that nobody has learned from, and the true trebuchet fires:
once exactly as it was aimed, and once by a crew that errs, by a degree and a kilogram (standard deviations).

No network has learned to aim before: one that has done so in the true model would know what the wrong one does not.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

# Before torch is loaded: one thread an operation is the fastest for batches of this size.
os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from rich.console import Console

from alphazero.arena.players import AgentPlayer
from alphazero.config import SearchConfig
from alphazero.dynamics import figures
from alphazero.dynamics.equations import PoorFitError, recover
from alphazero.dynamics.ude import DiscoveryError, Observed, learn
from alphazero.game import Game, State, batch_size, concatenate, take
from alphazero.mcts.evaluator import Evaluation
from alphazero.mcts.gaussian import raw_deviation
from alphazero.report.position_figures import png
from alphazero.report.terminal import make_table
from benchmarks.aiming import metres
from games.trebuchet.aiming_network import FIELD
from games.trebuchet.discover import Settings, drag, film_flights, with_drag
from games.trebuchet.game import Aiming, TrebuchetState
from games.trebuchet.physics import STEEPEST, shoot
from games.trebuchet.solver import Terms
from scripts.discover import progress_bar, thoroughness

SEARCH = SearchConfig(
    simulations=4, sampled_actions=4, considered_actions=4, uniform_share=0.75, refine_steps=12, refine_gain=0.1
)
MOST_VOLLEYS = 20  # to get so many shots that land
WIDE = 0.5  # standard deviation, of half the Box
HELD_OUT = 1 << 40  # seed of the targets that all models aim at
MODELS = ("true", "wrong", "network", "equation")
VACUUM = with_drag(torch.zeros_like)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shots", default="2,5,10,20", help="after how many shots to measure (2,5,10,20)")
    parser.add_argument("--noise", type=float, default=0.0, help="of the films, as a part of the states (0)")
    parser.add_argument("--targets", type=int, default=200, help="that all models aim at (200)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("runs/discovered/plan"), help="folder for table and picture")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    console = Console(width=None if sys.stdout.isatty() else 120, highlight=False, markup=False)
    try:
        run(arguments, console)
    except (DiscoveryError, ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("Stopped.", file=sys.stderr)
        return 130
    return 0


def run(arguments: argparse.Namespace, console: Console) -> None:
    try:
        counts = sorted({int(count) for count in arguments.shots.split(",")})
    except ValueError:
        counts = [0]
    if counts[0] < 2 or arguments.targets < 1 or not 0 <= arguments.seed < 1 << 62:
        raise ValueError("--shots are numbers from 2, like 2,5,10,20; --targets from 1, --seed from 0")
    if not 0 <= arguments.noise < 1:
        raise ValueError(f"--noise is a part of the states, from 0 to below 1, not {arguments.noise}")
    arguments.out.mkdir(parents=True, exist_ok=True)
    generator = torch.Generator().manual_seed(arguments.seed)
    targets = Aiming().initial(arguments.targets, generator=torch.Generator().manual_seed(HELD_OUT))
    known = {"true": measure(None, targets), "wrong": measure(VACUUM, targets)}
    rows: list[dict[str, Any]] = []
    completed, fired = VACUUM, None  # the model, and the shots so far
    for number, count in enumerate(counts):
        before = counts[number - 1] if number else 0
        fresh = fire(completed, count - before, generator)
        fired = fresh if fired is None else concatenate([fired, fresh])
        started = time.perf_counter()
        network, equation, said = complete(fired, arguments.noise, generator, console)
        completed = equation or network
        misses = {
            **known,
            "network": measure(network, targets),
            "equation": measure(equation, targets) if equation else None,
        }
        rows.append({"shots": count, "formula": said, "learned_in": time.perf_counter() - started, **misses})
        console.print(f"after {count} shots: {said}", soft_wrap=True)
    for way, name in (("exact", "as aimed"), ("crew", "by a crew that errs")):
        made = make_table(f"median miss (95 % within), {name}", ["model"], [f"{count} shots" for count in counts])
        for model in MODELS:
            made.add_row(model, *(shown(row[model], way) for row in rows))
        console.print(made)
    results = [
        {name: value._asdict() if isinstance(value, Misses) else value for name, value in row.items()} for row in rows
    ]
    (arguments.out / "results.json").write_text(json.dumps(results, indent=2) + "\n")
    lines = {f"{model} model": [(row["shots"], row[model].exact[0]) for row in rows if row[model]] for model in MODELS}
    (arguments.out / "misses.png").write_bytes(png(figures.misses(lines)))
    console.print(f"Results: {arguments.out}", soft_wrap=True)


class Misses(NamedTuple):
    """Medians and what 95 % are within, in m: of shots as they were aimed, and as the crew fired them."""

    exact: tuple[float, float]
    crew: tuple[float, float]


class Untaught:
    """A network that has learned nothing: it aims about the middle, widely, and expects 0."""

    def __call__(self, states: State, generator: torch.Generator) -> Evaluation:
        mean = torch.zeros(batch_size(states), 2)
        return Evaluation(torch.cat([mean, torch.full_like(mean, raw_deviation(WIDE))], 1), mean[:, 0])


def searcher(model: Game) -> AgentPlayer:
    """Search with refinement in this model, and nothing else."""
    return AgentPlayer(model, Untaught(), SEARCH, seed=1)


def aim(terms: Terms | None, states: TrebuchetState) -> TrebuchetState:
    """What becomes of the true shots, aimed in the model with these terms."""
    model = Aiming(terms=terms)
    after: TrebuchetState = Aiming().step(states, searcher(model).actions(states)).state
    return after


def measure(terms: Terms | None, targets: TrebuchetState) -> Misses:
    """The crew errs by the same for all models."""
    after = aim(terms, targets)
    error = torch.randn(2, len(after.target), generator=torch.Generator().manual_seed(HELD_OUT), dtype=torch.float64)
    angle = (after.angle + FIELD.angle * error[0]).clamp(-STEEPEST, STEEPEST)
    erred = shoot(after.winds[:, 0], angle, after.counterweight + FIELD.counterweight * error[1])
    found = []
    for distance in (after.distance, erred.distance):
        miss = (distance - after.target).abs()
        median, most = miss.quantile(torch.tensor([0.5, 0.95], dtype=torch.float64)).tolist()
        found.append((median, most))
    return Misses(*found)


def fire(terms: Terms | None, count: int, generator: torch.Generator) -> TrebuchetState:
    """So many shots at random targets that land: one that fails cannot be filmed, and is fired again at another."""
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
    """The drag as a network and as an equation, from films of these shots; the last quarter of them is held out."""
    case = drag()
    filmed = film_flights(Settings(fired.winds[:, 0], fired.angle, fired.counterweight), noise, generator)
    cut = min(math.ceil(0.75 * len(filmed.times)), len(filmed.times) - 1)
    observed, held_out = (Observed(*(field[part] for field in filmed)) for part in (slice(cut), slice(cut, None)))
    with progress_bar(console) as (show, say):
        learned = learn(
            case.incomplete, observed, generator=generator, pieces=case.pieces, report=show, **thoroughness(noise)
        )
        network = with_drag(learned.term)
        try:
            found = recover(case.incomplete, case.library, learned, observed, held_out, generator=generator, report=say)
        except PoorFitError as error:
            return network, None, str(error)
    equation = found.best.equation
    return network, with_drag(equation.term), equation.text(case.symbol)


def shown(misses: Misses | None, way: str) -> str:
    if misses is None:
        return "no equation"
    median, most = getattr(misses, way)
    return f"{metres(median)} ({metres(most)})"


if __name__ == "__main__":
    sys.exit(main())
