"""Measures networks in place of the trebuchet's simulator: the time they save, and their errors.

    benchmarks/surrogates.py [--samples 4000] [--out FOLDER]

One has learned the whole shot: a function of wind, angle and counterweight. One has learned the step of a game, as is
possible for any game, and search plays in it (`alphazero.dynamics.surrogate`). Errors are measured within the range
that they have learned from, and outside of it: in stronger winds, and with heavier counterweights.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from alphazero.shell import cli

# isort: split
import torch
from rich.console import Console
from torch import Tensor

from alphazero.arena.players import planning_player
from alphazero.dynamics.surrogate import Network, Transitions, approximate, errors, learn_step, random_play
from alphazero.game import take
from alphazero.report.terminal import make_table, metres, progress_bar
from benchmarks.harness import whole
from benchmarks.targets import median_and_most
from games.trebuchet import shoot
from games.trebuchet.discover import Settings
from games.trebuchet.game import ANGLES, COUNTERWEIGHTS, WINDS, Aiming, TrebuchetState, score

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STEPS = 2000
BATCH = 4096


def main() -> int:
    return cli.run(measure, stopped="Stopped; nothing was saved.")


def measure() -> None:
    parser = cli.Parser(description=__doc__)
    parser.add_argument("--samples", type=whole, default=4000, help="shots, and steps of games, to learn from (4000)")
    parser.add_argument("--targets", type=whole, default=200, help="targets for search in the surrogate (200)")
    parser.add_argument("--seed", type=cli.seed, default=0)
    parser.add_argument("--out", type=Path, default=Path("runs/discovered/surrogates"), help="folder for the results")
    options = parser.parse_args()
    if options.samples < 100:
        parser.error(f"--samples must be from 100, not {options.samples}")
    options.out.mkdir(parents=True, exist_ok=True)
    console, generator = cli.console(), torch.Generator().manual_seed(options.seed)
    results = {"shot": whole_shot(options, generator, console), "step": step(options, generator, console)}
    (options.out / "results.json").write_text(json.dumps(results, indent=2) + "\n")
    console.print(f"Results: {options.out}", soft_wrap=True)


# --- The whole shot


def settings(
    count: int, generator: torch.Generator, *, winds: float = WINDS, heaviest: float = COUNTERWEIGHTS[1]
) -> Settings:
    """Settings drawn uniformly up to these bounds."""
    wind, angle, counterweight = torch.rand(3, count, generator=generator, dtype=torch.float64)
    lightest = COUNTERWEIGHTS[0]
    return Settings(winds * (2 * wind - 1), ANGLES[1] * angle, lightest + (heaviest - lightest) * counterweight)


def whole_shot(options: argparse.Namespace, generator: torch.Generator, console: Console) -> dict[str, object]:
    seen = settings(options.samples, generator)
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
    from alphazero.report.position_figures import png  # matplotlib takes its time to load

    (options.out / "shot.png").write_bytes(png(distances(network)))
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


def distances(network: Network) -> Figure:
    """Distances by the angle, for three counterweights in still air, the last one heavier than any that was seen."""
    from matplotlib.figure import Figure

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
    """The rule of the reward is known: only the shot is learned."""
    return torch.where(before.fired > 0, 0.0, score(after.distance - after.target))


def step(options: argparse.Namespace, generator: torch.Generator, console: Console) -> dict[str, object]:
    game = Aiming()
    seen = random_play(game, 2 * options.samples, generator)  # every second step is one after the end
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
    states = game.initial(options.targets, generator=torch.Generator().manual_seed(1 << 40))
    made = make_table("search with refinement", ["plays in"], ["median miss", "95 % within", "a target"])
    found: dict[str, object] = {"errors": off}
    for name, model in (("simulator", game), ("surrogate", surrogate)):
        started = time.perf_counter()
        after = game.step(states, planning_player(model).actions(states)).state
        seconds = (time.perf_counter() - started) / options.targets
        miss = median_and_most(game.metrics(after)["miss"])
        made.add_row(name, *map(metres, miss), f"{1e3 * seconds:.2f} ms")
        found[name] = {"miss": miss, "seconds": seconds}
    console.print(made)
    return found


@contextmanager
def progress(console: Console, what: str) -> Iterator[Callable[[int, float], None]]:
    """Shows the progress of a training."""
    with progress_bar(console, what) as show:
        yield lambda done, loss: show(f"{what}: error {loss:.1e}", done, STEPS * 5 // 4)


if __name__ == "__main__":
    sys.exit(main())
