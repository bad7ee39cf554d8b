"""Networks in int8 are held to torch's own quantization, and to the solver's answers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from torch import Tensor
from torch.nn import functional as F

from alphazero.arena.players import NetworkPlayer
from alphazero.arena.solved import load_positions, mistakes
from alphazero.config import NetworkConfig
from alphazero.game import take
from alphazero.mcts.evaluator import Evaluation
from alphazero.network.architectures import (
    DenseNetwork,
    InferenceModule,
    ResidualNetwork,
    inference_module,
    make_network,
    scalar_value,
    to_onnx,
)
from alphazero.network.inference import NetworkEvaluators, OnnxEvaluator
from alphazero.network.int8 import Range, largest_weight, quantizable, quantized, ranges
from games.connect_four import ConnectFour
from games.tic_tac_toe import TicTacToe
from tests.networks import KINDS, trained
from tests.positions import random_positions

GAME = ConnectFour()
RANDOM = torch.Generator()
POSITIONS = random_positions(GAME, 200, plies=12, seed=0)
Rounding = Callable[[Tensor], Tensor]
INCLUDED = Path(__file__).resolve().parents[2] / "games" / "data" / "connect_four"


def rounded_weights(weight: Tensor) -> Tensor:
    largest = largest_weight(torch.cpu.get_capabilities())  # 63 or 127, by the processor
    scale = weight.flatten(1).abs().amax(1).clamp(min=1e-6) / largest
    zero_points = torch.zeros(len(weight), dtype=torch.int32)
    return torch.fake_quantize_per_channel_affine(weight, scale, zero_points, 0, -largest, largest)


def forward(module: InferenceModule, observation: Tensor, activation: Rounding, weights: Rounding) -> Evaluation:
    """The network in torch, with the activations and weights that int8 rounds rounded in this way."""
    network = module.network
    if isinstance(network, DenseNetwork):
        x = activation(F.relu(network.layers[0](observation.flatten(1))))
        for layer in network.layers[1:]:
            x = activation(F.relu(F.linear(x, weights(layer.weight), layer.bias)))
        return Evaluation(network.policy(x), scalar_value(network.value(x)))
    assert isinstance(network, ResidualNetwork)

    def conv(layer: torch.nn.Conv2d, x: Tensor) -> Tensor:
        return F.conv2d(x, weights(layer.weight), layer.bias, padding=layer.padding)

    stem = network.stem(observation)
    x = activation(F.relu(stem if network.position is None else stem + network.position))
    for block in network.blocks:
        y = activation(F.relu(conv(block.conv1, x)))
        x = activation(F.relu(x + activation(conv(block.conv2, y))))
    heads = (network.policy_conv, network.value_conv)
    policy, value = (activation(F.relu(conv(layer, x))).flatten(1) for layer in heads)
    return Evaluation(network.policy(policy), scalar_value(network.value(F.relu(network.value_hidden(value)))))


def activations(module: InferenceModule, observation: Tensor) -> list[Tensor]:
    """The activations that int8 rounds, as they are without rounding."""
    seen: list[Tensor] = []

    def see(activation: Tensor) -> Tensor:
        seen.append(activation)
        return activation

    forward(module, observation, see, lambda weight: weight)
    return seen


def in_torch(module: InferenceModule, observation: Tensor) -> Evaluation:
    """The network with everything rounded that int8 rounds, by torch's definitions, in floating point."""
    exact = iter(activations(module, observation))

    def rounded(activation: Tensor) -> Tensor:
        observer = torch.ao.quantization.MinMaxObserver(dtype=torch.quint8, eps=1e-12)
        observer(next(exact))
        scale, zero_point = observer.calculate_qparams()
        return torch.fake_quantize_per_tensor_affine(activation, float(scale), int(zero_point), 0, 255)

    return forward(module, observation, rounded, rounded_weights)


@pytest.mark.parametrize("kind", KINDS)
def test_int8_rounds_as_torch_does(kind: str) -> None:
    """A sum that lies between two levels may be rounded to either: so they agree, but for a few roundings."""
    module = inference_module(trained(kind, 3))
    observation = GAME.observe(POSITIONS)
    said = NetworkEvaluators(GAME, engine="int8")(module, POSITIONS)(POSITIONS, RANDOM)
    expected = in_torch(module, observation)
    plain = Evaluation(*module(observation))
    for ours, torchs, exact in zip(said[:2], expected[:2], plain[:2], strict=True):
        rounding = (torchs - exact).square().mean().sqrt()
        assert (ours - torchs).square().mean().sqrt() < rounding / 2
        assert rounding > 0


def test_ranges_are_those_of_the_network_in_torch() -> None:
    module = inference_module(trained("residual", 4))
    found = ranges(to_onnx(module, GAME.observation_shape), GAME.observe(POSITIONS).numpy())
    expected = activations(module, GAME.observe(POSITIONS))
    assert len(found) == len(expected)
    pairs = sorted((min(0.0, float(a.min())), float(a.max())) for a in expected)
    np.testing.assert_allclose(sorted(found.values()), pairs, rtol=1e-5, atol=1e-6)


