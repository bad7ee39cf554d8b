"""Finds the term that an equation of motion lacks: a network learns it from observations and becomes an equation.

    scripts/discover.py drag             how the air slows the projectile, from trajectories of flights
    scripts/discover.py gravity          gravity's torque on the trebuchet's arm, from trajectories of throws
    scripts/discover.py lotka-volterra   how predators and prey meet, from 31 counts (Rackauckas et al. 2020)

The results go to a folder (--out): results.json, formula.tex, figures, the observations (observed.csv and
held_out.csv), and tensorboard/. Give your own files like these two with --data and --held-out-data.
"""

from __future__ import annotations

import sys
from pathlib import Path

if not __package__:  # called by its path
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from alphazero.shell import cli

# isort: split
import argparse
import json
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from rich.console import Console
from rich.table import Table

from alphazero.dynamics import figures, lotka_volterra
from alphazero.dynamics.equations import Case, Choice, Equation, PoorFitError, Recovered, plain, recover
from alphazero.dynamics.trajectories import read_trajectories, write_trajectories
from alphazero.dynamics.ude import DiscoveryError, Learned, Observed, Progress, learn, thoroughness
from alphazero.report.terminal import make_table, progress_bar
from games.trebuchet import discover

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch.utils.tensorboard import SummaryWriter

SHOTS = 20
NOISE = {"drag": 0.01, "gravity": 0.0, "lotka-volterra": 0.005}
CASES: dict[str, Callable[[], Case]] = {
    "drag": discover.drag,
    "gravity": discover.gravity,
    "lotka-volterra": lotka_volterra.lotka_volterra,
}
CERTAIN = 0.5  # share of resamples that a term must be met in
FIGURES = ("trajectories", "term", "sparsity", "formula", "extrapolation")
RESULTS = ("results.json", "formula.tex", *(f"{name}.png" for name in FIGURES))


def main() -> int:
    return cli.run(lambda: run(parsed(), cli.console()), errors=(DiscoveryError,))


