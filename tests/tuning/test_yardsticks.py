"""Yardsticks: what a tuner sees of a run is what the benchmark says of its agent."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from alphazero.arena.match import MatchResult, Tally
from alphazero.arena.players import SearchBudget
from alphazero.arena.registry import agent_spec
from alphazero.arena.solved import answered, load_positions
from alphazero.config import ConfigError
from alphazero.runs.agents import load_agent
from alphazero.runs.configuration import make_config
from alphazero.trainer.session import Session
from alphazero.tuning import yardsticks
from alphazero.tuning.yardsticks import YARDSTICKS, Look, look, look_at, yardstick_of
from games.connect_four import ConnectFour
from games.tic_tac_toe import TicTacToe
from tests.stubs import Mine
from tests.training_runs import ROOT, SMALL, train_session

CONNECT_FOUR = make_config(
    {
        "iterations": 1,
        "search": {"simulations": 4},
        "network": {"kind": "dense", "blocks": 1, "width": 16},
        "self_play": {"streams": 1, "parallel_games": 8, "moves": 4},
        "evaluation": {"opponents": [], "simulations": 8},
    },
    source="test",
)


def few_positions(folder: Path, count: int) -> Path:
    """Every so many of the positions that are included."""
    with (ROOT / "games/data/connect_four/positions.csv").open(newline="") as file:
        header, *rows = csv.reader(file)
    with (folder / "positions.csv").open("w", newline="") as few:
        csv.writer(few).writerows([header, *rows[:: len(rows) // count][:count]])
    return folder / "positions.csv"


def test_mistakes_and_values_are_those_of_the_agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    game = ConnectFour()
    positions = load_positions(few_positions(tmp_path, 100), game)
    monkeypatch.setattr(yardsticks, "FEW", 50)
    seen: dict[tuple[str, bool], Look] = {}

    def prepare(session: Session) -> None:
        train = session.train

        def looking() -> object:
            def after(iteration: int, metrics: object) -> None:
                for name in ("mistakes", "value_error"):
                    for last in (False, True):
                        seen[name, last] = look(YARDSTICKS[name], session, positions, last=last)

            return train(after)

        monkeypatch.setattr(session, "train", looking)

    train_session(CONNECT_FOUR, tmp_path / "run", game=game, prepare=prepare)
    agent = load_agent(tmp_path / "run" / "agent.onnx")
    player = agent_spec(None, agent, SearchBudget(8))
    for last, asked in ((True, positions), (False, yardsticks._rows(positions, torch.arange(100)[::2]))):
        expected = answered(player.build(1), asked)
        assert expected.value
        assert seen["mistakes", last].value == pytest.approx(expected.mistakes["all"].rate)
        assert seen["value_error", last].value == pytest.approx(expected.value.loss, rel=1e-4)
        assert seen["mistakes", last].scalars == {"tuning/mistakes": seen["mistakes", last].value}
    assert 0.05 < seen["mistakes", True].value < 0.95


def test_points_are_the_mean_of_the_agent_s_against_all_opponents() -> None:
    def result(wins: int, draws: int) -> MatchResult:
        half = Tally(wins, draws, 10 - wins - draws)
        return MatchResult(first=half, second=half, pairs=(2, 2, 2, 2, 2), distinct_games=20)

    results = {"strength/random": result(9, 1), "network/random": result(0, 0), "strength/minimax:2": result(1, 4)}
    seen = look_at(YARDSTICKS["points"], results)
    assert seen.value == pytest.approx((0.95 + 0.3) / 2)
    assert seen.scalars["strength/random/points"] == 0.95
    assert seen.scalars["tuning/points"] == seen.value
    with pytest.raises(ConfigError, match="no opponent is left to compare by"):
        look_at(YARDSTICKS["points"], {})


@pytest.mark.parametrize(
    ("game", "positions", "suitable"),
    [
        (ConnectFour(), True, ["mistakes", "value_error", "points"]),
        (TicTacToe(), False, ["points"]),
        (Mine(), False, ["return"]),
    ],
)
def test_the_first_that_suits_is_the_default(
    game: ConnectFour | TicTacToe | Mine, positions: bool, suitable: list[str]
) -> None:
    assert yardstick_of(None, game, SMALL, positions=positions).name == suitable[0]
    for name in YARDSTICKS:
        if name in suitable:
            assert yardstick_of(name, game, SMALL, positions=positions) is YARDSTICKS[name]
        else:
            with pytest.raises(ConfigError, match=f"{name} needs .*; what suits {game.name} here: {suitable[0]}"):
                yardstick_of(name, game, SMALL, positions=positions)


def test_without_opponents_there_is_nothing_to_compare_by() -> None:
    with pytest.raises(ConfigError, match=r"set evaluation\.opponents"):
        yardstick_of(
            None, TicTacToe(), replace(SMALL, evaluation=replace(SMALL.evaluation, opponents=())), positions=False
        )


def test_people_read_shares_in_percent() -> None:
    assert YARDSTICKS["mistakes"].format(0.01234) == "1.23 %"
    assert YARDSTICKS["value_error"].format(0.01234) == "0.0123"
