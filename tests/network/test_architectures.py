"""Networks: their shapes, the value's closed form, and that folding and exporting change no output."""

from __future__ import annotations

import copy

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from alphazero.config import NetworkConfig
from alphazero.network.architectures import (
    InferenceModule,
    inference_module,
    lay_out,
    make_network,
    scalar_value,
    to_onnx,
    with_weights,
)
from games.connect_four import ConnectFour
from games.tic_tac_toe import TicTacToe
from tests.networks import CONFIGS, KINDS, trained
from tests.stubs import Mine


def observations(batch: int) -> Tensor:
    return torch.randint(0, 2, (batch, 2, 6, 7), generator=torch.Generator().manual_seed(0)).float()


def run(model: onnx.ModelProto, observation: Tensor) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(["logits", "value"], {"observation": observation.numpy()})


@pytest.fixture(scope="module", params=KINDS)
def exported(request: pytest.FixtureRequest) -> tuple[str, onnx.ModelProto]:
    """An export of fresh weights, many of which are equal: all biases of folded convolutions are 0."""
    torch.manual_seed(0)
    network = make_network(ConnectFour(), CONFIGS[request.param])
    return request.param, to_onnx(inference_module(network), ConnectFour.observation_shape)


@pytest.mark.parametrize("kind", KINDS)
def test_the_heads_have_the_games_shapes(kind: str) -> None:
    prediction = trained(kind, 0)(observations(5))
    assert prediction.logits.shape == (5, 7)
    assert prediction.value.shape == (5, 1 if kind == "dense" else 3)
    assert (None if prediction.end is None else prediction.end.shape) == ((5, 2, 2, 6, 7) if kind == "placed" else None)


def test_a_residual_network_has_as_many_weights_as_the_paper_says() -> None:
    network = make_network(ConnectFour(), CONFIGS["residual"])
    convolution, norm, cells = 9 * 8 * 8, 2 * 8, 42
    stem, blocks = 9 * 2 * 8 + norm, 2 * 2 * (convolution + norm)
    policy = 8 * 3 + 2 * 3 + (3 * cells + 1) * 7
    value = 8 * 3 + 2 * 3 + (3 * cells + 1) * 5 + (5 + 1) * 3
    assert sum(p.numel() for p in network.parameters()) == stem + blocks + policy + value


def test_a_value_is_wins_less_losses_or_the_tangent() -> None:
    probabilities = torch.tensor([[0.5, 0.25, 0.25], [0.1, 0.2, 0.7], [1 / 3, 1 / 3, 1 / 3]])
    torch.testing.assert_close(scalar_value(probabilities.log()), torch.tensor([0.25, -0.6, 0.0]))
    torch.testing.assert_close(scalar_value(torch.tensor([[0.0], [2.0]])), torch.tensor([0.0, 0.9640276]))


@pytest.mark.parametrize("kind", KINDS)
def test_folding_batch_normalisation_changes_nothing(kind: str) -> None:
    network = trained(kind, 1)
    before = copy.deepcopy(network.state_dict())
    module = inference_module(network)
    assert not any(isinstance(part, nn.BatchNorm2d) for part in module.modules())
    logits, value = module(observations(9))
    prediction = network(observations(9))
    torch.testing.assert_close(logits, prediction.logits, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(value, scalar_value(prediction.value), rtol=1e-5, atol=1e-5)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


def test_an_inference_copy_is_in_eval_mode_whatever_the_network_is_in() -> None:
    network = trained("residual", 1)
    expected = inference_module(network)(observations(4))
    network.train()
    torch.testing.assert_close(inference_module(network)(observations(4)), expected, rtol=0, atol=0)
    assert network.training


def test_channels_last_changes_the_layout_alone() -> None:
    network = trained("residual", 2)
    before = network(observations(3)).logits
    lay_out(network, ConnectFour.observation_shape)
    assert network.stem.weight.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(network(observations(3)).logits, before, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("batch", [1, 2, 37])
def test_an_exported_network_filled_with_other_weights_says_what_those_say(
    exported: tuple[str, onnx.ModelProto], batch: int
) -> None:
    kind, model = exported
    unfilled = model.SerializeToString()
    module = inference_module(trained(kind, 3))
    logits, value = run(with_weights(model, module), observations(batch))
    expected: tuple[Tensor, Tensor] = module(observations(batch))
    np.testing.assert_allclose(logits, expected[0], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(value, expected[1], rtol=1e-5, atol=1e-5)
    assert model.SerializeToString() == unfilled, "the original changed"


def test_an_exported_model_is_valid_and_takes_any_batch(exported: tuple[str, onnx.ModelProto]) -> None:
    _, model = exported
    onnx.checker.check_model(model, full_check=True)
    assert not model.graph.input[0].type.tensor_type.shape.dim[0].HasField("dim_value")


def test_an_exported_model_tells_nothing_of_the_machine_it_was_made_on(exported: tuple[str, onnx.ModelProto]) -> None:
    serialized = exported[1].SerializeToString()
    assert b".py" not in serialized
    assert b"forward" not in serialized


def test_every_weight_of_the_module_has_a_place_in_the_export(exported: tuple[str, onnx.ModelProto]) -> None:
    kind, model = exported
    names = set(inference_module(trained(kind, 0)).state_dict())
    assert names <= {initializer.name for initializer in model.graph.initializer}


def test_a_network_that_cannot_fit_says_which_would() -> None:
    with pytest.raises(ValueError, match=r'value_head = "wdl" needs a game for two, and mine is for one; use "scalar"'):
        make_network(Mine(), NetworkConfig(kind="dense"))
    with pytest.raises(ValueError, match=r'"residual" needs observations .* those of mine are \[7\]; use "dense"'):
        make_network(Mine(), NetworkConfig(value_head="scalar"))


def test_the_seed_alone_sets_the_first_weights() -> None:
    def weights(seed: int) -> Tensor:
        torch.manual_seed(seed)
        network = make_network(TicTacToe(), CONFIGS["dense"])
        return InferenceModule(network).network.policy.weight

    assert torch.equal(weights(1), weights(1))
    assert not torch.equal(weights(1), weights(2))
