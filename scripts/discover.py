"""Finds what a model of motion lacks, from observations: a network learns the term, and an equation is made of that.

    scripts/discover.py drag             how the air slows the projectile, from films of flights
    scripts/discover.py gravity          gravity's torque on the trebuchet's arm, from films of throws
    scripts/discover.py lotka-volterra   how hunters and prey meet, from 31 counts (Rackauckas et al. 2020)

The results go to a folder (--out): results.json, formula.tex, pictures, what was observed (observed.csv and
held_out.csv), and tensorboard/. Files like the latter two can be learned from instead (--data and --held-out-data).
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import Any

# Before torch is loaded: one thread an operation is the fastest for batches of this size.
os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from matplotlib.figure import Figure
from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as ProgressBar
from rich.table import Table
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from alphazero.dynamics import figures
from alphazero.dynamics.equations import Candidate, Case, Choice, Equation, PoorFitError, Recovered, plain, recover
from alphazero.dynamics.ude import (
    DiscoveryError,
    Incomplete,
    Learned,
    Observed,
    Progress,
    check_observed,
    follow,
    learn,
    predict,
)
from alphazero.report.position_figures import pixels, png
from alphazero.report.terminal import make_table
from games.trebuchet import discover

SHOTS = 20
NOISE = {"drag": 0.01, "gravity": 0.0, "lotka-volterra": 0.005}
CERTAIN = 0.5  # share of resamples in which a term is met
RATES = (1.3, 0.9, 0.8, 1.8)  # of Lotka and Volterra: prey that are born, and eaten; hunters that eat, and die
COUNTS = (0.44249296, 4.6280594)  # of prey and of hunters, at first
PICTURES = ("trajectories", "term", "sparsity", "formula", "extrapolation")
RESULTS = ("results.json", "formula.tex", *(f"{name}.png" for name in PICTURES))
LONG = 20.0  # how far the recovered equation of Lotka and Volterra is followed


def main() -> int:
    arguments = parsed(sys.argv[1:])
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


def parsed(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("case", choices=NOISE)
    parser.add_argument("--shots", type=int, default=SHOTS, help="that are observed, and half as many held out (20)")
    parser.add_argument("--noise", type=float, help="as a part of the states (0.01; gravity: 0; hunters: 0.005)")
    parser.add_argument("--ends", action="store_true", help="drag: of a flight, only release and landing are observed")
    parser.add_argument("--data", type=Path, help="observed.csv of your own; --noise is then what you think it has")
    parser.add_argument("--held-out-data", type=Path, help="held_out.csv of your own")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="folder for the results (runs/discovered/CASE)")
    arguments = parser.parse_args(words)
    arguments.out = arguments.out or Path("runs/discovered") / arguments.case
    return arguments


def run(arguments: argparse.Namespace, console: Console) -> None:
    if not 0 <= arguments.seed < 1 << 62:
        raise ValueError(f"--seed is to be from 0 to 2^62, not {arguments.seed}")
    if arguments.shots < 2:
        raise ValueError(f"--shots: some are to be held out, so at least 2 are needed, not {arguments.shots}")
    if arguments.case == "lotka-volterra" and arguments.shots != SHOTS:
        raise ValueError("--shots is for the trebuchet: of hunters and prey there is one trajectory")
    if arguments.ends and arguments.case != "drag":
        raise ValueError("--ends is for drag: a throw is seen as a whole")
    if (arguments.data is None) != (arguments.held_out_data is None):
        raise ValueError("--data and --held-out-data go together: what is learned is tested on others")
    generator = torch.Generator().manual_seed(arguments.seed)
    noise = NOISE[arguments.case] if arguments.noise is None else arguments.noise
    case = CASES[arguments.case]()
    if arguments.data:
        observed, held_out = (read(path, case, noise) for path in (arguments.data, arguments.held_out_data))
        case = case._replace(truth=None)  # of one's own observations nobody knows that
    else:
        observed, held_out = observe(arguments.case, arguments.shots, noise, generator)
    arguments.out.mkdir(parents=True, exist_ok=True)
    for name in RESULTS:  # of an earlier run
        (arguments.out / name).unlink(missing_ok=True)
    for name, seen in (("observed", observed), ("held_out", held_out)):
        write(arguments.out / f"{name}.csv", case, seen)
    if arguments.ends:
        observed, held_out, case = discover.ends(observed), discover.ends(held_out), case._replace(pieces=1)
    with SummaryWriter(arguments.out / "tensorboard" / time.strftime("%Y%m%d-%H%M%S")) as events:
        try:
            solve(case, observed, held_out, noise, generator, arguments.out, events, console)
        finally:
            events.flush()
    console.print(f"\nResults: {arguments.out}", soft_wrap=True)


def solve(
    case: Case, observed: Observed, held_out: Observed, noise: float, generator: torch.Generator, out: Path,
    events: SummaryWriter, console: Console,
) -> None:  # fmt: skip
    """Learns the term, makes an equation of it, and writes down and shows both."""

    def save(name: str, figure: Figure) -> None:
        (out / f"{name}.png").write_bytes(png(figure))
        events.add_image(name, pixels(figure), dataformats="HWC")

    batch, moments = observed.times.shape
    seen = f"{batch} trajectories of {moments} moments, {noise:.2%} noise"
    console.print(f"{case.name}: {seen}; {len(held_out.times)} held out")
    started = time.perf_counter()
    with progress_bar(console) as (show, say):

        def report(made: Progress) -> None:
            events.add_scalar("network/residual", made.residual, made.step)
            show(made)

        learned = learn(
            case.incomplete, observed, generator=generator, pieces=case.pieces, report=report, **thoroughness(noise)
        )
        console.print(f"network: residual {learned.fit.residual:.3g} σ after {time.perf_counter() - started:.0f} s")
        try:
            recovered = recover(
                case.incomplete, case.library, learned, observed, held_out, generator=generator, report=say
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
        results["extrapolation"], figure = extrapolate(case, best, learned)
        save("extrapolation", figure)
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
        said = "Not certain: other data of this kind might have led to other terms. Observe more shots, or better."
        console.print(said, soft_wrap=True)
    direct = "nothing: too few states were observed, or unevenly"
    if recovered.direct:
        direct = recovered.direct.text(case.symbol)
    console.print(f"straight from the data, without the network: {direct}", soft_wrap=True)
    if case.name == "lotka-volterra" and case.truth:
        far = results["extrapolation"]
        said = f"off by {far['of_norm']:.2%} of the norm, nowhere by more than {far['worst']:.2%}"
        console.print(f"followed to t = {LONG:g}: {said}")
    console.print(f"in all {results['seconds']:.0f} s")


def thoroughness(noise: float) -> dict[str, Any]:
    """Exact data decide by themselves what the network becomes, and take longer to be exhausted."""
    return {"prior": 1.0, "steps": 40} if noise > 0 else {"prior": 10.0, "steps": 100}


@contextmanager
def progress_bar(console: Console) -> Iterator[tuple[Callable[[Progress], None], Callable[[str], None]]]:
    """Two functions that show how far the network is, and what is done afterwards."""
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with ProgressBar(*columns, console=console, transient=True) as bar:
        task = bar.add_task("the network learns", total=None)

        def show(made: Progress) -> None:
            description = f"the network learns: residual {made.residual:9.4g} σ"
            bar.update(task, completed=made.step, total=made.steps, description=description)

        yield show, lambda said: bar.update(task, description=said, total=None)


def summary(case: Case, learned: Learned, recovered: Recovered, seconds: float) -> dict[str, object]:
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


# --- What is observed


def observe(name: str, shots: int, noise: float, generator: torch.Generator) -> tuple[Observed, Observed]:
    """To learn from, and held out. Hunters and prey are one trajectory, and the time after it is held out."""
    if name == "lotka-volterra":
        return hunters(0.0, 3.0, noise, generator), hunters(3.0, 6.0, noise, generator)
    film = {"drag": discover.film_flights, "gravity": discover.film_throws}[name]
    counts = (shots, max(1, shots // 2))
    observed, held_out = (film(discover.draw(count, generator), noise, generator) for count in counts)
    return observed, held_out


def lotka_volterra() -> Case:
    """Counts of prey x and hunters y; how both change when they meet is unknown.

    The candidates are those of the paper's example: all monomials up to the fifth degree, and sines.
    """

    def rates(value: Tensor, y: Tensor, given: Tensor) -> Tensor:
        return torch.stack([RATES[0] * y[0] + value[0], -RATES[3] * y[1] + value[1]])

    def powers(x: int, y: int) -> str:
        parts = [f"{name}^{power}" if power > 1 else name for name, power in (("x", x), ("y", y)) if power]
        return " ".join(parts) or "1"

    functions: list[tuple[str, Callable[[Tensor], Tensor]]] = [
        (powers(x, degree - x), lambda y, x=x, degree=degree: y[0] ** x * y[1] ** (degree - x))
        for degree in range(6)
        for x in range(degree, -1, -1)
    ]
    functions += [(r"\sin x", lambda y: y[0].sin()), (r"\sin y", lambda y: y[1].sin())]

    def candidate(name: str, function: Callable[[Tensor], Tensor], place: int) -> Candidate:
        axis = torch.eye(2, dtype=torch.float64)[:, place, None]
        return Candidate(rf"{name}\,\vec e_{'xy'[place]}", lambda y: axis * function(y))

    library = tuple(candidate(name, function, place) for place in (0, 1) for name, function in functions)
    return Case(
        name="lotka-volterra",
        symbol=r"\vec f",
        unit="1/s",
        states=("x", "y"),
        given=(),
        incomplete=Incomplete(lambda y, given: y, rates, outputs=2, scale=5.0),
        library=library,
        pieces=5,
        truth=lambda y: torch.stack([-RATES[1] * y[0] * y[1], RATES[2] * y[0] * y[1]]),
    )


def hunters(start: float, end: float, noise: float, generator: torch.Generator) -> Observed:
    """Ten counts a unit of time, with errors as a part of each one's mean, as in the paper."""
    times = torch.linspace(0, end, round(10 * end) + 1, dtype=torch.float64)
    states = true_counts(times)
    states, times = states[times >= start - 1e-9], times[times >= start - 1e-9]
    deviation = (noise * states.mean(0)).expand_as(states)
    error = torch.randn(states.shape, generator=generator, dtype=torch.float64)
    nothing = torch.zeros(1, 0, dtype=torch.float64)
    return Observed(times[None], (states + deviation * error)[None], nothing, deviation[None])


