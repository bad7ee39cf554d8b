"""Buffer analysis: the losses of a network on the replay buffer, as a whole and in parts.

The parts are those of AlphaZero.jl's reports (J. Laurent): all samples, the latest batch, and
classes by the turns that were left. Its loss has further parts, which ours lacks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from alphazero.config import ReplayConfig
from alphazero.learner import Learner, value_loss
from alphazero.replay import Samples, distinct_positions, merged
from alphazero.report.colours import AMBER, BLUE, FAINT, GREEN, INK
from alphazero.report.position_figures import new_figure, plain_axes

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
    divergence:         KL(improved policy || network's policy), policy_loss - target_entropy.
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

    With `config.merge` the positions of each part are merged as for learning.
    ValueError if there is no sample.
    """
    if samples.size == 0:
        raise ValueError("the replay buffer is empty; train a little longer")
    generator = torch.Generator().manual_seed(seed)
    newest = int(samples.iteration.max())
    parts = [("all samples", samples.iteration <= newest), (f"latest, iteration {newest}", samples.iteration == newest)]
    for low, high in ply_classes(samples.plies_left):
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
    measures = (policy, value, total, target_entropy, network_entropy, policy - target_entropy)
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
    figure = new_figure(13, 1.9 + 0.42 * len(parts), w_pad=0.14, h_pad=0.08)
    losses, entropies, counts = figure.subplots(1, 3, sharey=True, width_ratios=(1.5, 1, 1))
    # A gap sets the classes apart from the whole.
    rows = np.array([float(row) + (0.5 if row > 1 else 0.0) for row in range(len(parts))])
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

    scale, unit = (1e3, "thousand samples") if parts[0].samples >= 10_000 else (1, "samples")
    counts.barh(rows, columns["samples"] / scale, 0.68, color="#a9c1d3", label="samples")
    if parts[0].positions is not None:
        counts.barh(rows, columns["positions"] / scale, 0.34, color=BLUE, label="distinct positions")

    titles = "Loss, nats a sample", "Entropy of the policies, nats", f"Size, {unit}"
    for axes, words in zip((losses, entropies, counts), titles, strict=True):
        axes.set_title(words, loc="left", fontsize=10.5, color=INK)
        plain_axes(axes, "x", labelsize=9.5)
        axes.legend(
            loc="upper left", bbox_to_anchor=(-0.02, -0.1), ncols=3, borderaxespad=0, frameon=False, fontsize=9,
            labelcolor=INK, handlelength=1.2, columnspacing=1.2,
        )  # fmt: skip
    losses.set(yticks=rows, yticklabels=columns["name"], ylim=(rows[-1] + 0.55, -0.55))
    figure.suptitle(title, x=0.01, ha="left", fontsize=13, fontweight="bold", color=INK)
    return figure
