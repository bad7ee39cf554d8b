"""Training: the result depends on the seed alone, and survives being stopped and killed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from alphazero.arena.match import SoloResult, play_alone, play_match
from alphazero.arena.players import AgentPlayer, NetworkPlayer, RandomPlayer
from alphazero.learner import Learner
from alphazero.mcts.evaluator import Evaluator
from alphazero.report.run_report import report_sections
from alphazero.runs.agents import load_agent
from alphazero.runs.checkpoint import checkpoints, load_games, load_weights
from alphazero.runs.configuration import load_config, make_config
from alphazero.selfplay import Played, SelfPlay
from games.tic_tac_toe import TicTacToe
from tests.stubs import Drift
from tests.training_runs import (
    ROOT,
    SMALL,
    Whole,
    assert_same,
    run,
    whole_run,
)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Whole:
    return whole_run(tmp_path_factory.getbasetemp())


def test_one_seed_gives_the_same_weights_on_any_number_of_threads(tmp_path: Path, whole: Whole) -> None:
    three, same_results = run(replace(SMALL, threads=3), tmp_path / "three")
    assert_same(whole.tensors, three)
    assert whole.results == same_results
    other, _ = run(replace(SMALL, seed=2, evaluation=replace(SMALL.evaluation, every=0)), tmp_path / "other")
    assert any((whole.tensors[name] != other[name]).any() for name in other)


def test_a_run_that_was_stopped_ends_as_if_it_had_not_been(tmp_path: Path, whole: Whole) -> None:
    two = replace(SMALL, threads=2)
    _, none = run(two, tmp_path / "stopped", stop_after=1)
    assert none == {}
    assert [path.name for path in checkpoints(tmp_path / "stopped")] == ["000001", "000002"]
    resumed, same_results = run(two, tmp_path / "stopped", resume=True)
    assert_same(whole.tensors, resumed)
    assert whole.results == same_results


def test_so_does_one_with_convolutions_in_onnx_runtime(tmp_path: Path) -> None:
    """Exporting to ONNX changes how torch computes while it lasts, so it must not overlap learning."""
    convolutions = replace(
        SMALL,
        network=replace(SMALL.network, kind="residual", blocks=1, width=8),
        self_play=replace(SMALL.self_play, engine="onnx"),
        learner=replace(SMALL.learner, precision="float32"),
        evaluation=replace(SMALL.evaluation, opponents=(), every=0),
    )
    whole, _ = run(convolutions, tmp_path / "whole")
    run(convolutions, tmp_path / "stopped", stop_after=1)
    resumed, _ = run(convolutions, tmp_path / "stopped", resume=True)
    assert_same(whole, resumed)


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


def test_games_are_kept_under_the_streams_that_played_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    few = replace(
        SMALL,
        iterations=16,
        self_play=replace(SMALL.self_play, streams=3, parallel_games=1, moves=1),
        evaluation=replace(SMALL.evaluation, opponents=(), every=0),
    )
    ended: dict[int, set[int]] = {}
    play = SelfPlay.play

    def watched(stream: SelfPlay, evaluator: Evaluator, iteration: int, **settings: Any) -> Played:
        played = play(stream, evaluator, iteration, **settings)
        if played.statistics.games:
            ended.setdefault(iteration, set()).add(stream.seed[1])
        return played

    monkeypatch.setattr(SelfPlay, "play", watched)
    run(few, tmp_path / "run")
    kept = {int(path.stem): set(load_games(tmp_path / "run", int(path.stem), TicTacToe()))
            for path in (tmp_path / "run" / "games").iterdir()}  # fmt: skip
    assert kept == ended
    assert any(0 < len(streams) < 3 and 0 not in streams for streams in kept.values())


def test_the_network_alone_is_measured_beside_the_agent(whole: Whole) -> None:
    agent = load_agent(whole.folder / "agent.onnx")
    game, evaluation = agent.game, SMALL.evaluation
    for tag, player in (
        ("network/random", NetworkPlayer(game, agent.evaluator)),
        ("strength/random", AgentPlayer(game, agent.evaluator, replace(agent.search, simulations=8), SMALL.seed)),
    ):
        assert whole.results[tag] == play_match(
            game, player, RandomPlayer(game, SMALL.seed), games=2 * evaluation.games, seed=SMALL.seed,
            opening_plies=evaluation.opening_moves,
        )  # fmt: skip


CONTINUOUS = make_config(
    {
        "game": "tests.stubs:Drift",
        "iterations": 12,
        "search": {"simulations": 16, "refine_steps": 4, "refine_gain": 0.02, "rollout_moves": 1, "sharpening": 2.0},
        "network": {"kind": "dense", "blocks": 2, "width": 32, "value_head": "scalar"},
        "self_play": {"streams": 2, "parallel_games": 32, "moves": 6, "opening_share": 0.0, "opening_moves": 0},
        "replay": {"start": 1000, "window": 1000},
        "learner": {"batch_size": 64, "replay_ratio": 16.0, "learning_rate": 3e-3},
        "evaluation": {"opponents": [], "every": 0, "games": 50, "simulations": 16},
    },
    source="test",
)


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


def test_with_continuous_actions_too_a_stopped_run_ends_as_if_it_had_not_been(tmp_path: Path) -> None:
    short = replace(CONTINUOUS, iterations=3, self_play=replace(CONTINUOUS.self_play, parallel_games=8))
    whole, results = run(short, tmp_path / "whole", game=Drift())
    run(short, tmp_path / "stopped", stop_after=1, game=Drift())
    resumed, same_results = run(short, tmp_path / "stopped", resume=True, game=Drift())
    assert_same(whole, resumed)
    assert results == same_results
