"""Curves and bars hold what the history holds."""

from __future__ import annotations

import math

import numpy as np
import pytest
from matplotlib.figure import Figure

from alphazero.report.curves import curves_figure, learning_figure, strength_figure
from alphazero.report.metrics_table import ALL_METRICS
from alphazero.report.position_figures import png
from tests.small_metrics import SCALARS, STRENGTH

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


MATCHES = {
    i: {
        f"{player}/minimax:2/{measure}": value
        for player in ("strength", "network")
        for measure, value in {
            "points": 0.3 + i / 100,
            "points_low": 0.2 + i / 100,
            "points_high": 0.4 + i / 100,
            "win": i / 100,
            "draw": 0.6,
            "loss": 0.4 - i / 100,
        }.items()
    }
    for i in (20, 40)
}


def titles(figure: Figure | None) -> list[str]:
    assert figure is not None
    png(figure, dpi=40)
    return [axes.get_title(loc="left") for axes in figure.axes if axes.axison]


def test_names_of_opponents_are_no_mathematics() -> None:
    matches = {i: {tag.replace("minimax:2", r"$\x$"): y for tag, y in row.items()} for i, row in MATCHES.items()}
    assert r"against \$\x\$" in titles(strength_figure(matches))  # escaped, as matplotlib wants it


def test_every_measure_has_its_panel_and_others_are_left_out() -> None:
    everything = {metric.tag: 0.5 for metric in ALL_METRICS if metric.curves}
    assert sorted(titles(learning_figure({0: everything, 1: everything}))) == [
        "CPU time",
        "Decided moves of self-play",
        "Depth of the search",
        "Evaluations from the cache",
        "Learning rate",
        "Length of games",
        "Loss by stage of the game",
        "Loss on the replay buffer",
        "Memory",
        "Norm of the gradient",
        "Policy",
        "Replay buffer",
        "Results of self-play",
        "Simulations",
        "Speed of self-play",
        "Speed of self-play",
        "Wrong resignations",
    ]
    history = {i: {"self_play/cache_hits": 0.25 * i, "self_play/simulations_per_second": 4000.0} for i in range(3)}
    figure = learning_figure(history)
    assert titles(figure) == ["Evaluations from the cache", "Speed of self-play"]
    assert figure is not None
    cache, speed = figure.axes
    assert list(cache.lines[0].get_ydata()) == [0, 25, 50]
    assert list(speed.lines[0].get_ydata()) == [4, 4, 4]
    assert cache.get_ylim()[0] == 0
    assert learning_figure({0: {"strength/random/points": 0.5}}) is None


def test_strength_has_bands_and_bars() -> None:
    figure = strength_figure(MATCHES | {30: {"loss/total": 1.0}})
    assert titles(figure) == [
        "Points won against fixed opponents",
        "against minimax:2",
        "network alone against minimax:2",
    ]
    assert figure is not None
    points, agent, network = figure.axes
    np.testing.assert_allclose(points.lines[0].get_ydata(), [0.5, 0.7])
    band = points.collections[0].get_paths()[0].vertices
    assert {(round(x), round(y, 6)) for x, y in band} == {(20, 0.4), (40, 0.6), (20, 0.6), (40, 0.8)}
    for axes in (agent, network):
        heights = [[bar.get_height() for bar in bars] for bars in axes.containers]
        bottoms = [[bar.get_y() for bar in bars] for bars in axes.containers]
        np.testing.assert_allclose(heights, [[20, 40], [60, 60], [20, 0]], atol=1e-9)
        np.testing.assert_allclose(bottoms, [[0, 0], [20, 40], [80, 100]], atol=1e-9)
        assert [label.get_text() for label in axes.get_xticklabels()] == ["20", "40"]


def test_points_alone_make_no_bars() -> None:
    assert titles(strength_figure({0: {"strength/random/points": 12.0}})) == ["Reward"]
    assert strength_figure({0: {"loss/total": 1.0}}) is None


ALONE = {
    i: {
        "strength/alone/points": 0.5 + i / 100,
        "network/alone/points": 0.25,
        "strength/alone/miss_median": 0.002,
        "strength/alone/miss_95": 0.008,
        "network/alone/miss_median": 0.5,
        "network/alone/miss_95": 0.75 - i / 100,
        "loss/policy": -4.0,
        "loss/target_entropy": 0.5,
    }
    for i in (10, 20)
}


def test_a_game_for_one_has_rewards_and_its_own_metrics_in_their_units() -> None:
    figure = strength_figure(ALONE, {"miss": "m"})
    assert titles(figure) == ["Reward", "Miss"]
    assert figure is not None
    reward, miss = figure.axes
    said = {text.get_text() for axes in figure.axes for text in axes.texts}
    assert said == {
        "mean of a game, with its 95 % interval", "m: median, and 95th percentile (dashed)", "agent", "network alone"
    }  # fmt: skip
    assert [line.get_ydata().tolist() for line in reward.lines] == [[0.6, 0.7], [0.25, 0.25]]  # type: ignore[union-attr]
    assert sorted(line.get_ydata()[-1] for line in miss.lines) == [0.002, 0.008, 0.5, 0.55]  # type: ignore[index]
    assert miss.get_yscale() == "log"
    assert titles(curves_figure(ALONE)) == ["Reward", "Miss", "Loss on the replay buffer"]


def test_the_entropy_of_the_target_is_no_limit_of_a_density() -> None:
    def labels(policy: float) -> set[str]:
        history = {i: scalars | {"loss/policy": policy} for i, scalars in ALONE.items()}
        return {text.get_text() for axes in curves_figure(history).axes for text in axes.texts}

    assert "target's entropy:\nthe policy's limit" in labels(0.75)
    assert "target's entropy:\nthe policy's limit" not in labels(-4.0)


@pytest.mark.parametrize(
    ("history", "titles"),
    [
        ({}, []),
        ({0: {"loss/total": math.nan}}, []),
        ({0: {"loss/total": 2.0}}, ["Loss on the replay buffer"]),
        ({0: {}, 1: SCALARS}, ["Loss on the replay buffer", "Replay buffer"]),
        (
            {0: SCALARS, 1: SCALARS | STRENGTH},
            ["Points won against fixed opponents", "Loss on the replay buffer", "Replay buffer"],
        ),
        ({0: {"strength/random/points": 12.0}}, ["Reward"]),
    ],
)
def test_curves_show_what_there_is(history: dict[int, dict[str, float]], titles: list[str]) -> None:
    figure = curves_figure(history)
    assert png(figure, dpi=40).startswith(PNG_SIGNATURE)
    assert [axes.get_title(loc="left") for axes in figure.axes] == titles


def test_time_is_in_cores_if_every_iteration_knows_it() -> None:
    history = {i: {"loss/total": 1.0, "time/core_seconds": 60.0 * i} for i in range(1, 4)}
    assert curves_figure(history).axes[0].get_xlabel() == "core-minutes of training"
    assert list(curves_figure(history).axes[0].lines[0].get_xdata()) == [1, 2, 3]
    assert curves_figure(history | {4: {"loss/total": 1.0}}).axes[0].get_xlabel() == "iteration"
