"""The comparison of methods to aim: the greedy one against brute force, and messages about wrong arguments."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from rich.console import Console

from alphazero.config import SearchConfig
from alphazero.game import take
from alphazero.report.terminal import metres
from benchmarks.aiming import GreedyPlayer, rivals, shots_a_move
from games.trebuchet.game import Aiming, Siege

ROOT = Path(__file__).parents[2]


def test_nobody_aims_a_single_shot_better_than_the_greedy() -> None:
    """Against all actions of a fine grid."""
    game = Siege()
    states = game.initial(12, generator=torch.Generator().manual_seed(5))
    greedy = game.step(states, GreedyPlayer(game, seed=1).actions(states)).reward
    grid = torch.cartesian_prod(*[torch.linspace(-1, 1, 21)] * 2)
    many = take(states, torch.arange(12).repeat_interleave(len(grid)))
    best = game.step(many, grid.repeat(12, 1)).reward.view(12, -1).amax(1)
    assert (greedy >= best - 1e-3).all()
    # Where the target is within reach of this setting, the grid's best is only near it.
    assert (greedy > best + 1e-3).any()


@pytest.mark.parametrize(
    ("steps", "shots"),
    [(0, 16), (3, 16 + 8 * 4)],  # each sample is fired as it is drawn, and after every step
)
def test_shots_of_a_search(steps: int, shots: int) -> None:
    assert shots_a_move(SearchConfig(simulations=16, sampled_actions=8, refine_steps=steps)) == shots


@pytest.mark.parametrize(
    ("value", "text"),
    [(22.65, "22.65 m"), (0.3, "30.00 cm"), (7.3e-4, "0.07 cm"), (5.1e-7, "0.5 µm"), (3.3e-10, "0.3 nm")],
)
def test_a_miss_is_shown_in_a_unit_that_fits(value: float, text: str) -> None:
    assert metres(value) == text


def test_rivals_of_an_agent_without_a_history_are_refused() -> None:
    with pytest.raises(ValueError, match="--rivals needs a run as the agent"):
        rivals(Aiming(), 0, Console())


@pytest.mark.parametrize(
    ("arguments", "complaint", "code"),
    [
        (["shot"], "--agent", 2),
        (["shot", "--agent", "tests"], "tests is not a run", 1),
        (["siege", "--agent", "games/data/connect_four/agent.onnx"], "plays connect_four, not trebuchet_siege", 2),
        (["shot", "--agent", "x", "--count", "0"], "--count", 2),
    ],
)
def test_bad_input_gets_one_clear_error(arguments: list[str], complaint: str, code: int) -> None:
    command = [sys.executable, ROOT / "benchmarks/aiming.py", *arguments]
    finished = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert finished.returncode == code
    assert complaint in finished.stderr
    assert "Traceback" not in finished.stderr
