"""Runs of games that are played one position at a time: as any other, over Ray too, and as the same game in tensors."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest

from alphazero.config import Config
from alphazero.game import load_game
from alphazero.runs.agents import load_agent
from scripts.benchmark import main as benchmark
from scripts.play import main as play
from scripts.report import main as report
from tests.commands import Command
from tests.training_runs import SMALL, assert_same, run

PLAIN = "examples.plain_connect_four:ConnectFour"
BATCHED = "games.connect_four:ConnectFour"
OPENSPIEL = "games.open_spiel:OpenSpiel('hex(board_size=3)')"


def config_of(game: str) -> Config:
    return replace(SMALL, game=game, iterations=2, self_play=replace(SMALL.self_play, streams=2))


def weights(config: Config, folder: Path, **options: int | bool) -> dict[str, object]:
    return run(config, folder, game=load_game(config.game), **options)[0]  # type: ignore[arg-type, return-value]


def test_a_plain_game_trains_to_the_weights_of_the_batched_one(tmp_path: Path) -> None:
    """So no position gets lost on the way through search, replay and learning, and none is taken for another."""
    assert_same(weights(config_of(PLAIN), tmp_path / "plain"), weights(config_of(BATCHED), tmp_path / "batched"))


@pytest.mark.parametrize("game", [PLAIN, OPENSPIEL])
def test_a_run_that_is_resumed_comes_to_the_same_weights(game: str, tmp_path: Path) -> None:
    """The game that goes on has never seen the positions of the checkpoint."""
    config = config_of(game)
    whole = weights(config, tmp_path / "whole")
    weights(config, tmp_path / "parts", stop_after=0)
    assert_same(weights(config, tmp_path / "parts", resume=True), whole)


@pytest.mark.cluster
def test_workers_come_to_the_same_weights(tmp_path: Path) -> None:
    """Samples, games under way and matches go from process to process, and no OpenSpiel object with them."""
    config = config_of(OPENSPIEL)
    assert_same(weights(replace(config, workers=1), tmp_path / "ray"), weights(config, tmp_path / "here"))


def test_the_agent_plays_is_measured_and_reported(
    tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "run"
    weights(config_of(OPENSPIEL), folder)
    assert load_agent(folder / "agent.onnx").game.name == "hex(board_size=3)"
    monkeypatch.setattr("sys.stdin", io.StringIO("b2\nhint\nquit\n"))
    played = command(play, folder, "--plain", "--budget", "8")
    assert played.returncode == 0, played.stderr
    assert "b2" in played.stdout
    measured = command(benchmark, folder, "--against", "random", "--games", "4", "--simulations", "4")
    assert measured.returncode == 0, measured.stderr
    assert "random" in measured.stdout
    reported = command(report, folder)
    assert reported.returncode == 0, reported.stderr
