"""Networks of a user's own: in play and exported they answer as they do themselves, and nothing is taken apart."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import onnx
import pytest
import torch
from torch import Tensor, nn

from alphazero.config import ConfigError, NetworkConfig
from alphazero.game import Game
from alphazero.mcts.gaussian import Gaussian
from alphazero.network import engines
from alphazero.network.architectures import (
    InferenceModule,
    OwnNetwork,
    check_network,
    in_torch,
    inference_module,
    lay_out,
    make_network,
    scalar_value,
    to_onnx,
    with_weights,
)
from alphazero.network.engines import best_engine, with_engines
from alphazero.network.export_cache import exported
from alphazero.network.exported import evaluator_of, read_model
from alphazero.network.inference import NetworkEvaluators, OnnxEvaluator
from alphazero.runs.configuration import make_config
from games.connect_four import ConnectFour
from games.tic_tac_toe import TicTacToe
from tests import own_networks
from tests.stubs import Drift

GAME = ConnectFour()
SHAPE = GAME.observation_shape
KINDS = ["Plain", "Foreseeing", "Normed", "Varied", "Nameless"]
TRANSFORMER = "examples.transformer:BoardTransformer"


def config(kind: str, **fields: Any) -> NetworkConfig:
    return NetworkConfig(kind=kind if ":" in kind else f"tests.own_networks:{kind}", **fields)


def network(kind: str, seed: int, game: Game = GAME, **fields: Any) -> OwnNetwork:
    """One whose weights and running statistics are all random."""
    torch.manual_seed(seed)
    made = make_network(game, config(kind, **fields))
    assert isinstance(made, OwnNetwork)
    for tensor in (*made.parameters(), *made.buffers()):
        if tensor.is_floating_point():
            nn.init.uniform_(tensor, 0.1, 0.4)
            tensor.data *= 1.0 if tensor.dim() == 1 else torch.where(torch.rand_like(tensor) < 0.5, -1.0, 1.0)
    return made


def observations(batch: int = 5) -> Tensor:
    return torch.randint(0, 2, (batch, *SHAPE), generator=torch.Generator().manual_seed(0)).float()


@pytest.mark.parametrize("kind", [*KINDS, TRANSFORMER])
def test_in_play_it_answers_as_itself_in_eval_mode_and_has_all_its_parts(kind: str) -> None:
    made = network(kind, 1)
    before = copy.deepcopy(made.state_dict())
    module = inference_module(made)
    logits, value, *_ = copy.deepcopy(made.module).eval()(observations())
    found = module(observations())
    assert torch.equal(found[0], logits)
    assert torch.equal(found[1], scalar_value(value))
    assert [type(part) for part in module.network.modules()] == [type(part) for part in made.modules()]
    assert made.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in made.state_dict().items())


@pytest.mark.parametrize("kind", [*KINDS, TRANSFORMER])
def test_one_export_takes_up_all_later_weights(kind: str) -> None:
    graph = to_onnx(inference_module(make_network(GAME, config(kind))), SHAPE)
    onnx.checker.check_model(graph, full_check=True)
    assert b".py" not in graph.SerializeToString()
    later = inference_module(network(kind, 2))
    filled = with_weights(graph, later)
    read_model(filled.SerializeToString(), GAME)
    for batch in (1, 7):
        said = OnnxEvaluator(GAME, filled).predictions(observations(batch))
        logits, value = later(observations(batch))
        torch.testing.assert_close(said.logits, logits, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(said.value, value, rtol=1e-4, atol=1e-4)


def test_weights_that_do_not_count_in_play_are_not_exported() -> None:
    names = {one.name for one in to_onnx(inference_module(network("Foreseeing", 1)), SHAPE).graph.initializer}
    assert "network.module.body.weight" in names
    assert "network.module.last" not in names


@pytest.mark.parametrize("kind", ["Varied", "Foreseeing"])
def test_an_export_becomes_the_network_in_torch_again(kind: str) -> None:
    module = inference_module(network(kind, 3))
    model = to_onnx(module, SHAPE)
    again = in_torch(model, GAME, config(kind))
    assert all(torch.equal(a, b) for a, b in zip(again(observations()), module(observations()), strict=True))
    evaluator_of(model.SerializeToString(), GAME, again)
    with pytest.raises(ValueError, match="other weights than its network's configuration says"):
        in_torch(model, GAME, config(kind, options={"width": 4}))


def test_a_kept_graph_counts_only_as_long_as_the_class_computes_the_same(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    exports: list[InferenceModule] = []

    def counted(module: InferenceModule, shape: tuple[int, ...]) -> onnx.ModelProto:
        exports.append(module)
        return to_onnx(module, shape)

    monkeypatch.setattr("alphazero.network.export_cache.to_onnx", counted)
    for seed in (1, 2):
        exported(inference_module(network("Plain", seed)), SHAPE)
    assert len(exports) == 1
    forward = own_networks.Plain.forward

    def other(self: nn.Module, observation: Tensor) -> Any:
        logits, value = forward(self, observation)
        return 2 * logits, value

    monkeypatch.setattr(own_networks.Plain, "forward", other)
    module = inference_module(network("Plain", 3))
    said = OnnxEvaluator(GAME, exported(module, SHAPE)).predictions(observations())
    torch.testing.assert_close(said.logits, module(observations())[0], rtol=1e-4, atol=1e-4)
    assert len(exports) == 2


@pytest.mark.parametrize("engine", ["onnx", "torch", "bfloat16"])
def test_every_engine_answers_the_same(engine: str) -> None:
    module = inference_module(network(TRANSFORMER, 4))
    states = GAME.initial(3)
    said = NetworkEvaluators(GAME, engine=engine)(module)(states, torch.Generator())
    tolerance = 0.05 if engine == "bfloat16" else 1e-4
    torch.testing.assert_close(said.logits, module(GAME.observe(states))[0], rtol=tolerance, atol=tolerance)


def test_its_observations_come_in_order_for_it_may_look_at_them_by_view() -> None:
    assert lay_out(network("Varied", 1), SHAPE) == torch.contiguous_format
    assert lay_out(InferenceModule(network("Varied", 1)), SHAPE) == torch.contiguous_format
    assert lay_out(make_network(GAME, NetworkConfig(blocks=1, width=8)), SHAPE) == torch.channels_last


# --- Settings


def test_only_its_options_reach_it() -> None:
    made = make_network(GAME, config("Plain", blocks=9, width=64, options={"width": 4, "slope": 0.5}))
    assert isinstance(made, OwnNetwork)
    assert made.module.made == (SHAPE, 7, 3, 4, 0.5)
    scalar = make_network(GAME, config("Plain", value_head="scalar"))
    assert isinstance(scalar, OwnNetwork)
    assert scalar.module.made == (SHAPE, 7, 1, 8, 0.0)


def test_options_without_a_class_of_ones_own_are_refused() -> None:
    with pytest.raises(
        ValueError, match=r'network\.options are for a class of your own; network\.kind = "dense" has bl'
    ):
        check_network(GAME, NetworkConfig(kind="dense", options={"width": 4}))


def test_a_class_that_is_too_large_is_refused_before_it_takes_memory() -> None:
    with pytest.raises(ValueError, match=r"tests\.own_networks:Plain has 9[0-9,]+ parameters for connect_four; 268,"):
        check_network(GAME, config("Plain", options={"width": 10_000_000}))


def test_its_first_weights_are_the_seed_s_and_a_look_at_it_draws_none() -> None:
    def weights(look: Callable[[], object] = lambda: None) -> Tensor:
        torch.manual_seed(5)
        look()
        return torch.cat([one.flatten() for one in make_network(GAME, config("Plain")).parameters()])

    for kind in ("Plain", "Looking"):
        assert torch.equal(weights(), weights(partial(check_network, GAME, config(kind))))
    torch.manual_seed(5)
    alone = own_networks.Plain(SHAPE, 7, 3)
    assert torch.equal(weights(), torch.cat([one.flatten() for one in alone.parameters()]))


@pytest.mark.parametrize("deviation", [0.03, 0.5])
def test_the_layer_called_policy_gets_the_first_deviation_of_continuous_actions(deviation: float) -> None:
    game = Drift()
    made = make_network(game, config("Plain", value_head="scalar", deviation=deviation))
    with torch.no_grad():
        made.get_submodule("module.policy").weight.zero_()
        output = made(game.observe(game.initial(2))).logits
    torch.testing.assert_close(Gaussian.of(output).log_deviation, torch.full((2, 2), math.log(deviation)))


def test_without_such_a_layer_it_is_refused_there_and_only_there() -> None:
    make_network(TicTacToe(), config("Nameless"))
    with pytest.raises(
        ValueError, match=r"drift has continuous actions.*: tests\.own_networks:Nameless must have an attr"
    ):
        make_network(Drift(), config("Nameless", value_head="scalar"))


def test_a_network_of_ones_own_plays_in_float32_unless_it_is_told_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "processor", lambda: {"avx2": True})
    assert best_engine(GAME, NetworkConfig()) == "int8"
    assert best_engine(GAME, config("Plain")) == "onnx"
    monkeypatch.setattr(engines, "processor", lambda: {"avx2": True, "amx_bf16": True})
    assert best_engine(GAME, NetworkConfig()) == "bfloat16"
    assert best_engine(GAME, config("Plain")) == "onnx"
    fields = {"network": {"kind": "tests.own_networks:Plain"}, "self_play": {"engine": "int8"}}
    with pytest.raises(
        ConfigError, match=r"int8\" is written for the layers of the included networks, not for .*Plain; use"
    ):
        with_engines(GAME, make_config(fields, source="test"))
