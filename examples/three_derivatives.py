"""Three derivatives of one simulator, each in a few lines: what it means that a program can be differentiated.

    examples/three_derivatives.py [--out FOLDER]

1. By the controls: which angle and counterweight hit this target? Down the gradient of the squared miss.
2. By a network that sets the controls: which network hits any target in any wind? Up through simulator and network.
3. By a part of the simulator itself: which law of drag explains these flights? Through the solver to the law.

After "The impact of differentiable programming" (Julia); here all three take half a minute, and draw a figure each.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from alphazero.shell import cli

# isort: split
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from alphazero.dynamics.ude import inputs_of, learn
from alphazero.report.position_figures import png
from games.trebuchet import shoot
from games.trebuchet.discover import drag, draw, observe_flights
from games.trebuchet.game import Aiming

SHOWN = (0, 1, 2, 4, 10)  # of ten steps, and where they start
BLUE, AMBER, GREY = "#2f6690", "#d98324", "#8a9299"


def by_the_controls(axes: Axes) -> str:
    """Ten steps of gradient descent, as in the talk."""
    wind, target = 5.0, 100.0
    controls = torch.tensor([55.0, 99.8], dtype=torch.float64)  # degrees, kg
    for step in range(11):
        controls.requires_grad_()
        distance = shoot(wind, *controls).distance
        (slope,) = torch.autograd.grad((distance - target) ** 2, controls)
        if step in SHOWN:
            with torch.no_grad():
                x, y = shoot(wind, *controls, trajectory=True).trajectory.projectile.T
            axes.plot(x, y, color=BLUE if step == SHOWN[-1] else GREY, alpha=0.2 + 0.08 * step, zorder=step)
        controls = (controls - 0.1 * slope).detach()
    axes.plot([target], [y[-1]], "v", color=AMBER, markersize=9)
    axes.set(xlabel="m", ylabel="m", title="by the controls: ten steps to a target", aspect="equal")
    return f"1. by the controls: {distance.item():.3f} m, at {target:g} m was the target"


def by_a_network(axes: Axes) -> str:
    """A network that sees wind and target and sets the controls; there are no labels, only its misses."""
    game, generator = Aiming(), torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    network = torch.nn.Sequential(
        torch.nn.Linear(2, 32),
        torch.nn.Tanh(),
        torch.nn.Linear(32, 32),
        torch.nn.Tanh(),
        torch.nn.Linear(32, 2),
        torch.nn.Tanh(),
    )
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
    history = []
    for _ in range(600):
        states = game.initial(64, generator=generator)
        after = game.step(states, network(game.observe(states))).state
        miss = after.distance - states.target
        optimizer.zero_grad()
        torch.nn.functional.smooth_l1_loss(miss, torch.zeros_like(miss)).backward()
        optimizer.step()
        history.append(miss.detach().abs().median().item())
    axes.semilogy(history, color=BLUE)
    axes.set(xlabel="steps of 64 shots", ylabel="median miss, m", title="by a network: it learns to aim")
    return f"2. by a network: after {len(history)} steps a median miss of {sum(history[-20:]) / 20:.2f} m"


def by_a_part_of_the_simulator(axes: Axes) -> str:
    """A network in place of the drag; it is fitted to the trajectories of ten flights, with 1 % noise."""
    case, generator = drag(), torch.Generator().manual_seed(0)
    flights = observe_flights(draw(10, generator), 0.01, generator)
    learned = learn(case.incomplete, flights, generator=generator, prior=1.0, pieces=case.pieces, steps=40)
    others = observe_flights(draw(3, generator), 0.0, generator)
    velocity = inputs_of(case.incomplete, others.states, others)  # through the air
    speed, order = velocity.norm(dim=0).sort()
    for term, style, label in (
        (case.truth, "-", r"truth, $k\,v^2$"),
        (learned.term, ".", "learned, in three other flights"),
    ):
        axes.plot(speed, term(velocity).norm(dim=0)[order], style, color=GREY if style == "-" else BLUE, label=label)
    axes.set(xlabel="speed, m/s", ylabel="deceleration, m/s²", title="by a part of the simulator: its law of drag")
    axes.legend(frameon=False)
    return f"3. by a part of the simulator: flights explained to {learned.fit.residual:.2f} of their noise"


def main() -> int:
    return cli.run(run, stopped="Stopped; nothing was saved.")


def run() -> None:
    parser = cli.Parser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/discovered"), help="folder for three_derivatives.png")
    path = parser.parse_args().out / "three_derivatives.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    figure = Figure(figsize=(16, 4.2), layout="constrained", facecolor="white")
    examples = (by_the_controls, by_a_network, by_a_part_of_the_simulator)
    for axes, example in zip(figure.subplots(1, 3), examples, strict=True):
        print(example(axes), flush=True)
    path.write_bytes(png(figure))
    print(f"The figures: {path}")


if __name__ == "__main__":
    sys.exit(main())