def true_counts(times: Tensor) -> Tensor:
    """Of prey and of hunters [T, 2] at times [T], the first of which is 0."""
    case, start = lotka_volterra(), torch.tensor(COUNTS, dtype=torch.float64)[:, None]
    assert case.truth is not None
    truth, of = case.truth, case.incomplete
    return follow(lambda y: of.rates(truth(y), y, y), start, times[None], substeps=50)[:, :, 0]


def extrapolate(case: Case, equation: Equation, learned: Learned) -> tuple[dict[str, Any], Figure]:
    """From the start that the network's fit has found: errors, as parts of the truth's norm and of its value."""
    times = torch.linspace(0, LONG, 401, dtype=torch.float64)
    nothing = torch.zeros(1, 0, dtype=torch.float64)
    long = Observed(times[None], torch.zeros(1, len(times), 2), nothing, torch.ones(1, len(times), 2))
    start, true = learned.fit.starts[:1], true_counts(times)
    found = predict(case.incomplete, equation.term, long, start, substeps=5)[0]
    figure = Figure(figsize=(8, 3.6), layout="constrained", facecolor="white")
    axes = figure.subplots()
    axes.axvspan(0, 3, color="#e3e7ea", label="observed")
    for name, colour, one, other in zip("xy", (figures.EQUATION, figures.NETWORK), true.T, found.T, strict=True):
        axes.plot(times, one, color=colour, alpha=0.4, linewidth=4, label=f"{name}, truth")
        axes.plot(times, other, "--", color=colour, label=f"{name}, equation")
    axes.set(xlabel="time, s", ylabel="count")
    axes.legend(frameon=False, ncols=3)
    off = (found - true).abs()
    measured = {"of_norm": (off.norm() / true.norm()).item(), "worst": (off / true).max().item()}
    return {**measured, "start": start[0].tolist()}, figure