def parsed(words: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line, or these words; exits with a message if they are wrong."""
    parser = cli.Parser(description=__doc__)
    parser.add_argument("case", choices=CASES)
    parser.add_argument(
        "--shots", type=cli.whole(0, 10_000), default=SHOTS, help="shots to observe, and half as many to hold out (20)"
    )
    parser.add_argument(
        "--noise", type=cli.part, help="noise as a part of the states (drag 0.01, gravity 0, predators 0.005)"
    )
    parser.add_argument("--ends", action="store_true", help="drag: observe only release and landing of a flight")
    parser.add_argument("--data", type=Path, help="your own observed.csv; --noise is then your estimate of its noise")
    parser.add_argument("--held-out-data", type=Path, help="your own held_out.csv")
    parser.add_argument("--seed", type=cli.seed, default=0)
    parser.add_argument("--out", type=Path, help="folder for the results (runs/discovered/CASE)")
    arguments = parser.parse_args(words)
    if arguments.shots < 2:
        parser.error(f"--shots must be at least 2, for some are held out, not {arguments.shots}")
    if arguments.case == "lotka-volterra" and arguments.shots != SHOTS:
        parser.error("--shots is for the trebuchet: of predators and prey there is one trajectory")
    if arguments.ends and arguments.case != "drag":
        parser.error("--ends is for drag: throws are observed as a whole")
    if (arguments.data is None) != (arguments.held_out_data is None):
        parser.error("--data and --held-out-data go together: an equation is tested on other trajectories")
    if arguments.noise is None:
        arguments.noise = NOISE[arguments.case]
    arguments.out = arguments.out or Path("runs/discovered") / arguments.case
    return arguments


def run(arguments: argparse.Namespace, console: Console) -> None:
    import pysindy  # noqa: F401  now, so that its absence does not show only once the network has learned
    from torch.utils.tensorboard import SummaryWriter

    noise, case = arguments.noise, CASES[arguments.case]()
    generator = torch.Generator().manual_seed(arguments.seed)
    if arguments.data:
        observed, held_out = (
            read_trajectories(path, case, noise) for path in (arguments.data, arguments.held_out_data)
        )
        case = case._replace(truth=None)  # nobody knows it
    else:
        observed, held_out = observe(arguments.case, arguments.shots, noise, generator)
    arguments.out.mkdir(parents=True, exist_ok=True)
    for name in RESULTS:  # of an earlier run
        (arguments.out / name).unlink(missing_ok=True)
    for name, seen in (("observed", observed), ("held_out", held_out)):
        write_trajectories(arguments.out / f"{name}.csv", case, seen)
    if arguments.ends:
        observed, held_out, case = discover.ends(observed), discover.ends(held_out), case._replace(pieces=1)
    with SummaryWriter(arguments.out / "tensorboard" / time.strftime("%Y%m%d-%H%M%S")) as events:
        try:
            solve(case, observed, held_out, noise, generator, arguments.out, events, console)
        finally:
            events.flush()
    console.print(f"\nResults: {arguments.out}", soft_wrap=True)


def observe(name: str, shots: int, noise: float, generator: torch.Generator) -> tuple[Observed, Observed]:
    """Trajectories to learn from, and held-out ones. Of predators and prey, the time after is held out."""
    if name == "lotka-volterra":
        spans = ((0.0, lotka_volterra.OBSERVED), (lotka_volterra.OBSERVED, lotka_volterra.HELD_OUT))
        observed, held_out = (lotka_volterra.predators_and_prey(*span, noise, generator) for span in spans)
    else:
        shoot = {"drag": discover.observe_flights, "gravity": discover.observe_throws}[name]
        counts = (shots, max(1, shots // 2))
        observed, held_out = (shoot(discover.draw(count, generator), noise, generator) for count in counts)
    return observed, held_out


def solve(
    case: Case, observed: Observed, held_out: Observed, noise: float, generator: torch.Generator, out: Path,
    events: SummaryWriter, console: Console,
) -> None:  # fmt: skip
    """Learns the term, turns it into an equation, and writes and shows both."""
    from alphazero.report.position_figures import pixels, png  # matplotlib takes its time to load

    def save(name: str, figure: Figure) -> None:
        (out / f"{name}.png").write_bytes(png(figure))
        events.add_image(name, pixels(figure), dataformats="HWC")

    batch, moments = observed.times.shape
    seen = f"{batch} trajectories of {moments} moments, {noise:.2%} noise"
    console.print(f"{case.name}: {seen}; {len(held_out.times)} held out")
    started = time.perf_counter()
    with progress_bar(console, "the network learns") as show:

        def report(made: Progress) -> None:
            events.add_scalar("network/residual", made.residual, made.step)
            show(f"the network learns: residual {made.residual:9.4g} σ", made.step, made.steps)

        learned = learn(
            case.incomplete, observed, generator=generator, pieces=case.pieces, report=report, **thoroughness(noise)
        )
        console.print(f"network: residual {learned.fit.residual:.3g} σ after {time.perf_counter() - started:.0f} s")
        try:
            recovered = recover(
                case.incomplete, case.library, learned, observed, held_out, generator=generator, report=show
            )
        except PoorFitError as error:
            console.print(path_table(case, error.path, None))
            save("trajectories", figures.trajectories(case, held_out, learned.term, None))
            save("term", figures.term(case, held_out, learned.term, None))
            if error.path:
                save("sparsity", figures.sparsity(error.path))
            raise
    best = recovered.best.equation
    results = summary(case, learned, recovered, time.perf_counter() - started)
    if case.name == "lotka-volterra" and case.truth:
        start = learned.fit.starts[:1]
        found = lotka_volterra.extrapolate(best.term, start)
        results["extrapolation"] = {**found.errors(), "start": start[0].tolist()}
        save("extrapolation", figures.extrapolation(case, found))
    (out / "results.json").write_text(json.dumps(results, indent=2) + "\n")
    (out / "formula.tex").write_text(best.formula(case.symbol) + "\n")
    save("trajectories", figures.trajectories(case, held_out, learned.term, best.term))
    save("term", figures.term(case, held_out, learned.term, best.term))
    save("sparsity", figures.sparsity(recovered.path, network=recovered.network))
    save("formula", figures.formula(case, recovered))
    events.add_text("formula", f"${best.formula(case.symbol)}$")
    console.print(path_table(case, recovered.path, recovered.best))
    console.print(coefficient_table(best, recovered.shares))
    if min(recovered.shares) < CERTAIN:
        said = "Not certain: other data of this kind might lead to other terms. Observe more shots, or with less noise."
        console.print(said, soft_wrap=True)
    direct = recovered.direct
    said = direct.text(case.symbol) if direct else "nothing: too few states were observed, or not at even times"
    console.print(f"straight from the data, without the network: {said}", soft_wrap=not console.is_terminal)
    if far := results.get("extrapolation"):
        said = f"off by {far['of_norm']:.2%} of the norm, nowhere by more than {far['worst']:.2%}"
        console.print(f"followed to t = {lotka_volterra.LONG:g}: {said}")
    console.print(f"in all {results['seconds']:.0f} s")


def summary(case: Case, learned: Learned, recovered: Recovered, seconds: float) -> dict[str, Any]:
    """For results.json. Residuals are in standard deviations of the noise."""

    def equation(of: Equation) -> list[dict[str, object]]:
        rows = zip(of.candidates, of.coefficients.tolist(), of.deviations.tolist(), strict=True)
        return [{"term": one.name, "coefficient": value, "standard_error": error} for one, value, error in rows]

    return {
        "case": case.name,
        "formula": recovered.best.equation.formula(case.symbol),
        "equation": equation(recovered.best.equation),
        "shares": recovered.shares,
        "held_out_residual": recovered.best.held_out,
        "network": {"residual": learned.fit.residual, "held_out_residual": recovered.network},
        "path": [
            {"equation": equation(one.equation), "residual": one.residual, "held_out_residual": one.held_out,
             "criterion": one.criterion}
            for one in recovered.path
        ],
        "direct": equation(recovered.direct) if recovered.direct else None,
        "seconds": seconds,
    }  # fmt: skip


def path_table(case: Case, path: tuple[Choice, ...], best: Choice | None) -> Table:
    made = make_table("", ["equation"], ["residual σ", "held out σ", "criterion"])
    for choice in path:
        mark = " (taken)" if choice is best else ""
        numbers = (f"{choice.residual:.4g}", f"{choice.held_out:.4g}", f"{choice.criterion:.6g}")
        made.add_row(choice.equation.text(case.symbol) + mark, *numbers)
    return made


def coefficient_table(equation: Equation, shares: tuple[float, ...]) -> Table:
    made = make_table("", ["term"], ["coefficient", "standard error", "in resamples"])
    values = zip(equation.candidates, equation.coefficients.tolist(), equation.deviations.tolist(), shares, strict=True)
    for candidate, value, error, share in values:
        made.add_row(plain(candidate.name), f"{value:.7g}", f"{error:.1g}", f"{share:.0%}")
    return made


if __name__ == "__main__":
    sys.exit(main())
