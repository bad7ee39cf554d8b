"""Buffer analysis against a plain loop over single samples, with scipy's entropies and Python's sets."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import entropy
from torch import nn

from alphazero.config import LearnerConfig, NetworkConfig, ReplayConfig, SearchConfig, SelfPlayConfig
from alphazero.game import concatenate
from alphazero.learner import Learner
from alphazero.mcts.evaluator import UniformEvaluator
from alphazero.replay import Samples
from alphazero.report import buffer_analysis
from alphazero.report.buffer_analysis import Part, analyse, density_figure, parts_figure, ply_classes
from alphazero.report.position_figures import png
from alphazero.selfplay import SelfPlay
from games.tic_tac_toe import TicTacToe
from tests.stubs import Drift

GAME = TicTacToe()
MEASURES = ("policy_loss", "value_loss", "total", "target_entropy", "network_entropy", "divergence")


@pytest.fixture(scope="module")
def samples() -> Samples:
    config = SelfPlayConfig(streams=1, parallel_games=16, moves=12, opening_moves=3)
    stream = SelfPlay(GAME, SearchConfig(simulations=8), config, seed=1, stream=0)
    return concatenate([stream.play(UniformEvaluator(GAME), iteration).samples for iteration in (5, 6)])


def learner(value_head: str = "wdl") -> Learner:
    network = NetworkConfig(blocks=1, width=8, head_channels=2, value_width=8, value_head=value_head)  # type: ignore[arg-type]
    trained = Learner(GAME, LearnerConfig(precision="float32", value_weight=0.5), network, seed=3)
    for norm in trained.average.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.running_mean.fill_(0.1)  # as no batch would have it
    return trained


def loop(trained: Learner, samples: Samples) -> list[dict[str, Any]]:
    """Analyses every sample by itself, in double precision and without a mask: over the legal actions alone."""
    network, rows = trained.average.module.eval(), []
    for i in range(samples.size):
        one = samples.at(slice(i, i + 1))
        legal = GAME.legal(one.state)[0]
        with torch.no_grad():
            prediction = network(GAME.observe(one.state))
        policy = prediction.logits[0, legal].double().softmax(0).numpy()
        target = one.policy[0, legal].double().numpy()
        value, drawn = float(one.value), float(one.drawn)
        outcome = prediction.value[0].double()
        if len(outcome) == 1:
            value_loss = (math.tanh(float(outcome)) - value) ** 2
        else:
            draw = 1 - abs(value) if drawn else 0.0
            win, loss = (1 - draw + value) / 2, (1 - draw - value) / 2
            chances = outcome.softmax(0).tolist()
            value_loss = -sum(p * math.log(q) for p, q in zip((win, draw, loss), chances, strict=True))
        cross_entropy = -sum(p * math.log(q) for p, q in zip(target, policy, strict=True))
        rows.append(
            {
                "position": GAME.render(one.state),  # tic-tac-toe's stones say who moves
                "plies_left": int(one.plies_left),
                "iteration": int(one.iteration),
                "policy_loss": cross_entropy,
                "value_loss": value_loss,
                "total": cross_entropy + 0.5 * value_loss,
                "target_entropy": entropy(target),
                "network_entropy": entropy(policy),
                "divergence": entropy(target, policy),
            }
        )
    return rows


def check(part: Part, rows: list[dict[str, Any]]) -> None:
    assert part.samples == part.measured == len(rows)
    assert part.positions == len({row["position"] for row in rows})
    for name in MEASURES:
        assert getattr(part, name) == pytest.approx(np.mean([row[name] for row in rows]), abs=2e-6), name
    assert part.error == 0


@pytest.mark.parametrize("value_head", ["wdl", "scalar"])
def test_every_part_is_what_a_plain_loop_finds(samples: Samples, value_head: str) -> None:
    trained = learner(value_head)
    rows = loop(trained, samples)
    parts = analyse(trained, samples, ReplayConfig())
    check(parts[0], rows)
    assert parts[1].name == "latest, iteration 6"
    check(parts[1], [row for row in rows if row["iteration"] == 6])
    for part, (low, high) in zip(parts[2:], ply_classes(samples.plies_left), strict=True):
        assert part.name.startswith(str(low))
        check(part, [row for row in rows if low <= row["plies_left"] <= high])
    assert sum(part.samples for part in parts[2:]) == samples.size


def test_it_is_the_averaged_weights_that_are_measured(samples: Samples) -> None:
    trained = learner()
    before = analyse(trained, samples, ReplayConfig())
    for parameter in trained.network.parameters():
        parameter.data.zero_()
    assert analyse(trained, samples, ReplayConfig()) == before


def test_merged_positions_count_as_the_learner_counts_them(samples: Samples) -> None:
    """Losses are linear in the policy's target, so means of it can be taken before or after."""
    trained = learner()
    rows = loop(trained, samples)
    positions = defaultdict(list)
    for row in rows:
        positions[row["position"]].append(row["policy_loss"])
    weights = [1 + math.log2(len(losses)) for losses in positions.values()]
    expected = np.average([np.mean(losses) for losses in positions.values()], weights=weights)
    everything = analyse(trained, samples, ReplayConfig(merge="log"))[0]
    assert (everything.samples, everything.measured) == (len(rows), len(positions))
    assert everything.policy_loss == pytest.approx(expected, abs=2e-6)


