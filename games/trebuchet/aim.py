"""Aiming: which angle and counterweight land the projectile on this target, in this wind?

`descend` goes down the squared miss step by step, as the talk does; `home_in` needs a handful of shots, from anywhere.
An `AimingNetwork` has learned all answers at once, and gives one without any shot. All use the simulator's gradient.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import safetensors
import safetensors.torch
import torch
from matplotlib.figure import Figure
from numba import njit
from numpy.typing import NDArray
from scipy.optimize import brentq
from torch import Tensor

from games.trebuchet.game import ANGLES, COUNTERWEIGHTS, FARTHEST, NEAREST, WINDS, farthest, truncated_normal
from games.trebuchet.physics import DEFAULT, POUND, shoot, shoot_with_gradient
from games.trebuchet.published import NoShotError, shoot_published


class Fired(NamedTuple):
    """A shot: its distance in m, and by how much that grows per degree and per unit of the counterweight."""

    distance: float
    by_angle: float
    by_counterweight: float


class Simulator(NamedTuple):
    """fire: of wind in m/s, angle in degrees, counterweight in `unit`. counterweights: the least and the most."""

    fire: Callable[[float, float, float], Fired]
    counterweights: tuple[float, float]
    unit: str


class Aimed(NamedTuple):
    """What a method found.

    angle: degrees. counterweight: in the simulator's unit. distance: m. miss: m, below 0 if the shot falls short.
    shots: how many it fired. hit: whether the miss is within what was tolerated. What `home_in` has not hit is out of
    reach, and distance is then the nearest to the target that can be reached.
    """

    angle: float
    counterweight: float
    distance: float
    miss: float
    shots: int
    hit: bool


def fire(wind: float, angle: float, counterweight: float) -> Fired:
    shot, gradient = shoot_with_gradient(wind, angle, counterweight)
    return Fired(shot.distance, gradient.angle, gradient.counterweight)


def fire_published(wind: float, angle: float, pounds: float) -> Fired:
    """A counterweight that is too light does not throw."""
    aim = [torch.tensor(value, dtype=torch.float64, requires_grad=True) for value in (angle, pounds)]
    try:
        distance = shoot_published(wind, *aim)
    except NoShotError:
        return Fired(0.0, 0.0, 0.0)
    by_angle, by_pound = torch.autograd.grad(distance, aim)
    return Fired(distance.item(), by_angle.item(), by_pound.item())


PHYSICS = Simulator(fire, COUNTERWEIGHTS, "kg")
PUBLISHED = Simulator(fire_published, (COUNTERWEIGHTS[0] / POUND, COUNTERWEIGHTS[1] / POUND), "lb")
START = (55.0, 220 * POUND)  # degrees and kg: the talk's


# --- One target


def descend(
    wind: float,
    target: float,
    *,
    start: tuple[float, float] = START,
    rate: float = 0.1,
    steps: int = 10,
    tolerance: float = 0.0,
    simulator: Simulator = PHYSICS,
) -> Aimed:
    """Gradient descent on (distance - target)^2 in degrees and kg, until the miss is tolerated, or so many steps.

    The talk ("The impact of differentiable programming") takes 10 steps of 0.1, from 55 degrees and 220 lb. Where its
    rate is too high for the slope, so that a step would make the miss larger, the step is a failure and the rate is
    halved from there on. Out of reach it creeps towards the best shot. ValueError as `home_in`.
    """
    setting = _checked(wind, target, start, simulator)
    fired, shots = simulator.fire(wind, *setting), 1
    for _ in range(steps):
        miss = fired.distance - target
        if abs(miss) <= tolerance:
            break
        moved = _clipped(
            setting[0] - rate * 2 * miss * fired.by_angle,
            setting[1] - rate * 2 * miss * fired.by_counterweight,
            simulator,
        )
        tried, shots = simulator.fire(wind, *moved), shots + 1
        if abs(tried.distance - target) < abs(miss):
            setting, fired = moved, tried
        else:
            rate /= 2
    return _aimed(setting, fired.distance, target, shots, tolerance)


def home_in(
    wind: float,
    target: float,
    *,
    start: tuple[float, float] = START,
    tolerance: float = 1e-6,
    simulator: Simulator = PHYSICS,
) -> Aimed:
    """Hits every target within reach, with Gauss and Newton's method; the steps are the shortest within the bounds.

    Where that gets stuck, the target is looked for between the nearest and the farthest shot, on a straight line, on
    which it has to be if it is within reach at all. If not, the one or the other is the answer.

    ValueError for a wind or a target that is no finite number, a start out of bounds, a tolerance of 0 or less.
    """
    setting = _checked(wind, target, start, simulator)
    if not tolerance > 0:
        raise ValueError(f"the tolerance is to be above 0, not {tolerance}")
    fired, shots = simulator.fire(wind, *setting), 1
    part = 1.0
    while abs(fired.distance - target) > tolerance and part > 1e-3:
        step = _shortest_step(setting, fired, target, simulator)
        moved = _clipped(setting[0] + part * step[0], setting[1] + part * step[1], simulator)
        tried, shots = simulator.fire(wind, *moved), shots + 1
        # A fraction of the step makes the miss that much smaller if the distance is about linear (Armijo's rule).
        if abs(tried.distance - target) <= (1 - part / 10) * abs(fired.distance - target):
            setting, fired, part = moved, tried, 1.0
        else:
            part /= 2
    if abs(fired.distance - target) <= tolerance:
        return _aimed(setting, fired.distance, target, shots, tolerance)
    found = _between_extremes(wind, target, tolerance, simulator)
    return found._replace(shots=shots + found.shots)


def _shortest_step(
    setting: tuple[float, float], fired: Fired, target: float, simulator: Simulator
) -> tuple[float, float]:
    """The least change of angle and counterweight, in parts of what each can be, that should hit; within bounds."""
    bounds = (ANGLES, simulator.counterweights)
    slopes = [slope * (high - low) for slope, (low, high) in zip(fired[1:], bounds, strict=True)]
    places = [(value - low) / (high - low) for value, (low, high) in zip(setting, bounds, strict=True)]
    step, free, missing = [0.0, 0.0], [0, 1], target - fired.distance
    while free:
        steepness = sum(slopes[i] ** 2 for i in free)
        if steepness == 0:
            break
        wanted = {i: missing * slopes[i] / steepness for i in free}
        beyond = [i for i in free if not 0 <= places[i] + wanted[i] <= 1]
        for i in beyond or free:
            step[i] = min(max(wanted[i], -places[i]), 1 - places[i])
        if not beyond:
            break
        missing -= sum(slopes[i] * step[i] for i in beyond)
        free = [i for i in free if i not in beyond]
    angle, counterweight = (part * (high - low) for part, (low, high) in zip(step, bounds, strict=True))
    return angle, counterweight


def _between_extremes(wind: float, target: float, tolerance: float, simulator: Simulator) -> Aimed:
    """The farthest shot is one of the heaviest counterweight; the nearest is in a corner."""
    shots = 0

    def count(angle: float, counterweight: float) -> Fired:
        nonlocal shots
        shots += 1
        return simulator.fire(wind, angle, counterweight)

    light, heavy = simulator.counterweights
    far = (brentq(lambda angle: count(angle, heavy).by_angle, *ANGLES, xtol=1e-9), heavy)
    corners = [(angle, counterweight) for angle in ANGLES for counterweight in (light, heavy)]
    near = min(corners, key=lambda corner: count(*corner).distance)

    def miss(part: float) -> float:
        return count(*between(part)).distance - target

    def between(part: float) -> tuple[float, float]:
        return near[0] + part * (far[0] - near[0]), near[1] + part * (far[1] - near[1])

    if miss(0.0) >= 0:
        setting = near
    elif miss(1.0) <= 0:
        setting = far
    else:
        setting = between(brentq(miss, 0.0, 1.0, xtol=1e-13))
    distance = count(*setting).distance
    return _aimed(setting, distance, target, shots, tolerance)


def _checked(wind: float, target: float, start: tuple[float, float], simulator: Simulator) -> tuple[float, float]:
    for name, value, unit in (("wind", wind, "m/s"), ("target", target, "m")):
        if not math.isfinite(value):
            raise ValueError(f"the {name} is to be a finite number of {unit}, not {value}")
    named = (
        ("angle", "degrees", ANGLES, start[0]),
        ("counterweight", simulator.unit, simulator.counterweights, start[1]),
    )
    for name, unit, (low, high), value in named:
        if not low <= value <= high:
            raise ValueError(f"the {name} is to be from {low:.4g} to {high:.4g} {unit}, not {value}")
    return start


def _clipped(angle: float, counterweight: float, simulator: Simulator) -> tuple[float, float]:
    light, heavy = simulator.counterweights
    return min(max(angle, ANGLES[0]), ANGLES[1]), min(max(counterweight, light), heavy)


def _aimed(setting: tuple[float, float], distance: float, target: float, shots: int, tolerance: float) -> Aimed:
    miss = distance - target
    return Aimed(*setting, distance, miss, shots, abs(miss) <= tolerance)


# --- All targets: a network

WIDTH = 24  # of both hidden layers
SHAPES = ((2, WIDTH), (WIDTH,), (WIDTH, WIDTH), (WIDTH,), (WIDTH, 2), (2,))
PARAMETERS = sum(math.prod(shape) for shape in SHAPES)
ROUNDS = ((300, 20), (1500, 28))  # samples, and steps with them: far off, few samples show the way
FORMAT = "aiming network 1"


class Errors(NamedTuple):
    """Standard deviations: of what is known of wind (m/s) and target (m), and of what is set (degrees and kg)."""

    wind: float = 0.0
    target: float = 0.0
    angle: float = 0.0
    counterweight: float = 0.0


NO_ERRORS = Errors()
FIELD = Errors(wind=0.5, target=0.5, angle=1.0, counterweight=1.0)  # of a crew with a flag and a tape measure


class Progress(NamedTuple):
    """Of training: steps done, of how many; the median miss of the samples, in m; and shots that were fired."""

    step: int
    steps: int
    miss: float
    shots: int


class AimingError(Exception):
    """A file that is no aiming network; the message names it and the fix."""


@dataclass(frozen=True)
class AimingNetwork:
    """parameters: [PARAMETERS] float64, of three layers one after the other, each weights, then biases.

    Wind and target go in, each from -1 to 1, through two layers of tanh; angle and counterweight come out through the
    logistic function, as parts of what they can be.
    """

    parameters: NDArray[np.float64]

    def aim(self, wind: float, target: float) -> tuple[float, float]:
        """Angle in degrees and counterweight in kg. Compiled: about 2 microseconds."""
        angle, counterweight = _aim(self.parameters, wind, target)
        return angle, counterweight

    def aims(self, wind: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """The same for B winds and targets, [B] float64 each; can be differentiated by them."""
        angle, counterweight = _settings(torch.from_numpy(self.parameters), wind, target).unbind(-1)
        return angle, counterweight

    def save(self, path: Path) -> None:
        """OSError if it cannot be written."""
        content = safetensors.torch.save({"parameters": torch.from_numpy(self.parameters)}, {"format": FORMAT})
        unfinished = path.with_name(f".unfinished.{path.name}")
        try:
            unfinished.write_bytes(content)
            unfinished.replace(path)
        finally:
            unfinished.unlink(missing_ok=True)

    @classmethod
    def load(cls, path: Path) -> AimingNetwork:
        """AimingError if that is another file, or only a part of one."""
        again = "train it anew (scripts/aim.py does if there is none)"
        try:
            with safetensors.safe_open(path, "pt") as file:
                found = (file.metadata() or {}).get("format")
                parameters = file.get_tensor("parameters") if found == FORMAT else None
        except OSError as error:
            raise AimingError(f"{path} cannot be read: {error.strerror or error}; {again}") from error
        except safetensors.SafetensorError as error:
            raise AimingError(f"{path} is no aiming network, or was cut short ({error}); {again}") from error
        if parameters is None:
            raise AimingError(f"{path} is no aiming network: its format is {found!r}, not {FORMAT!r}; {again}")
        if parameters.shape != (PARAMETERS,) or parameters.dtype != torch.float64 or not parameters.isfinite().all():
            raise AimingError(f"{path} is damaged: its parameters are not {PARAMETERS} finite numbers; {again}")
        return cls(parameters.numpy())


@njit(nogil=True, cache=True)
def _aim(parameters: NDArray[np.float64], wind: float, target: float) -> tuple[float, float]:
    hidden, again = np.empty(WIDTH), np.empty(WIDTH)
    x, y = wind / WINDS, (2 * target - NEAREST - FARTHEST) / (FARTHEST - NEAREST)
    for i in range(WIDTH):
        hidden[i] = math.tanh(x * parameters[i] + y * parameters[WIDTH + i] + parameters[2 * WIDTH + i])
    at = 3 * WIDTH
    again[:] = parameters[at + WIDTH * WIDTH : at + WIDTH * WIDTH + WIDTH]
    for i in range(WIDTH):
        for j in range(WIDTH):
            again[j] += hidden[i] * parameters[at + i * WIDTH + j]
    at += WIDTH * WIDTH + WIDTH
    angle, counterweight = parameters[at + 2 * WIDTH], parameters[at + 2 * WIDTH + 1]
    for i in range(WIDTH):
        value = math.tanh(again[i])
        angle += value * parameters[at + 2 * i]
        counterweight += value * parameters[at + 2 * i + 1]
    return (
        ANGLES[0] + (ANGLES[1] - ANGLES[0]) / (1 + math.exp(-angle)),
        COUNTERWEIGHTS[0] + (COUNTERWEIGHTS[1] - COUNTERWEIGHTS[0]) / (1 + math.exp(-counterweight)),
    )


def layers(parameters: Tensor) -> list[Tensor]:
    """Weights and biases of the three layers, of the shapes SHAPES."""
    parts = parameters.split([math.prod(shape) for shape in SHAPES])
    return [part.view(shape) for part, shape in zip(parts, SHAPES, strict=True)]


def _settings(parameters: Tensor, wind: Tensor, target: Tensor) -> Tensor:
    """[..., 2], angles and counterweights; wind and target: [...]."""
    first, first_bias, second, second_bias, third, third_bias = layers(parameters)
    seen = torch.stack([wind / WINDS, (2 * target - NEAREST - FARTHEST) / (FARTHEST - NEAREST)], -1)
    parts = torch.sigmoid(((seen @ first + first_bias).tanh() @ second + second_bias).tanh() @ third + third_bias)
    low, high = torch.tensor([ANGLES, COUNTERWEIGHTS], dtype=torch.float64).unbind(1)
    return low + (high - low) * parts


# By the parameters, of B samples at once: [B, PARAMETERS], of the settings weighted with `slopes` [B, 2].
_by_parameters = torch.func.vmap(
    torch.func.grad(lambda parameters, wind, target, slopes: (_settings(parameters, wind, target) * slopes).sum()),
    in_dims=(None, 0, 0, 0),
)


class Samples(NamedTuple):
    """B shots: the true wind and target; what of them is known; and by what the setting is off, [B, 2]."""

    wind: Tensor
    target: Tensor
    seen_wind: Tensor
    seen_target: Tensor
    off: Tensor


def draw(count: int, generator: torch.Generator, errors: Errors = NO_ERRORS) -> Samples:
    """Winds of the truncated normal distribution; targets, uniform from 20 to 100 m or to as far as it throws."""
    share = torch.rand(2, count, generator=generator, dtype=torch.float64)
    wind = truncated_normal(share[0])
    target = NEAREST + (farthest(wind, DEFAULT).clamp(max=FARTHEST) - NEAREST) * share[1]
    error = torch.randn(count, 4, generator=generator, dtype=torch.float64) * torch.tensor(errors, dtype=torch.float64)
    return Samples(wind, target, wind + error[:, 0], target + error[:, 1], error[:, 2:])


def misses(parameters: Tensor, samples: Samples) -> tuple[Tensor, Tensor]:
    """[B] m, and by what they change with angle and counterweight, [B, 2]."""
    setting = (_settings(parameters, samples.seen_wind, samples.seen_target) + samples.off).detach()
    # What is set by mistake has no bounds but the trebuchet's own.
    angle, counterweight = setting[:, 0].clamp(-90, 90), setting[:, 1].clamp(min=1.0)
    angle, counterweight = angle.requires_grad_(), counterweight.requires_grad_()
    distance = shoot(samples.wind, angle, counterweight).distance
    slopes = torch.autograd.grad(distance.sum(), (angle, counterweight))
    return distance.detach() - samples.target, torch.stack(slopes, 1)


def train(
    *,
    seed: int = 0,
    errors: Errors = NO_ERRORS,
    rounds: tuple[tuple[int, int], ...] = ROUNDS,
    report: Callable[[Progress], object] = lambda progress: None,
) -> AimingNetwork:
    """Learns from its own misses, through the simulator; there are no labels. The same seed, the same network.

    Least squares of the misses by the method of Levenberg and Marquardt (Marquardt 1963): the simulator's gradient
    times the network's makes one row of the Jacobian for each shot, and there are few enough parameters to solve for
    all of them. `errors` are drawn for the samples: then it looks for settings where they matter less.
    """
    generator = torch.Generator().manual_seed(seed)
    parts = []
    for shape in SHAPES:
        spread = 0.3 if len(shape) == 1 else shape[0] ** -0.5
        parts.append(spread * torch.randn(math.prod(shape), generator=generator, dtype=torch.float64))
    # It starts with about 65 degrees. From flat shots some seeds get stuck: with the wind, near targets are hit by
    # steep shots only, and the way there leads over the farthest.
    parts[-1] = torch.tensor([1.0, 0.0], dtype=torch.float64)
    parameters, damping, step, shots = torch.cat(parts), 1.0, 0, 0
    identity = torch.eye(PARAMETERS, dtype=torch.float64)
    steps = sum(count for _, count in rounds)
    for size, count in rounds:
        samples = draw(size, generator, errors)
        miss, slopes = misses(parameters, samples)
        shots += size
        for _ in range(count):
            jacobian = _by_parameters(parameters, samples.seen_wind, samples.seen_target, slopes)
            normal, down = jacobian.T @ jacobian, (jacobian.T @ miss)[:, None]
            for _ in range(6):
                change = torch.cholesky_solve(down, torch.linalg.cholesky(normal + damping * identity))[:, 0]
                tried = misses(parameters - change, samples)
                shots += size
                if tried[0].square().sum() < miss.square().sum():
                    parameters, (miss, slopes), damping = parameters - change, tried, max(damping / 4, 1e-9)
                    break
                damping *= 5
            step += 1
            report(Progress(step, steps, miss.abs().median().item(), shots))
    return AimingNetwork(parameters.numpy())


class Accuracy(NamedTuple):
    """Of misses, in m: their median, and what 95 % of them are below."""

    median: float
    most: float

    def __str__(self) -> str:
        return f"median {self.median:.3f} m, 95 % below {self.most:.3f} m"


def measure(
    network: AimingNetwork, *, count: int = 1000, seed: int = 1 << 40, errors: Errors = NO_ERRORS
) -> tuple[Accuracy, Tensor]:
    """Its accuracy on `count` shots that it has not seen in training; and their misses [count], in m."""
    samples = draw(count, torch.Generator().manual_seed(seed), errors)
    miss, _ = misses(torch.from_numpy(network.parameters), samples)
    return Accuracy(*miss.abs().quantile(torch.tensor([0.5, 0.95], dtype=torch.float64)).tolist()), miss


def histogram(miss: Tensor, *, title: str = "") -> Figure:
    """Of misses [B] in m; the worst 2 % are shown at the edges."""
    figure = Figure(figsize=(7, 4), layout="constrained", facecolor="white")
    axes = figure.subplots()
    edge = 100 * max(miss.abs().quantile(0.98).item(), 1e-6)
    axes.hist((100 * miss).clamp(-edge, edge).numpy(), bins=60, color="tab:blue")
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set(xlabel="miss, cm (short | long)", ylabel="shots", title=title, xlim=(-edge, edge))
    return figure
