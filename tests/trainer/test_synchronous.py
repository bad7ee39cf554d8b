"""The synchronous loop: it needs only an observer, the result depends on the seed alone, and games are learned."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from alphazero.arena.match import SoloResult, play_alone
from alphazero.arena.players import NetworkPlayer, RandomPlayer
from alphazero.learner import Learner
from alphazero.report.run_report import report_sections
from alphazero.runs.agents import load_agent
from alphazero.runs.checkpoint import checkpoints, load_weights
from alphazero.runs.configuration import load_config
from alphazero.trainer import synchronous
from games.tic_tac_toe import TicTacToe
from tests.stubs import Drift
from tests.training_runs import (
    CONTINUOUS,
    ROOT,
    SMALL,
    NotingObserver,
    Whole,
    assert_same,
    run,
    run_without_session,
)


def test_the_loop_needs_neither_screen_nor_arena_nor_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], whole: Whole
) -> None:
    """With an observer that does nothing it gives the weights that it gives in a session."""
    monkeypatch.chdir(tmp_path)
    alone = run_without_session(replace(SMALL, threads=2))
    observer = NotingObserver(alone)
    capfd.readouterr()
    with alone.executor:
        synchronous.train(alone, observer)
    assert observer.calls == [
        call
        for number in range(SMALL.iterations)
        for call in (("matches_due", number), ("iteration_over", number), ("save", number + 1))
    ]
    assert_same(whole.tensors, alone.learner.tensors())
    assert not list(tmp_path.iterdir())
    assert capfd.readouterr() == ("", "")


def test_one_seed_gives_the_same_weights_on_any_number_of_threads(tmp_path: Path, whole: Whole) -> None:
    three, same_results = run(replace(SMALL, threads=3), tmp_path / "three")
    assert_same(whole.tensors, three)
    assert whole.results == same_results
    other, _ = run(replace(SMALL, seed=2, evaluation=replace(SMALL.evaluation, every=0)), tmp_path / "other")
    assert any((whole.tensors[name] != other[name]).any() for name in other)


def test_tic_tac_toe_is_learned_to_perfection(tmp_path: Path) -> None:
    recipe = load_config(ROOT / "configs" / "tic_tac_toe.toml")
    # Matches on the way do not change what is learned; those at the end are played all the same.
    recipe = replace(recipe, evaluation=replace(recipe.evaluation, every=0))
    _, results = run(recipe, tmp_path / "run")
    perfect = results["strength/minimax:9"]
    assert perfect.total.games == 200
    assert perfect.total.losses == 0
    # Perfect play of both sides is a draw, so nobody wins either.
    assert perfect.total.draws + perfect.total.wins == 200
    learner = Learner(TicTacToe(), recipe.learner, recipe.network, seed=5)
    load_weights(checkpoints(tmp_path / "run")[-1], TicTacToe(), learner)


def test_continuous_actions_are_learned(tmp_path: Path) -> None:
    """Drift's best reward is known in closed form; a random player earns far less."""
    _, results = run(CONTINUOUS, tmp_path / "run", game=Drift())
    agent, network = results["strength/alone"], results["network/alone"]
    assert isinstance(agent, SoloResult)
    assert isinstance(network, SoloResult)
    starts = Drift().initial(100, generator=torch.Generator().manual_seed(CONTINUOUS.seed))
    best = Drift().optimal_value(starts).mean().item()
    random = play_alone(Drift(), RandomPlayer(Drift(), seed=1), games=100, seed=CONTINUOUS.seed).mean
    assert best - random > 0.2
    assert best - 0.05 < agent.mean <= best + 1e-4
    assert best - 0.03 < network.mean <= best + 1e-4
    assert not any(section.missing for section in report_sections(tmp_path / "run"))
    loaded = load_agent(tmp_path / "run" / "agent.onnx")
    again = play_alone(Drift(), NetworkPlayer(loaded.game, loaded.evaluator), games=100, seed=CONTINUOUS.seed)
    assert again.mean == pytest.approx(network.mean, abs=1e-6)