CASES: dict[str, Callable[[], Case]] = {
    "drag": discover.drag,
    "gravity": discover.gravity,
    "lotka-volterra": lotka_volterra,
}


def write(path: Path, case: Case, observed: Observed) -> None:
    """A row for each moment. The last columns, what is given beside, are the same in all rows of a trajectory."""
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["trajectory", "time", *case.states, *case.given])
        for number, (times, states, beside) in enumerate(
            zip(observed.times.tolist(), observed.states.tolist(), observed.given.tolist(), strict=True)
        ):
            rows.writerows([number, moment, *state, *beside] for moment, state in zip(times, states, strict=True))


def read(path: Path, case: Case, noise: float) -> Observed:
    """What `write` has written, or somebody else. DiscoveryError if it is no such file."""
    with path.open(newline="") as file:
        header, *rows = list(csv.reader(file)) or [[]]
    expected = ["trajectory", "time", *case.states, *case.given]
    if header != expected:
        raise DiscoveryError(f"{path}: the columns are to be {'; '.join(expected)}, not {'; '.join(header)}")
    numbers = []
    for line, row in enumerate(rows, 2):
        try:
            numbers.append([float(value) for value in row])
        except ValueError as error:
            raise DiscoveryError(f"{path}, line {line}: {error}") from error
        if len(row) != len(header):
            raise DiscoveryError(f"{path}, line {line}: {len(row)} columns, not {len(header)}")
    groups = [torch.tensor(list(rows), dtype=torch.float64) for _, rows in groupby(numbers, key=lambda row: row[0])]
    lengths = {len(group) for group in groups}
    if len(lengths) != 1:
        raise DiscoveryError(f"{path}: every trajectory is to have as many moments, not {sorted(lengths)}")
    values = torch.stack(groups)
    last = 2 + len(case.states)
    states = values[:, :, 2:last]
    deviation = (noise * states.square().mean((0, 1)).sqrt()).expand_as(states)
    observed = Observed(values[:, :, 1], states, values[:, 0, last:], deviation)
    check_observed(observed)
    return observed


if __name__ == "__main__":
    sys.exit(main())
