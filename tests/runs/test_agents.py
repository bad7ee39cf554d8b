"""Agents answer alike, wherever they are loaded from."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from alphazero.config import SearchConfig
from alphazero.network.architectures import to_onnx
from alphazero.runs.agents import export_agent, load_agent
from alphazero.runs.checkpoint import (
    create_run,
)
from alphazero.runs.files import RunError
from tests.small_checkpoints import CONFIG, cut, parts, save


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    create_run(tmp_path / "run", CONFIG)
    return tmp_path / "run"


def test_agent_run_and_checkpoint_say_the_same_as_the_learner(folder: Path) -> None:
    made = parts(iterations=2)
    path, weights = save(folder, made, 2), made.learner.weights()
    model = to_onnx(weights, made.game.observation_shape)
    export_agent(folder, made.game, CONFIG, model, iteration=2)
    state = made.streams[0].state
    expected = weights(made.game.observe(state))
    for source in (folder, path, folder / "agent.onnx"):
        game, evaluator, *_ = load_agent(source)
        assert game.name == "tic_tac_toe"
        said = evaluator(state, torch.Generator())
        torch.testing.assert_close(said.logits, expected[0], rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(said.value, expected[1], rtol=1e-5, atol=1e-5)
        assert load_agent(source).search == CONFIG.search.without_noise() != SearchConfig().without_noise()
        assert load_agent(str(source)).title == load_agent(source).title
    card = json.loads((folder / "agent.json").read_bytes())
    assert card["actions"] == ["a3", "b3", "c3", "a2", "b2", "c2", "a1", "b1", "c1"]
    cut(folder / "agent.onnx")
    with pytest.raises(RunError, match="was truncated or altered"):
        load_agent(folder / "agent.onnx")
