"""Evaluators agree with the plain network and with each other; rollouts with sums over all games."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from alphazero.config import NetworkConfig
from alphazero.game import take
from alphazero.mcts.evaluator import EvaluationError, UniformEvaluator
from alphazero.network.architectures import DenseNetwork, inference_module, make_network, scalar_value, to_onnx
from alphazero.network.cache import with_cache
from alphazero.network.inference import NetworkEvaluators, OnnxEvaluator, TorchEvaluator, averaged
from alphazero.network.threads import on_all_cores
from games.connect_four import ConnectFour
from games.tic_tac_toe import TicTacToe
from tests.networks import CONFIGS, KINDS, trained
from tests.positions import random_positions
from tests.stubs import Mine

GAME = ConnectFour()
RANDOM = torch.Generator()
POSITIONS = random_positions(GAME, 37, plies=11, seed=0)


@pytest.mark.parametrize("engine", ["onnx", "torch"])
@pytest.mark.parametrize("kind", KINDS)
def test_engines_in_float32_agree_with_the_plain_network(kind: str, engine: str) -> None:
    evaluators = NetworkEvaluators(GAME, engine=engine)
    for seed in (1, 2):  # the second set of weights takes the place of the first
        network = trained(kind, seed)
        prediction = network(GAME.observe(POSITIONS))
        said = evaluators(inference_module(network))(POSITIONS, RANDOM)
        torch.testing.assert_close(said.logits, prediction.logits, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(said.value, scalar_value(prediction.value), rtol=1e-5, atol=1e-5)


def test_the_first_weights_may_be_fresh_ones() -> None:
    """As in a run: exported before learning, when biases are 0, and filled with what is learned later."""
    torch.manual_seed(0)
    evaluators = NetworkEvaluators(GAME, engine="onnx")
    evaluators(inference_module(make_network(GAME, CONFIGS["residual"])))
    network = trained("residual", 1)
    said = evaluators(inference_module(network))(POSITIONS, RANDOM)
    torch.testing.assert_close(said.logits, network(GAME.observe(POSITIONS)).logits, rtol=1e-5, atol=1e-5)


def test_bfloat16_differs_by_no_more_than_its_roundings() -> None:
    """|computed - exact| <= ((1 + u)^k - 1) times the network of absolute values (Higham 2002, section 3.1).

    u = 2^-8, and on the way through a layer a number is rounded with its weight, its sum and its bias: k = 3.
    """
    network = trained("dense", 4)
    module = inference_module(network)
    said = NetworkEvaluators(GAME, engine="bfloat16")(module)(POSITIONS, RANDOM)
    logits, value = module(GAME.observe(POSITIONS))
    absolute = trained("dense", 4)
    assert isinstance(absolute, DenseNetwork)
    for parameter in absolute.parameters():
        parameter.data.abs_()
    bound = absolute(GAME.observe(POSITIONS))
    growth = (1 + 2**-8) ** (3 * 3) - 1
    assert ((said.logits - logits).abs() <= growth * bound.logits).all()
    # The tangent's slope is at most 1, and its result is rounded once more.
    assert ((said.value - value).abs() <= growth * bound.value[:, 0] + 2**-8).all()
    assert not torch.equal(said.logits, logits), "this is not bfloat16"


@pytest.mark.parametrize("engine", ["onnx", "torch"])
def test_answers_are_float32_and_do_not_depend_on_neighbours(engine: str) -> None:
    evaluator = NetworkEvaluators(GAME, engine=engine)(inference_module(trained("residual", 5)))
    together = evaluator(POSITIONS, RANDOM)
    assert together.logits.dtype == together.value.dtype == torch.float32
    # Other batches may sum in another order.
    for index in (torch.tensor([3]), torch.arange(16, 33)):
        apart = evaluator(take(POSITIONS, index), RANDOM)
        torch.testing.assert_close(apart.logits, together.logits[index], rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(apart.value, together.value[index], rtol=1e-5, atol=1e-5)


def test_evaluators_leave_the_module_as_it_is() -> None:
    module = inference_module(trained("residual", 6))
    for engine in ("bfloat16", "torch", "onnx"):
        NetworkEvaluators(GAME, engine=engine)(module)
    assert all(p.dtype == torch.float32 and p.is_contiguous() for p in module.parameters())


def test_an_evaluator_keeps_its_weights_when_newer_ones_arrive() -> None:
    evaluators = NetworkEvaluators(GAME, engine="onnx")
    first = evaluators(inference_module(trained("dense", 1)))
    before = first(POSITIONS, RANDOM).logits
    second = evaluators(inference_module(trained("dense", 2)))
    assert torch.equal(first(POSITIONS, RANDOM).logits, before)
    assert not torch.allclose(second(POSITIONS, RANDOM).logits, before, atol=0.1)


def test_onnx_is_refused_off_the_cpu() -> None:
    with pytest.raises(ValueError, match='the engine onnx runs on the CPU, not on cuda; use "torch"'):
        NetworkEvaluators(GAME, engine="onnx", device="cuda")


def test_an_onnx_evaluator_takes_a_files_bytes_as_well() -> None:
    module = inference_module(trained("dense", 1))
    model = to_onnx(module, GAME.observation_shape)
    from_bytes = OnnxEvaluator(GAME, model.SerializeToString())(POSITIONS, RANDOM)
    assert torch.equal(from_bytes.logits, OnnxEvaluator(GAME, model)(POSITIONS, RANDOM).logits)


def test_torch_networks_see_few_sizes_of_batch() -> None:
    sizes: list[int] = []

    class Recording(nn.Module):
        def forward(self, observation: Tensor) -> tuple[Tensor, Tensor]:
            sizes.append(len(observation))
            return observation.flatten(1)[:, :7], observation.flatten(1)[:, 0]

    evaluator = TorchEvaluator(GAME, Recording(), dtype=torch.float32)
    for batch in (1, 15, 16, 17, 33):
        assert len(evaluator(take(POSITIONS, slice(0, batch)), RANDOM).value) == batch
    assert sizes == [16, 16, 16, 32, 48]


def test_networks_of_other_games_fit_as_well() -> None:
    config = NetworkConfig(kind="dense", width=8, blocks=1, value_head="scalar")
    for game in (Mine(), TicTacToe()):
        module = inference_module(make_network(game, config))
        said = NetworkEvaluators(game, engine="onnx")(module)(game.initial(4), RANDOM)
        torch.testing.assert_close(said.logits, module(game.observe(game.initial(4)))[0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("engine", ["onnx", "torch"])
def test_an_averaged_network_says_the_mean_about_a_position_and_its_mirror_image(engine: str) -> None:
    game = ConnectFour()
    moves = [0, 1, 1, 5, 3]
    here, there = game.initial(1), game.initial(1)
    for move in moves:
        here = game.step(here, torch.tensor([move])).state
        there = game.step(there, torch.tensor([6 - move])).state
    plain = NetworkEvaluators(game, engine=engine)(inference_module(trained("residual", 3)))
    one, other = plain(here, RANDOM), plain(there, RANDOM)
    assert (one.logits - other.logits.flip(1)).abs().max() > 0.1  # the network itself is not symmetric
    said = averaged(game, plain)(here, RANDOM)
    torch.testing.assert_close(said.value, (one.value + other.value) / 2)
    # Up to a factor, the geometric mean of probabilities; p(0) of the one is p(6) of the other.
    expected = (one.logits.softmax(1) * other.logits.softmax(1).flip(1)).sqrt()
    torch.testing.assert_close(said.logits.softmax(1), expected / expected.sum(1, keepdim=True))


def test_an_averaged_network_rates_turned_boards_alike() -> None:
    """Tic-tac-toe has 8 symmetries, among them turns, whose inverse is another one."""
    game = TicTacToe()
    torch.manual_seed(1)
    network = make_network(game, NetworkConfig(kind="dense", blocks=1, width=8))
    for parameter in network.parameters():
        nn.init.normal_(parameter)
    evaluator = averaged(game, NetworkEvaluators(game, engine="torch")(inference_module(network)))
    said = []
    for moves in ([0, 1, 5], [2, 5, 7]):  # the second is the first, turned to the right by a quarter
        state = game.initial(1)
        for move in moves:
            state = game.step(state, torch.tensor([move])).state
        said.append(evaluator(state, RANDOM))
    turned = said[0].logits.softmax(1).view(1, 3, 3).rot90(-1, (1, 2)).flatten(1)
    torch.testing.assert_close(said[1].logits.softmax(1), turned)
    torch.testing.assert_close(said[1].value, said[0].value)


@pytest.mark.parametrize("engine", ["onnx", "torch"])
def test_behind_a_cache_and_on_several_cores_a_network_is_averaged_all_the_same(engine: str) -> None:
    """As in play and in the library, which have both."""
    plain = NetworkEvaluators(GAME, engine=engine)(inference_module(trained("residual", 3)))
    wrapped = with_cache(GAME, on_all_cores(plain, 2))
    wrapped(POSITIONS, RANDOM)  # what the cache holds is of the positions as they are
    expected, said = averaged(GAME, plain)(POSITIONS, RANDOM), averaged(GAME, wrapped)(POSITIONS, RANDOM)
    torch.testing.assert_close(said.logits, expected.logits)
    torch.testing.assert_close(said.value, expected.value)
    alone = wrapped(POSITIONS, RANDOM)
    assert (alone.logits.log_softmax(1) - said.logits.log_softmax(1)).abs().max() > 0.1


@pytest.mark.parametrize("engine", ["onnx", "torch"])
def test_a_network_that_answers_no_numbers_is_refused(engine: str) -> None:
    network = trained("residual", 3)
    evaluator = NetworkEvaluators(GAME, engine=engine)
    evaluator(inference_module(network))(POSITIONS, RANDOM)
    next(network.parameters()).data[0] = torch.nan
    with pytest.raises(EvaluationError, match="values that are no numbers"):
        evaluator(inference_module(network))(POSITIONS, RANDOM)


def test_only_networks_of_games_with_symmetries_are_averaged() -> None:
    uniform = UniformEvaluator(GAME)
    assert averaged(GAME, uniform) is uniform
