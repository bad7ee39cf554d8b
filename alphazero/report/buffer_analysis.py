"""Buffer analysis: the losses of a network on the replay buffer, as a whole and in parts.

The parts are those of AlphaZero.jl's reports (J. Laurent): all samples, the latest batch, and
classes by the turns that were left. Its loss has further parts, which ours lacks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

from alphazero.config import ReplayConfig
from alphazero.learner import Learner, value_loss
from alphazero.replay import Samples, distinct_positions, merged
from alphazero.report.colours import AMBER, BLUE, FAINT, GREEN, INK
from alphazero.report.position_figures import literal, new_figure, plain_axes

CLASSES = 5  # by turns left
MOST_MEASURED = 10_000  # samples of a part that the network evaluates
BATCH = 256


class Part(NamedTuple):
    """A part of the buffer, and means over its samples in nats.

    samples, positions: their numbers, the latter of distinct ones; None where the game has no `key`.
    measured:           number of samples that the network evaluated, drawn at random.
    total:              policy_loss + value_weight * value_loss, as the learner has it.
    target_entropy:     of the improved policies, below which no policy loss can be.
    network_entropy:    of the network's policy among legal actions.
    divergence:         KL(improved policy || network's policy), policy_loss - target_entropy; NaN where actions are
                        continuous: the one is then of a density, the other of the choice among sampled actions.
    error:              standard error of `total`, if not all samples were measured.
    """

    name: str
    samples: int
    positions: int | None
    measured: int
    policy_loss: float
    value_loss: float
    total: float
    target_entropy: float
    network_entropy: float
    divergence: float
    error: float


def analyse(learner: Learner, samples: Samples, config: ReplayConfig, *, seed: int = 0) -> list[Part]:
    """The averaged weights on all samples, the newest iteration's, and `CLASSES` classes by turns left, the most first.

    There are fewer classes if few numbers of turns are left, and none if there is one. With `config.merge` the
    positions of each part are merged as for learning.
    ValueError if there is no sample.
    """
    if samples.size == 0:
        raise ValueError("the replay buffer is empty; train a little longer")
    generator = torch.Generator().manual_seed(seed)
    newest = int(samples.iteration.max())
    parts = [("all samples", samples.iteration <= newest), (f"latest, iteration {newest}", samples.iteration == newest)]
    classes = ply_classes(samples.plies_left)
    for low, high in classes if len(classes) > 1 else ():
        turns = f"{low} turn" + "s" * (low > 1) if low == high else f"{low} to {high} turns"
        parts.append((f"{turns} left", (samples.plies_left >= low) & (samples.plies_left <= high)))
    return [_part(name, learner, samples.at(members), config, generator) for name, members in parts]


def ply_classes(plies_left: Tensor, *, classes: int = CLASSES) -> list[tuple[int, int]]:
    """The first and last number of turns left of each class, the most turns first.

    They are as equal in size as whole turns allow, so that all means are about equally precise.
    """
    ordered = np.sort(plies_left.numpy())
    last = -(-np.arange(1, classes + 1) * len(ordered) // classes) - 1
    highest = np.unique(ordered[last]).tolist()
    lowest = [int(ordered[0]), *(high + 1 for high in highest[:-1])]
    return list(zip(lowest, highest, strict=True))[::-1]


def _part(name: str, learner: Learner, samples: Samples, config: ReplayConfig, generator: torch.Generator) -> Part:
    learned = merged(samples, learner.game, config.merge)
    chosen = torch.randperm(learned.size, generator=generator)[:MOST_MEASURED]
    batches = [_measure(learner, learned.at(rows)) for rows in chosen.split(BATCH)]
    weight, policy, value, target_entropy, network_entropy = torch.cat(batches).unbind(1)
    total = policy + learner.config.value_weight * value

    def mean(measure: Tensor) -> float:
        return float((weight * measure).sum() / weight.sum())

    spread = mean((total - mean(total)).square()) ** 0.5
    missed = 1 - len(chosen) / learned.size  # nothing is unsure where all were measured
    divergence = policy - target_entropy if learner.game.discrete else torch.full_like(policy, math.nan)
    measures = (policy, value, total, target_entropy, network_entropy, divergence)
    error, positions = spread * (missed / len(chosen)) ** 0.5, distinct_positions(samples, learner.game)
    return Part._make((name, samples.size, positions, len(chosen), *map(mean, measures), error))


def _measure(learner: Learner, batch: Samples) -> Tensor:
    """[B, 5] float64: weight, policy loss, value loss, entropies of target and network."""
    network, game = learner.average.module.eval(), learner.game
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=learner.bfloat16):
        prediction = network(game.observe(batch.state).contiguous(memory_format=learner.layout))
    places = learner.policy.coordinates(batch.sampled)
    log_policy, entropy = learner.policy.log_policy(prediction.logits.double(), game.legal(batch.state), places)
    target = batch.policy.double()
    measures = (
        batch.weight.double(),
        -(target * log_policy).sum(-1),
        value_loss(prediction.value.double(), batch.value.double(), batch.drawn.double()),
        torch.special.entr(target).sum(-1),
        entropy,
    )
    return torch.stack(measures, -1)


def parts_figure(parts: Sequence[Part], *, title: str) -> Figure:
    """Losses, entropies and samples of the parts, a row each."""
    figure, (losses, entropies, counts), rows = _panels(parts, title, width_ratios=(1.5, 1, 1))
    columns = {name: np.array([getattr(part, name) for part in parts]) for name in Part._fields}
    target, network = columns["target_entropy"], columns["network_entropy"]

    pieces = (
        (target, "target's entropy", "#a9c1d3"),
        (columns["policy_loss"] - target, "policy: KL from the target", BLUE),
        (columns["total"] - columns["policy_loss"], "value", AMBER),
    )
    left = np.zeros(len(parts))
    for width, name, colour in pieces:
        bars = losses.barh(rows, width, 0.68, left=left, color=colour, label=name)
        left += width
    losses.bar_label(bars, [f" {total:.2f}" for total in columns["total"]], color=INK, fontsize=9)
    losses.set_xlim(0, 1.12 * columns["total"].max())

    entropies.hlines(rows, target, network, color=FAINT, lw=3, zorder=1)
    entropies.scatter(target, rows, 42, color=BLUE, label="the search's (target)", zorder=2, clip_on=False)
    entropies.scatter(network, rows, 42, color=GREEN, label="the network's", zorder=2, clip_on=False)
    entropies.set_xlim(0, 1.1 * max(target.max(), network.max(), 1e-9))

    _draw_sizes(counts, parts, rows)
    for axes, words in ((losses, "Loss, nats a sample"), (entropies, "Entropy of the policies, nats")):
        _caption(axes, words)
    return figure


def density_figure(parts: Sequence[Part], *, title: str) -> Figure:
    """The same where actions are continuous: the policy's loss is that of a density, which has no least value."""
    figure, (policy, value, counts), rows = _panels(parts, title, width_ratios=(1, 1, 1))
    for axes, name, colour in ((policy, "policy_loss", BLUE), (value, "value_loss", AMBER)):
        losses = np.array([getattr(part, name) for part in parts])
        bars = axes.barh(rows, losses, 0.68, color=colour)
        axes.bar_label(bars, [f" {loss:.3g} " for loss in losses], color=INK, fontsize=9)
        axes.margins(x=0.15)
        axes.axvline(0, color=INK, lw=0.8)
    _draw_sizes(counts, parts, rows)
    _caption(policy, "Policy loss (of a density), nats a sample")
    _caption(value, "Value loss, nats a sample")
    return figure


def _panels(
    parts: Sequence[Part], title: str, *, width_ratios: Sequence[float]
) -> tuple[Figure, Sequence[Axes], NDArray[np.float64]]:
    """Three panels with a row for each part, and the rows' heights: a gap sets the classes apart from the whole."""
    figure = new_figure(13, 1.9 + 0.42 * len(parts), w_pad=0.14, h_pad=0.08)
    panels = figure.subplots(1, 3, sharey=True, width_ratios=width_ratios)
    rows = np.array([float(row) + (0.5 if row > 1 else 0.0) for row in range(len(parts))])
    panels[0].set(yticks=rows, yticklabels=[part.name for part in parts], ylim=(rows[-1] + 0.55, -0.55))
    figure.suptitle(literal(title), x=0.01, ha="left", fontsize=13, fontweight="bold", color=INK)
    return figure, panels, rows


def _draw_sizes(axes: Axes, parts: Sequence[Part], rows: NDArray[np.float64]) -> None:
    scale, unit = (1e3, "thousand samples") if parts[0].samples >= 10_000 else (1, "samples")
    axes.barh(rows, [part.samples / scale for part in parts], 0.68, color="#a9c1d3", label="samples")
    positions = [part.positions for part in parts if part.positions is not None]
    if positions:
        axes.barh(rows, np.array(positions) / scale, 0.34, color=BLUE, label="distinct positions")
    _caption(axes, f"Size, {unit}")


def _caption(axes: Axes, words: str) -> None:
    """A title, and a legend under the panel if it has named parts."""
    axes.set_title(words, loc="left", fontsize=10.5, color=INK)
    plain_axes(axes, "x", labelsize=9.5)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(
            loc="upper left", bbox_to_anchor=(-0.02, -0.1), ncols=3, borderaxespad=0, frameon=False, fontsize=9,
            labelcolor=INK, handlelength=1.2, columnspacing=1.2,
        )  # fmt: skip