def test_zero_is_a_level_of_every_range() -> None:
    for low, high in ((0.0, 3.0), (-2.0, 1.0), (-0.3, 0.0), (0.0, 0.0)):
        level = Range(low, high)
        assert (level.zero_point == 0) == (low == 0)
        levels = (np.arange(256) - int(level.zero_point)) * level.scale
        assert 0.0 in levels
        assert levels[0] <= low + level.scale / 2
        assert levels[-1] >= high - level.scale / 2


@pytest.mark.parametrize(("largest", "kind"), [(127, "residual"), (63, "residual"), (63, "dense")])
def test_weights_are_whole_numbers_up_to_the_largest_in_every_channel(largest: int, kind: str) -> None:
    module = inference_module(trained(kind, 5))
    model = to_onnx(module, GAME.observation_shape)
    found = ranges(model, GAME.observe(POSITIONS).numpy())
    tensors = {t.name: numpy_helper.to_array(t) for t in quantized(model, found, largest=largest).graph.initializer}
    weights = {name: tensor for name, tensor in tensors.items() if name.endswith(".int8")}
    assert len(weights) == len([node for node in model.graph.node if node.output[0] in quantizable(model).ends
                                and node.op_type != "Add"])  # fmt: skip
    for name, weight in weights.items():
        channels = weight.T if weight.ndim == 2 else weight  # a dense layer's lie in columns
        assert (np.abs(channels.reshape(len(channels), -1)).max(1) == largest).all()
        original = module.get_parameter(name.removesuffix(".int8")).numpy()
        scale = tensors[name.replace(".int8", ".scale")].reshape(-1, *[1] * (original.ndim - 1))
        assert (np.abs(channels * scale - original) <= scale / 2 * (1 + 1e-5)).all()


def test_a_channel_without_weights_stays_at_its_bias() -> None:
    module = inference_module(trained("residual", 6))
    assert isinstance(module.network, ResidualNetwork)
    module.network.policy_conv.weight[0] = 0
    said = NetworkEvaluators(GAME, engine="int8")(module, POSITIONS)(POSITIONS, RANDOM)
    expected = in_torch(module, GAME.observe(POSITIONS))
    torch.testing.assert_close(said.logits, expected.logits, rtol=0.05, atol=0.05)


@pytest.mark.parametrize(
    ("has", "largest"),
    [
        ({"avx2": True}, 63),
        ({"avx2": True, "avx512_vnni": True}, 127),
        ({"avx2": True, "avx_vnni": True}, 127),
        ({}, 127),
    ],
)
def test_processors_that_add_in_16_bits_get_smaller_weights(has: dict[str, bool], largest: int) -> None:
    """255 * 63 * 2 = 32,130 fits into 16 bits, which end at 32,767; 255 * 127 * 2 = 64,770 does not."""
    assert largest_weight(has) == largest
    assert 255 * 63 * 2 < 2**15 <= 255 * 127 * 2


def test_the_included_agent_plays_as_well_in_int8() -> None:
    positions = load_positions(INCLUDED / "positions.csv", GAME)
    model = onnx.load(INCLUDED / "agent.onnx")
    sample = take(positions.states, torch.arange(0, len(positions.states[0]), 12))
    eight = OnnxEvaluator(GAME, quantized(model, ranges(model, GAME.observe(sample).numpy())))
    exact, coarse = OnnxEvaluator(GAME, model), eight
    errors = [int(mistakes(NetworkPlayer(GAME, evaluator), positions).sum()) for evaluator in (exact, coarse)]
    # Among the positions where the two differ, either is as likely to be right.
    moves = [NetworkPlayer(GAME, evaluator).actions(positions.states) for evaluator in (exact, coarse)]
    differing = int((moves[0] != moves[1]).sum())
    assert 0 < differing < 0.03 * len(positions.states[0])
    assert abs(errors[0] - errors[1]) <= 4 * differing**0.5
    values = [evaluator(positions.states, RANDOM).value for evaluator in (exact, coarse)]
    assert (values[0] - values[1]).square().mean().sqrt() < 0.04


def test_int8_needs_positions() -> None:
    with pytest.raises(ValueError, match="the engine int8 needs positions to take its scales from"):
        NetworkEvaluators(GAME, engine="int8")(inference_module(trained("dense", 1)))


def test_a_network_of_one_layer_has_nothing_to_quantize() -> None:
    """Then it stays as it is."""
    game = TicTacToe()
    torch.manual_seed(0)
    module = inference_module(make_network(game, NetworkConfig(kind="dense", blocks=1, width=4)))
    states = game.initial(3)
    said = NetworkEvaluators(game, engine="int8")(module, states)(states, RANDOM)
    torch.testing.assert_close(said.logits, module(game.observe(states))[0])
