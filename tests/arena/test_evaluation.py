"""The matches that measure an agent while it is trained."""

from __future__ import annotations

from dataclasses import replace

from alphazero.arena.evaluation import evaluation_matches
from alphazero.arena.match import play_match
from alphazero.arena.players import AgentPlayer, NetworkPlayer, parse_player
from alphazero.config import EvaluationConfig
from alphazero.learner import Learner
from alphazero.network.architectures import inference_module
from alphazero.network.inference import NetworkEvaluators
from alphazero.trainer.tasks import make_worker
from games.tic_tac_toe import TicTacToe
from tests.training_runs import TASKS


def test_matches_of_a_run_are_those_that_its_configuration_describes() -> None:
    game = TicTacToe()
    config = replace(
        TASKS, evaluation=EvaluationConfig(opponents=("random", "minimax:2"), simulations=6, opening_moves=3)
    )
    weights = inference_module(Learner(game, config.learner, config.network, seed=0).network)
    worker = make_worker(config, None, 1)
    matches = evaluation_matches(game, config, games=12)
    assert list(matches) == ["strength/random", "network/random", "strength/minimax:2", "network/minimax:2"]
    assert matches["network/minimax:2"].title == "12 games of the network alone against minimax:2"
    evaluator = NetworkEvaluators(game, engine="onnx")(weights)
    search = replace(config.search.without_noise(), simulations=6)
    for number, opponent in enumerate(("random", "minimax:2")):
        for role in ("strength", "network"):
            counted: list[int] = []
            agent = AgentPlayer(game, evaluator, search, seed=5)
            expected = play_match(
                game,
                agent if role == "strength" else NetworkPlayer(game, evaluator),
                parse_player(opponent, game, seed=5 + number),
                games=12,
                seed=5,
                opening_plies=3,
            )
            assert matches[f"{role}/{opponent}"].run(worker, counted.append, weights) == expected
            assert sum(counted) == 12
