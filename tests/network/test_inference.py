"""Evaluators agree with the plain network and with each other; rollouts with sums over all games."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from alphazero.arena.rollouts import RolloutEvaluator
from alphazero.config import NetworkConfig
from alphazero.game import Game, State, take
from alphazero.mcts.evaluator import TimedEvaluator, UniformEvaluator
from alphazero.network.architectures import DenseNetwork, inference_module, make_network, scalar_value, to_onnx
from alphazero.network.inference import NetworkEvaluators, OnnxEvaluator, TorchEvaluator
from games.connect_four import ConnectFour
from games.tic_tac_toe import TicTacToe
from tests.mcts.test_endgames import tic_tac_toe
from tests.mcts.test_kernels import random_positions
from tests.network.test_architectures import CONFIGS, KINDS, trained
from tests.stubs import Again, AgainState, Drift, Mine, MineState

GAME = ConnectFour()
RANDOM = torch.Generator()
POSITIONS = random_positions(GAME, 37, 12, torch.Generator().manual_seed(0))


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
def test_answers_are_float32_and_hang_on_no_neighbour(engine: str) -> None:
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
    with pytest.raises(ValueError, match='the ONNX engine runs on the CPU, not on cuda; use engine = "torch"'):
        NetworkEvaluators(GAME, engine="onnx", device="cuda")


def test_an_onnx_evaluator_takes_a_files_bytes_as_well() -> None:
    module = inference_module(trained("dense", 1))
    model = to_onnx(module, GAME.observation_shape)
    from_bytes = OnnxEvaluator(GAME, model.SerializeToString())(POSITIONS, RANDOM)
    assert torch.equal(from_bytes.logits, OnnxEvaluator(GAME, model)(POSITIONS, RANDOM).logits)


def test_uniform_says_nothing_and_samples_a_box_evenly() -> None:
    said = UniformEvaluator(GAME)(POSITIONS, RANDOM)
    assert said.logits.eq(0).all()
    assert said.value.eq(0).all()
    game, count = Drift(), 200
    actions = UniformEvaluator(game, samples=50)(game.initial(count), RANDOM.manual_seed(0)).actions
    assert actions is not None
    assert actions.shape == (count, 50, 2)
    low, high = map(torch.tensor, game.actions)
    assert ((actions >= low) & (actions <= high)).all()
    # Uniform between bounds: mean 0, variance width^2 / 12.
    assert (actions.mean((0, 1)).abs() < 5 * (high - low) / math.sqrt(12 * count * 50)).all()


def random_value(game: Game, state: State) -> tuple[float, float]:
    """Mean return of a batch of one under random play, for the player to move, and its second moment.

    By summing over every line of play.
    """
    legal = game.legal(state)[0].nonzero()[:, 0]
    first, second = 0.0, 0.0
    for action in legal:
        successor, reward, done = game.step(state, action[None])
        sign = 1.0 if game.to_play(successor) == game.to_play(state) else -1.0
        mean, square = (0.0, 0.0) if done else random_value(game, successor)
        factor, gain = sign * game.discount, float(reward)
        first += (gain + factor * mean) / len(legal)
        second += (gain**2 + 2 * gain * factor * mean + factor**2 * square) / len(legal)
    return first, second


@pytest.mark.parametrize(
    ("game", "state"),
    [
        (TicTacToe(), tic_tac_toe("x o x / . o . / . x .")),
        (TicTacToe(), tic_tac_toe("x o x / . o . / . . .")),
        (Again(), AgainState(torch.tensor([6]), torch.tensor([1], dtype=torch.int8))),
        (Mine(), MineState(torch.tensor([1]), torch.tensor([False]))),
    ],
    ids=["alternating", "alternating, other to move", "consecutive moves", "discounted"],
)
def test_rollouts_come_to_the_mean_over_all_lines_of_play(game: Game, state: State) -> None:
    mean, square = random_value(game, state)
    rollouts = 4000
    said = RolloutEvaluator(game, rollouts=rollouts)(state, torch.Generator().manual_seed(0))
    assert abs(float(said.value) - mean) < 5 * math.sqrt((square - mean**2) / rollouts)


def test_rollouts_of_a_batch_stay_with_their_positions() -> None:
    game = Again()
    state = AgainState(torch.tensor([1, 2, 9]), torch.zeros(3, dtype=torch.int8))
    said = RolloutEvaluator(game, rollouts=50)(state, torch.Generator().manual_seed(0))
    assert float(said.value[0]) == 1.0  # one match left: whoever takes it wins
    assert -1 <= float(said.value[2]) < 1


def test_a_timed_evaluator_counts_positions() -> None:
    timed = TimedEvaluator(UniformEvaluator(GAME))
    for _ in range(3):
        timed(POSITIONS, RANDOM)
    assert timed.evaluations == 3 * len(POSITIONS.mine)
    assert timed.seconds > 0


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
