"""Players by name, among them agents from files."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from alphazero.arena.players import AgentPlayer, MinimaxPlayer, RandomPlayer, SearchBudget
from alphazero.arena.registry import find_player
from alphazero.game.record import Record
from alphazero.runs.agents import Agent, load_agent
from alphazero.runs.files import RunError
from games.connect_four import ConnectFour
from tests.evaluators import ScrambledEvaluator
from tests.small_benchmark import FAST
from tests.training_runs import copy_of_whole


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_of_whole(tmp_path_factory, "run")


@pytest.fixture(scope="module")
def agent(trained: Path) -> Agent:
    return load_agent(trained)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("agent", "agent:32"),
        ("agent:5", "agent:5"),
        ("agent:0.5s", "agent:0.5s"),
        ("network", "network"),
        ("network@0.5", "network@0.5"),
        ("minimax:3@0.25", "minimax:3@0.25"),
        ("mcts:20", "mcts:20"),
        ("mcts:2s", "mcts:2s"),
        ("random", "random"),
    ],
)
def test_names(agent: Agent, text: str, name: str) -> None:
    player = find_player(text, agent, SearchBudget(32)).build(1)
    assert player.name == name
    start = Record(agent.game)
    if not text.endswith("s"):
        assert int(player.actions(start.state)[0]) in start.legal()


def test_a_path_is_the_agent_there_with_the_budget_behind_it(agent: Agent, trained: Path) -> None:
    states = [Record(agent.game, moves).state for moves in ("", "b2", "b2 a3", "a1 b2 c3")]
    mine = find_player("agent:16", agent, SearchBudget(8)).build(1)
    for path in (trained, trained / "agent.onnx", trained / "checkpoints" / "000004"):
        other = find_player(f"{path}@16", agent, SearchBudget(8)).build(1)
        assert other.name == f"{path}@16"
        for state in states:
            assert torch.equal(mine.actions(state), other.actions(state))
    unnamed = find_player(str(trained), agent, SearchBudget(8)).build(1)
    assert isinstance(unnamed, AgentPlayer)
    assert unnamed.think(states[0]).result().visits.sum() == 8


def test_a_home_of_nobody_is_refused(agent: Agent) -> None:
    with pytest.raises(ValueError, match="'~nobody-here/run': Could not determine home directory"):
        find_player("~nobody-here/run", agent, SearchBudget(8))


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("agnet", "no player is called 'agnet'; expected agent or agent:BUDGET, network"),
        ("agent:", "no player is called 'agent:'"),
        ("agent:0", "'0' is no search budget"),
        ("agent:-3", "'-3' is no search budget"),
        ("network:3", "no player is called 'network:3'"),
        ("network@x", "'x' is no temperature"),
        ("minimax:0", "no player is called 'minimax:0'"),
        ("mcts", "no player is called 'mcts'"),
        ("mcts:1h", "'1h' is no search budget"),
        ("perfect", "tic_tac_toe has no perfect player"),
    ],
)
def test_other_names_are_refused_with_what_is_expected(agent: Agent, text: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        find_player(text, agent, SearchBudget(8)).build(1)


def test_a_path_without_an_agent_and_one_of_another_game_are_refused(agent: Agent, trained: Path) -> None:
    with pytest.raises(RunError, match="is not a run"):
        find_player(str(trained / "checkpoints"), agent, SearchBudget(8)).build(1)
    game = ConnectFour()
    other = Agent(game, ScrambledEvaluator(game), agent.search, "scrambled")
    with pytest.raises(ValueError, match="plays tic_tac_toe, not connect_four"):
        find_player(str(trained), other, SearchBudget(8)).build(1)


def test_an_opponent_may_be_a_path_with_a_budget_of_its_own(trained: Path) -> None:
    agent = load_agent(trained / "agent.onnx")
    start = agent.game.initial(1)
    for text, simulations in (
        (f"{trained}", 4),
        (f"{trained / 'checkpoints' / '000002'}@16", 16),
        (f"{trained / 'agent.onnx'}@2", 2),
    ):
        player = find_player(text, agent, FAST)
        player = player.build(1)
        assert player.name == text
        assert isinstance(player, AgentPlayer)
        assert player.think(start).result().visits.sum() == simulations
    assert isinstance(find_player("minimax:3", agent, FAST).build(1), MinimaxPlayer)
    assert isinstance(find_player("random", agent, FAST).build(1), RandomPlayer)
    for text, error in (("nobody", ValueError), (f"{trained}@0", ValueError), (f"{trained}/none", RunError)):
        with pytest.raises(error):
            find_player(text, agent, FAST)
