"""Agents answer alike, wherever they are loaded from."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import alphazero.network.inference
from alphazero.config import NetworkConfig, SearchConfig
from alphazero.network.architectures import inference_module, make_network, to_onnx
from alphazero.runs.agents import export_agent, load_agent
from alphazero.runs.checkpoint import create_run
from alphazero.runs.files import RunError
from tests.small_checkpoints import CONFIG, cut, parts, save
from tests.stubs import Drift


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
        assert (
            load_agent(source).search
            == replace(CONFIG.search.without_noise(), solver=True)
            != SearchConfig().without_noise()
        )
        assert load_agent(str(source)).title == load_agent(source).title
        assert load_agent(source).max_moves == CONFIG.self_play.max_moves == 500
    card = json.loads((folder / "agent.json").read_bytes())
    (folder / "agent.json").write_text(json.dumps({name: card[name] for name in card if name != "max_moves"}))
    assert load_agent(folder / "agent.onnx").max_moves == 1000  # of the version before
    (folder / "agent.json").write_text(json.dumps(card | {"max_moves": 0}))
    with pytest.raises(RunError, match=r"is not an agent's card: `max_moves`"):
        load_agent(folder / "agent.onnx")
    (folder / "agent.json").write_text(json.dumps(card))
    assert card["actions"] == ["a3", "b3", "c3", "a2", "b2", "c2", "a1", "b1", "c1"]
    cut(folder / "agent.onnx")
    with pytest.raises(RunError, match="was truncated or altered"):
        load_agent(folder / "agent.onnx")


def test_a_run_is_played_without_exporting_its_network_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its exported agent has the graph, though other weights; an export, which takes seconds, says the same."""
    made, earlier = parts(iterations=2), parts(seed=3)
    save(folder, made, 2)
    state, exports = made.streams[0].state, []

    def counted(*arguments: Any) -> Any:
        exports.append(arguments)
        return to_onnx(*arguments)

    monkeypatch.setattr(alphazero.network.inference, "exported", counted)
    anew = load_agent(folder).evaluator(state, torch.Generator())
    model = to_onnx(earlier.learner.weights(), made.game.observation_shape)
    export_agent(folder, made.game, CONFIG, model, iteration=1)
    said = load_agent(folder).evaluator(state, torch.Generator())
    assert len(exports) == 1
    assert torch.equal(said.logits, anew.logits)
    assert torch.equal(said.value, anew.value)


@pytest.mark.parametrize("fault", ["another network", "altered", "no card"])
def test_an_exported_agent_that_does_not_fit_its_run_is_left_aside(fault: str, folder: Path) -> None:
    made = parts(iterations=2)
    save(folder, made, 2)
    wider = replace(CONFIG, network=replace(CONFIG.network, width=16))
    other = parts(config=wider) if fault == "another network" else made
    model = to_onnx(other.learner.weights(), made.game.observation_shape)
    export_agent(folder, made.game, wider if other is not made else CONFIG, model, iteration=1)
    if fault == "altered":
        cut(folder / "agent.onnx")
    elif fault == "no card":
        (folder / "agent.json").unlink()
    state = made.streams[0].state
    expected = made.learner.weights()(made.game.observe(state))
    said = load_agent(folder).evaluator(state, torch.Generator())
    torch.testing.assert_close(said.logits, expected[0], rtol=1e-5, atol=1e-5)


def test_an_agent_with_a_network_of_ones_own_refines_only_where_its_code_may_be_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its answers come from ONNX in any case; its values' gradient needs the class."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr("alphazero.network.loading._loaded", set())
    kind, path = "tests.own_networks:Plain", tmp_path / "agent.onnx"
    network = NetworkConfig(kind=kind, value_head="scalar")
    config = replace(CONFIG, game="tests.stubs:Drift", network=network, search=SearchConfig(refine_steps=3))
    module = inference_module(make_network(Drift(), network))
    export_agent(tmp_path, Drift(), config, to_onnx(module, Drift().observation_shape), iteration=1)
    plain = load_agent(path, game="tests.stubs:Drift")
    assert (plain.search.refine_steps, plain.evaluator.module) == (0, None)
    assert load_agent(path, network="tests.own_networks:Other").search.refine_steps == 0
    states = Drift().initial(2)
    for network_named in (kind, None):  # from then on it is known for the folder
        agent = load_agent(path, network=network_named)
        assert agent.search.refine_steps == 3
        observation = Drift().observe(states).requires_grad_()
        (slope,) = torch.autograd.grad(agent.evaluator.predictions(observation).value.sum(), observation)
        expected = torch.autograd.grad(module(observation)[1].sum(), observation)[0]
        torch.testing.assert_close(slope, expected)