def test_a_large_part_is_estimated_as_well_as_it_says(samples: Samples, monkeypatch: pytest.MonkeyPatch) -> None:
    trained = learner()
    exact = analyse(trained, samples, ReplayConfig())[0]
    monkeypatch.setattr(buffer_analysis, "MOST_MEASURED", 100)
    estimates = [analyse(trained, samples, ReplayConfig(), seed=seed)[0] for seed in range(20)]
    assert {estimate.measured for estimate in estimates} == {100}
    off = np.array([(estimate.total - exact.total) / estimate.error for estimate in estimates])
    # The sum of 20 squares of standard normals lies within these bounds in all but 1 of 10,000 cases.
    assert 4.0 < (off**2).sum() < 54.0


def test_classes_hold_equally_many_as_far_as_whole_turns_allow() -> None:
    even = torch.arange(1, 11).repeat(7)
    assert ply_classes(even) == [(9, 10), (7, 8), (5, 6), (3, 4), (1, 2)]
    assert ply_classes(torch.tensor([4, 4, 4])) == [(4, 4)]
    assert ply_classes(torch.tensor([1] * 50 + [2] * 30 + [9] * 20)) == [(3, 9), (2, 2), (1, 1)]
    assert ply_classes(even, classes=2) == [(6, 10), (1, 5)]


def test_a_game_without_keys_has_no_positions(samples: Samples) -> None:
    trained = learner()
    trained.game = type("Keyless", (TicTacToe,), {"has_key": False})()
    parts = analyse(trained, samples, ReplayConfig())
    assert {part.positions for part in parts} == {None}
    assert png(parts_figure(parts, title="no keys"), dpi=40)


def test_no_samples_are_an_error(samples: Samples) -> None:
    with pytest.raises(ValueError, match="buffer is empty"):
        analyse(learner(), samples.at(slice(0, 0)), ReplayConfig())


def test_the_figure_has_a_row_a_part_with_its_losses(samples: Samples) -> None:
    parts = analyse(learner(), samples, replace(ReplayConfig(), merge="none"))
    figure = parts_figure(parts, title="a buffer")
    png(figure, dpi=40)
    losses, entropies, counts = figure.axes
    assert [label.get_text() for label in losses.get_yticklabels()] == [part.name for part in parts]
    assert [text.get_text() for text in losses.texts] == [f" {part.total:.2f}" for part in parts]
    ends = [max(bar.get_x() + bar.get_width() for bar in bars) for bars in zip(*losses.containers, strict=True)]
    np.testing.assert_allclose(ends, [part.total for part in parts])
    np.testing.assert_allclose(entropies.collections[1].get_offsets()[:, 0], [part.target_entropy for part in parts])
    assert [bar.get_width() for bar in counts.containers[0]] == [part.samples for part in parts]


def test_a_density_has_no_divergence_from_a_choice_and_one_number_of_turns_no_classes() -> None:
    game, count = Drift(), 12
    generator = torch.Generator().manual_seed(0)
    samples = Samples(
        state=game.initial(count, generator=generator),
        end=game.initial(count),
        policy=torch.rand(count, 4, generator=generator).softmax(1),
        value=torch.zeros(count),
        outcome=torch.zeros(count),
        drawn=torch.zeros(count),
        root_value=torch.zeros(count),
        plies_left=torch.full((count,), 3, dtype=torch.int32),
        iteration=torch.arange(count).int() // 8,
        weight=torch.ones(count),
        sampled=game.actions.random(game.legal(game.initial(count * 4)), generator).view(count, 4, 2),
        played_out=torch.ones(count),
    )
    network = NetworkConfig(kind="dense", blocks=1, width=8, value_head="scalar")
    parts = analyse(Learner(game, LearnerConfig(precision="float32"), network, seed=0), samples, ReplayConfig())
    assert [(part.name, part.samples) for part in parts] == [("all samples", 12), ("latest, iteration 1", 4)]
    assert all(math.isnan(part.divergence) for part in parts)
    policy, value, sizes = density_figure(parts, title="a buffer").axes
    for axes, name in ((policy, "policy_loss"), (value, "value_loss"), (sizes, "samples")):
        np.testing.assert_allclose([bar.get_width() for bar in axes.patches], [getattr(part, name) for part in parts])
