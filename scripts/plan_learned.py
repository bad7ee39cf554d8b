"""An agent plans with a model that it has completed itself, from the shots that it has fired.

    scripts/plan_learned.py --agent runs/trebuchet [--shots 2,5,10,20] [--noise 0]

The true air slows the projectile; the agent's model knows nothing of that. It aims, by search and refinement within
the model, and fires; each flight is filmed. From the films a network learns the term that is missing, and an equation
is made of that (as in scripts/discover.py drag). With the completed model it aims better, fires again, and so on. After
so many shots as --shots says, all models aim at targets that nobody has learned from, and the true trebuchet fires.

The agent is a run of configs/trebuchet.toml, whose network knows the true trebuchet: see --help of scripts/train.py.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

# Before torch is loaded: one thread an operation is the fastest for batches of this size.
os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from rich.console import Console
from torch import Tensor

from alphazero.agents import load_agent
from alphazero.checkpoint import RunError
from alphazero.config import ConfigError
from alphazero.discovery import drawing
from alphazero.discovery.fitting import DiscoveryError, Observed, learn
from alphazero.discovery.recovery import PoorFitError, recover
from alphazero.game import concatenate, take
from alphazero.pictures import png
from alphazero.players import Agent, AgentPlayer
from games.trebuchet.discover import Settings, drag, film_flights, with_drag
from games.trebuchet.game import Aiming, TrebuchetState
from games.trebuchet.physics import shoot
from games.trebuchet.solver import Terms
from scripts.discover import progress_bar, table, thoroughness

SIMULATIONS = 16
HELD_OUT = 1 << 40  # seed of the targets that all models aim at
MODELS = ("true", "wrong", "network", "equation")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--agent", type=Path, required=True, metavar="RUN", help="a run's folder, or an agent.onnx")
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
    except (DiscoveryError, RunError, ConfigError, ValueError, OSError) as error:
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
    agent = load_agent(arguments.agent)
    if agent.game.name != Aiming.name:
        raise ValueError(f"{arguments.agent} plays {agent.game.name}, not {Aiming.name}; train configs/trebuchet.toml")
    arguments.out.mkdir(parents=True, exist_ok=True)
    generator = torch.Generator().manual_seed(arguments.seed)
    targets = Aiming().initial(arguments.targets, generator=torch.Generator().manual_seed(HELD_OUT))
    known = {"true": measure(agent, None, targets), "wrong": measure(agent, VACUUM, targets)}
    rows: list[dict[str, Any]] = []
    completed, fired = VACUUM, None  # the model, and the shots so far
    for number, count in enumerate(counts):
        before = counts[number - 1] if number else 0
        goals = Aiming().initial(count - before, generator=generator)
        fired = (
            goals_shot(agent, completed, goals)
            if fired is None
            else concatenate([fired, goals_shot(agent, completed, goals)])
        )
        started = time.perf_counter()
        network, equation, said = complete(fired, arguments.noise, generator, console)
        completed = equation or network
        misses = {
            **known,
            "network": measure(agent, network, targets),
            "equation": measure(agent, equation, targets) if equation else None,
        }
        rows.append({"shots": count, "formula": said, "learned_in": time.perf_counter() - started, **misses})
        console.print(f"after {count} shots: {said}", soft_wrap=True)
    made = table(console, "median miss (95 % within), m", *(f"{count} shots" for count in counts))
    for model in MODELS:
        made.add_row(f"{model} model", *(pair(row[model]) for row in rows))
    console.print(made)
    (arguments.out / "results.json").write_text(json.dumps(rows, indent=2) + "\n")
    lines = {f"{model} model": [(row["shots"], row[model][0]) for row in rows if row[model]] for model in MODELS}
    (arguments.out / "misses.png").write_bytes(png(drawing.misses(lines)))
    console.print(f"Results: {arguments.out}", soft_wrap=True)


def nothing(u: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    return torch.zeros_like(u), torch.zeros_like(v)


VACUUM = Terms(drag=nothing)


def aim(agent: Agent, terms: Terms | None, states: TrebuchetState) -> TrebuchetState:
    """What becomes of the true shots, aimed by search in the model with these terms."""
    model = Aiming(terms=terms)
    search = replace(agent.search, simulations=SIMULATIONS)
    action = AgentPlayer(model, agent.evaluator, search, seed=1).actions(states)
    after: TrebuchetState = Aiming().step(states, action).state
    return after


def measure(agent: Agent, terms: Terms | None, targets: TrebuchetState) -> tuple[float, float]:
    """Median miss and what 95 % are within, in m."""
    miss = Aiming().measures(aim(agent, terms, targets))["miss"]
    median, most = miss.quantile(torch.tensor([0.5, 0.95], dtype=torch.float64)).tolist()
    return median, most


def goals_shot(agent: Agent, terms: Terms | None, goals: TrebuchetState) -> TrebuchetState:
    """The shots at them; those that land, for one that fails cannot be filmed."""
    after = aim(agent, terms, goals)
    landed = shoot(after.winds[:, 0], after.angle, after.counterweight).landed
    return take(after, landed)


def complete(
    fired: TrebuchetState, noise: float, generator: torch.Generator, console: Console
) -> tuple[Terms, Terms | None, str]:
    """The drag as a network and as an equation, from films of these shots; the last quarter of them is held out."""
    case = drag()
    filmed = film_flights(Settings(fired.winds[:, 0], fired.angle, fired.counterweight), noise, generator)
    cut = max(1, round(0.75 * len(filmed.times)))
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


def pair(miss: tuple[float, float] | None) -> str:
    return f"{miss[0]:.2g} ({miss[1]:.2g})" if miss else "no equation"


if __name__ == "__main__":
    sys.exit(main())
