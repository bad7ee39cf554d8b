"""Measures networks in place of the trebuchet's simulator: what they save, and what they get wrong.

    benchmarks/surrogates.py [--samples 4000] [--out FOLDER]

One has learned the whole shot, a number of wind, angle and counterweight. One has learned the step of a game, as any
game's can be, and search plays in it (`alphazero.dynamics.surrogate`). Errors are told within the range that they have
learned from, and outside of it: in stronger winds, and with heavier counterweights.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

# Before torch is loaded: one thread an operation is the fastest for batches of this size.
os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from matplotlib.figure import Figure
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor

from alphazero.dynamics.surrogate import Network, Transitions, approximate, errors, learn_step, random_play
from alphazero.game import take
from alphazero.report.position_figures import png
from alphazero.report.terminal import make_table
from benchmarks.aiming import metres
from examples.plan_learned import searcher
from games.trebuchet import shoot
from games.trebuchet.discover import Settings
from games.trebuchet.game import ANGLES, COUNTERWEIGHTS, WINDS, Aiming, TrebuchetState, score

STEPS = 2000
BATCH = 4096


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=4000, help="shots, and steps of games, to learn from (4000)")
    parser.add_argument("--targets", type=int, default=200, help="that search aims at in the surrogate (200)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("runs/discovered/surrogates"), help="folder for the results")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    console = Console(width=None if sys.stdout.isatty() else 120, highlight=False, markup=False)
    try:
        if arguments.samples < 100 or arguments.targets < 1 or not 0 <= arguments.seed < 1 << 62:
            raise ValueError("--samples are from 100, --targets from 1, --seed from 0")
        arguments.out.mkdir(parents=True, exist_ok=True)
        run(arguments, console)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("Stopped; nothing was saved.", file=sys.stderr)
        return 130
    return 0


def run(arguments: argparse.Namespace, console: Console) -> None:
    generator = torch.Generator().manual_seed(arguments.seed)
    results = {"shot": whole_shot(arguments, generator, console), "step": step(arguments, generator, console)}
    (arguments.out / "results.json").write_text(json.dumps(results, indent=2) + "\n")
    console.print(f"Results: {arguments.out}", soft_wrap=True)


# --- The whole shot


def settings(
    count: int, generator: torch.Generator, *, winds: float = WINDS, heaviest: float = COUNTERWEIGHTS[1]
) -> Settings:
    """Uniformly, up to these."""
    wind, angle, counterweight = torch.rand(3, count, generator=generator, dtype=torch.float64)
    lightest = COUNTERWEIGHTS[0]
    return Settings(winds * (2 * wind - 1), ANGLES[1] * angle, lightest + (heaviest - lightest) * counterweight)


def whole_shot(arguments: argparse.Namespace, generator: torch.Generator, console: Console) -> dict[str, object]:
    seen = settings(arguments.samples, generator)
    inputs, distance = torch.stack(seen, 1), shoot(*seen).distance
    with progress(console, "a network learns the whole shot") as report:
        network = approximate(inputs, distance[:, None], generator=generator, steps=STEPS, report=report)
    ranges = {
        "as learned from": settings(BATCH, generator),
        "winds from 10 to 15 m/s": outside(
            settings(4 * BATCH, generator, winds=15.0), lambda shot: shot.wind.abs() > WINDS
        ),
        "counterweights from 120 to 150 kg": outside(
            settings(4 * BATCH, generator, heaviest=150.0), lambda shot: shot.counterweight > COUNTERWEIGHTS[1]
        ),
    }
    made = make_table("error of the distance", ["range"], ["median", "95 % within", "largest"])
    found = {}
    for name, shots in ranges.items():
        miss = (network(torch.stack(shots, 1))[:, 0] - shoot(*shots).distance).abs()
        found[name] = miss.quantile(torch.tensor([0.5, 0.95, 1.0], dtype=torch.float64)).tolist()
        made.add_row(name, *map(metres, found[name]))
    console.print(made)
    many = ranges["as learned from"]
    rows = torch.stack(many, 1)
    simulator, surrogate = pace(lambda: shoot(*many)), pace(lambda: network(rows))
    console.print(
        f"a shot of {BATCH:,}: simulator {1e6 * simulator / BATCH:.2f} µs, network {1e6 * surrogate / BATCH:.2f} µs, "
        f"{simulator / surrogate:.0f} times faster"
    )
    (arguments.out / "shot.png").write_bytes(png(picture(network)))
    return {"errors": found, "faster": simulator / surrogate}


def outside(shots: Settings, which: Callable[[Settings], Tensor]) -> Settings:
    mask = which(shots)
    return Settings(*(value[mask] for value in shots))


def pace(call: Callable[[], object]) -> float:
    """Seconds, the least of five."""
    call()
    found = []
    for _ in range(5):
        started = time.perf_counter()
        call()
        found.append(time.perf_counter() - started)
    return min(found)


def picture(network: Network) -> Figure:
    """Distances by the angle, for three counterweights in still air, the last one heavier than any that was seen."""
    figure = Figure(figsize=(7, 4), layout="constrained", facecolor="white")
    axes = figure.subplots()
    angle = torch.linspace(*ANGLES, 181, dtype=torch.float64)
    for counterweight, colour in ((40.0, "#2f6690"), (100.0, "#d98324"), (150.0, "#b8433c")):
        shots = Settings(torch.zeros_like(angle), angle, torch.full_like(angle, counterweight))
        beyond = " (beyond what it has seen)" if counterweight > COUNTERWEIGHTS[1] else ""
        axes.plot(angle, shoot(*shots).distance, color=colour, alpha=0.4, linewidth=5)
        found = network(torch.stack(shots, 1))[:, 0]
        axes.plot(angle, found, "--", color=colour, label=f"{counterweight:g} kg{beyond}")
    axes.set(xlabel="angle of release, degrees", ylabel="distance, m", title="simulator (wide) and surrogate (dashed)")
    axes.legend(frameon=False)
    return figure


# --- The step of a game


def reward(before: TrebuchetState, action: Tensor, after: TrebuchetState) -> Tensor:
    """The rule by which a shot is judged is known: only the shot is not."""
    return torch.where(before.fired > 0, 0.0, score(after.distance - after.target))


def step(arguments: argparse.Namespace, generator: torch.Generator, console: Console) -> dict[str, object]:
    game = Aiming()
    seen = random_play(game, 2 * arguments.samples, generator)  # every second step is one after the end
    with progress(console, "a network learns a game's step") as report:
        surrogate = learn_step(game, seen, generator=generator, reward=reward, steps=STEPS, report=report)
    fresh = random_play(game, 2 * BATCH, generator)
    first = fresh.states.fired == 0  # nothing changes after the end
    states, after = take(fresh.states, first), take(fresh.after, first)
    off = errors(surrogate, Transitions(states, fresh.actions[first], after, fresh.reward[first], fresh.done[first]))
    console.print(
        f"the step: distance {metres(off['distance'])}, angle {off['angle']:.2g} degrees, counterweight "
        f"{off['counterweight']:.2g} kg (root mean square), {off['done']:.2%} of the ends missed"
    )
    states = game.initial(arguments.targets, generator=torch.Generator().manual_seed(1 << 40))
    made = make_table("search with refinement", ["plays in"], ["median miss", "95 % within", "a target"])
    found: dict[str, object] = {"errors": off}
    for name, model in (("simulator", game), ("surrogate", surrogate)):
        started = time.perf_counter()
        after = game.step(states, searcher(model).actions(states)).state
        seconds = (time.perf_counter() - started) / arguments.targets
        miss = game.metrics(after)["miss"].quantile(torch.tensor([0.5, 0.95], dtype=torch.float64)).tolist()
        made.add_row(name, *map(metres, miss), f"{1e3 * seconds:.2f} ms")
        found[name] = {"miss": miss, "seconds": seconds}
    console.print(made)
    return found


@contextmanager
def progress(console: Console, what: str) -> Iterator[Callable[[int, float], None]]:
    """Shows how far a training is."""
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(what, total=STEPS * 5 // 4)
        yield lambda done, loss: bar.update(task, completed=done, description=f"{what}: error {loss:.1e}")


if __name__ == "__main__":
    sys.exit(main())
