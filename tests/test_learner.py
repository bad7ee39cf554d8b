"""The learner: losses, schedule, steps and averages against closed forms, and symmetries that change nothing."""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import rel_entr, softmax
from torch import Tensor, nn
from torch.nn import functional as F

from alphazero.config import LearnerConfig, NetworkConfig
from alphazero.game import masked, take
from alphazero.learner import (
    Batch,
    Learner,
    LearningError,
    augmented,
    by_stage,
    draw,
    end_loss,
    softened,
    terciles,
    value_loss,
)
from alphazero.mcts.evaluator import UniformEvaluator
from alphazero.network.architectures import Prediction, inference_module
from alphazero.replay import Samples
from games.connect_four import ConnectFour
from games.tic_tac_toe import TicTacToe, TicTacToeState
from tests.positions import tic_tac_toe_board
from tests.random_samples import samples

GAME = TicTacToe()
DENSE = NetworkConfig(kind="dense", blocks=1, width=16)
PLAIN = LearnerConfig(batch_size=8, precision="float32", warmup=0.0, schedule="constant")


def learner(config: LearnerConfig = PLAIN, *, symmetric: bool = False, seed: int = 0) -> Learner:
    """A learner without augmentation unless `symmetric`."""
    made = Learner(GAME, config, DENSE, seed=seed)
    if not symmetric:
        made.game = Asymmetric()
    return made


class Asymmetric(TicTacToe):
    """Tic-tac-toe whose samples are not augmented."""

    def symmetries(self) -> tuple[()]:
        return ()


def learn(made: Learner, training_set: Samples, steps: int, *, seed: int = 0, at: float = 0.5) -> dict[str, float]:
    generator = torch.Generator().manual_seed(seed)
    return made.learn(training_set, made.learning_rates(steps, at, at), generator)


# --- Losses


def test_the_value_loss_of_wins_draws_and_losses_is_a_cross_entropy() -> None:
    predicted = torch.tensor([[0.2, -1.0, 0.7], [0.2, -1.0, 0.7], [1.0, 0.0, -1.0]])
    # Won game, target 0.5: 0.75 win, 0.25 loss. Drawn, target -0.2: 0.8 draw, 0.2 loss. Lost game, target -1.
    distribution = torch.tensor([[0.75, 0.0, 0.25], [0.0, 0.8, 0.2], [0.0, 0.0, 1.0]])
    found = value_loss(predicted, torch.tensor([0.5, -0.2, -1.0]), torch.tensor([0.0, 1.0, 0.0]))
    # H(p, q) = H(p) + KL(p || q), by scipy
    q = softmax(predicted.double().numpy(), axis=1)
    p = distribution.double().numpy()
    expected = rel_entr(p, q).sum(1) + torch.special.entr(distribution.double()).sum(1).numpy()
    torch.testing.assert_close(found.double(), torch.from_numpy(expected), rtol=1e-6, atol=1e-6)


def test_the_value_losss_least_is_at_the_target() -> None:
    """Its gradient, q - p, has to vanish in P(win) - P(loss) at the target's."""
    for target, outcome in ((0.3, 1.0), (-0.6, 0.0), (0.0, 0.0)):
        draw = 1 - abs(target) if outcome == 0 else 0.0
        p = torch.tensor([[(1 - draw + target) / 2, draw, (1 - draw - target) / 2]])
        logits = p.clamp(min=1e-12).log().requires_grad_()
        value_loss(logits, torch.tensor([target]), torch.tensor([float(outcome == 0)])).sum().backward()
        assert logits.grad is not None
        torch.testing.assert_close(logits.grad, torch.zeros(1, 3), atol=1e-6, rtol=0)


def test_the_value_loss_of_one_number_is_a_squared_error() -> None:
    found = value_loss(torch.tensor([[0.0], [0.5]]), torch.tensor([0.5, -1.0]), torch.tensor([1.0, -1.0]))
    torch.testing.assert_close(found, torch.tensor([0.25, (math.tanh(0.5) + 1) ** 2]))


def test_losses_are_the_closed_forms_means_and_the_weights_count() -> None:
    made, batch = learner(replace(PLAIN, batch_size=400, value_weight=0.5)), samples(1)
    observation, legal = GAME.observe(batch.state), GAME.legal(batch.state)
    with torch.no_grad():
        prediction = made.network(observation)
    log_policy = masked(prediction.logits, legal).log_softmax(1)
    cross_entropy = -float((batch.policy * log_policy)[legal].sum())
    value = float(value_loss(prediction.value, batch.value, batch.drawn))
    measures = learn(made, batch._replace(weight=torch.tensor([3.0])), 1)
    assert measures["loss/policy"] == pytest.approx(3 * cross_entropy, rel=1e-5)
    assert measures["loss/value"] == pytest.approx(3 * value, rel=1e-5)
    assert measures["loss/total"] == pytest.approx(3 * (cross_entropy + 0.5 * value), rel=1e-5)
    target = batch.policy[legal]
    assert measures["loss/target_entropy"] == pytest.approx(-float((target * target.log()).sum()), rel=1e-5)
    share = log_policy[legal].exp()
    assert measures["loss/policy_entropy"] == pytest.approx(-float((share * share.log()).sum()), rel=1e-5)


def test_illegal_actions_have_no_part_in_the_gradient() -> None:
    """The last layer's bias of an action gets a gradient p - pi where it is legal, and none elsewhere."""
    made = learner(replace(PLAIN, max_grad_norm=1e9))
    position = tic_tac_toe_board("x o x / . o . / . x .")
    one = samples(1)._replace(state=position)
    legal = GAME.legal(position)
    one = one._replace(policy=legal / legal.sum(1, keepdim=True))
    with torch.no_grad():
        share = masked(made.network(GAME.observe(position)).logits, legal).softmax(1)
    learn(made, one, 1)
    gradient = made.network.policy.bias.grad
    assert gradient is not None
    assert gradient[~legal[0]].eq(0).all()
    torch.testing.assert_close(gradient, (share - one.policy)[0])


@pytest.mark.parametrize("size", [1, 2, 3, 100, 3_001])
def test_terciles_part_the_samples_in_thirds(size: int) -> None:
    many = samples(size)._replace(plies_left=torch.randint(1, 43, (size,), dtype=torch.int32))
    expected = np.quantile(many.plies_left.numpy(), [1 / 3, 2 / 3], method="lower")
    assert terciles(many).tolist() == expected.tolist()


def test_losses_by_stage_are_means_of_their_stages() -> None:
    losses = torch.tensor([1.0, 2.0, 4.0, 8.0, 16.0, 32.0])
    measures = by_stage(losses, torch.tensor([1, 2, 3, 4, 5, 9]), torch.tensor([2.0, 4.0]))
    means = {stage: float(measures[f"loss_by_stage/{stage}"] / measures[f"share/{stage}"]) for stage in STAGES}
    assert means == pytest.approx({"opening": (16 + 32) / 2, "middle": (4 + 8) / 2, "end": (1 + 2) / 2})


STAGES = ("opening", "middle", "end")


# --- Symmetries


class Equivariant(nn.Module):
    """Turns and mirrors with the board: a 3 x 3 convolution alike in all eight directions, and sums."""

    def __init__(self) -> None:
        super().__init__()
        self.centre, self.side, self.corner = (
            nn.Parameter(torch.tensor(w)) for w in ([1.0, -0.5], [0.3, 0.9], [-0.7, 0.2])
        )

    def forward(self, observation: Tensor) -> Prediction:
        c, s, k = self.centre, self.side, self.corner
        kernel = torch.stack([k, s, k, s, c, s, k, s, k], -1).view(1, 2, 3, 3)
        logits = F.conv2d(observation, kernel, padding=1).flatten(1)
        total = logits.square().sum(1)
        return Prediction(logits, torch.stack((total, torch.ones_like(total), -0.3 * total), 1))


def test_an_augmented_samples_loss_is_the_originals_under_a_network_that_turns_with_the_board() -> None:
    one = samples(1)
    many, symmetry = draw(GAME, one, 400, torch.Generator().manual_seed(0))
    assert set(symmetry.tolist()) == set(range(8))
    observation, legal, policy, _ = augmented(GAME, Batch(many, symmetry))
    prediction = Equivariant()(observation)
    losses = -(policy * masked(prediction.logits, legal).log_softmax(1).clamp(min=-1e4)).sum(1)
    losses = losses + value_loss(prediction.value, many.value, many.drawn)
    torch.testing.assert_close(losses, losses[:1].expand(400))
    plain = Equivariant()(GAME.observe(one.state))
    expected = -(one.policy * masked(plain.logits, GAME.legal(one.state)).log_softmax(1).clamp(min=-1e4)).sum(1)
    expected = expected + value_loss(plain.value, one.value, one.drawn)
    torch.testing.assert_close(losses[:1], expected)


def test_all_eight_views_of_a_board_come_up_equally_often_and_keep_policy_and_mask_with_the_cells() -> None:
    corner = tic_tac_toe_board("x . . / . . o / . . .")
    draws = 8000
    many = samples(1)._replace(state=corner, policy=torch.tensor([[0, 0.1, 0.2, 0.3, 0.4, 0, 0, 0, 0]]))
    many = many._replace(end=corner)
    drawn = draw(GAME, many, draws, torch.Generator().manual_seed(0))
    observation, legal, policy, end = augmented(GAME, drawn, ends=True)
    assert torch.equal(end, observation)  # the same position under the same symmetry
    assert torch.equal(legal, observation.sum(1).flatten(1) == 0)
    views, counts = torch.cat([observation.flatten(1), policy], 1).unique(dim=0, return_counts=True)
    assert len(views) == 8
    assert ((counts / draws - 1 / 8).abs() < 5 * math.sqrt(1 / 8 * 7 / 8 / draws)).all()
    # By hand: the board mirrored left to right and turned a quarter to the right.
    pictures = {
        "x . . / . . o / . . .": [0, 0.1, 0.2, 0.3, 0.4, 0, 0, 0, 0],
        ". . x / o . . / . . .": [0.2, 0.1, 0, 0, 0.4, 0.3, 0, 0, 0],
        ". . x / . . . / . o .": [0, 0.3, 0, 0, 0.4, 0.1, 0, 0, 0.2],
    }
    for picture, expected in pictures.items():
        planes = GAME.observe(tic_tac_toe_board(picture))[0]
        (index,) = (views[:, :18] == planes.flatten()).all(1).nonzero()[:, 0]
        torch.testing.assert_close(views[index, 18:], torch.tensor(expected))


def test_connect_four_is_mirrored_half_of_the_time() -> None:
    game = ConnectFour()
    state = game.step(game.initial(2000), torch.zeros(2000, dtype=torch.int64)).state
    many = samples(1).at(torch.zeros(2000, dtype=torch.int64))
    many = many._replace(state=state, policy=torch.arange(7.0).expand(2000, 7))
    observation, _, policy, _ = augmented(game, draw(game, many, 2000, torch.Generator().manual_seed(0)))
    mirrored = observation[:, 1, 5, 6] == 1
    assert abs(float(mirrored.float().mean()) - 0.5) < 5 * math.sqrt(0.25 / 2000)
    assert torch.equal(policy[mirrored], torch.arange(6.0, -1, -1).expand(int(mirrored.sum()), 7))
    assert torch.equal(policy[~mirrored], torch.arange(7.0).expand(int((~mirrored).sum()), 7))


def test_the_end_is_foreseen_as_who_moves_in_it_sees_it() -> None:
    """By hand: two positions of two cells, and for each what is foreseen if its player moves again, or the other."""
    predicted = torch.tensor([[[0.5, 0.0], [1.0, 1.0]], [[0.5, 0.0], [1.0, 1.0]]])
    end = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    losses = end_loss(predicted, end, torch.tensor([0, 1]))
    torch.testing.assert_close(losses, torch.tensor([0.25 / 2, 1.0 / 2]))


def test_learning_the_end_is_left_out_of_what_plays() -> None:
    """A head for the end learns where a game of tic-tac-toe comes to; the inference copy has no such weights."""
    game, many = TicTacToe(), samples(32)
    finished = tic_tac_toe_board("x x x / o o . / . . .")
    many = many._replace(end=take(finished, torch.zeros(32, dtype=torch.int64)))
    config = NetworkConfig(kind="dense", blocks=1, width=32, end_weight=1.0)
    made = Learner(game, LearnerConfig(batch_size=32, precision="float32", learning_rate=0.01), config, seed=1)
    first = made.learn(many, [0.0], torch.Generator().manual_seed(0))["loss/end"]
    last = made.learn(many, [0.01] * 300, torch.Generator().manual_seed(0))["loss/end"]
    assert last < first / 2  # of eight views of each position, with 32 units
    assert not [name for name in made.weights().state_dict() if "end" in name]
    without = Learner(game, LearnerConfig(precision="float32"), replace(config, end_weight=0.0), seed=1)
    assert made.weights().state_dict().keys() == without.weights().state_dict().keys()
    assert "loss/end" not in without.learn(many, [0.0], torch.Generator().manual_seed(0))


def test_the_end_of_a_game_that_was_not_played_out_is_not_learned() -> None:
    config = NetworkConfig(kind="dense", blocks=1, width=32, end_weight=1.0)
    many = samples(32)
    cut = many._replace(end=many.state, played_out=torch.zeros(32))
    made, same = (Learner(TicTacToe(), PLAIN, config, seed=1) for _ in range(2))
    assert made.learn(cut, [0.01] * 5, torch.Generator().manual_seed(0))["loss/end"] == 0
    same.learn(cut._replace(end=many.end), [0.01] * 5, torch.Generator().manual_seed(0))
    assert all(
        torch.equal(one, other) for one, other in zip(made.tensors().values(), same.tensors().values(), strict=True)
    )


def test_a_policy_is_softened_to_its_fourth_root() -> None:
    """Of 81, 16 and 1 parts come 3, 2 and 1; what is 0, as illegal moves are, stays so."""
    found = softened(torch.tensor([[81.0, 0.0, 16.0, 1.0]]) / 98)
    torch.testing.assert_close(found, torch.tensor([[3.0, 0.0, 2.0, 1.0]]) / 6)


@pytest.mark.parametrize("kind", ["dense", "residual"])
def test_the_soft_policy_is_learned_beside_the_policy_and_left_out_of_what_plays(kind: str) -> None:
    """In a single position the two heads come to the policy and to its fourth root."""
    one = samples(1)
    config = NetworkConfig(kind=kind, blocks=1, width=16, soft_policy_weight=2.0)
    made = Learner(Asymmetric(), replace(PLAIN, learning_rate=0.02), config, seed=1)
    first = learn(made, one, 1)
    assert first["loss/total"] == pytest.approx(
        first["loss/policy"] + first["loss/value"] + 2 * first["loss/soft_policy"], rel=1e-5
    )
    made.learn(one, [0.02] * 300 + [0.001] * 100, torch.Generator().manual_seed(0))
    made.network.eval()
    legal = GAME.legal(one.state)
    with torch.no_grad():
        prediction = made.network(GAME.observe(one.state))
    assert prediction.soft_policy is not None
    policy, soft = (masked(logits, legal).softmax(1) for logits in (prediction.logits, prediction.soft_policy))
    torch.testing.assert_close(policy, one.policy, atol=0.02, rtol=0)
    torch.testing.assert_close(soft, softened(one.policy), atol=0.02, rtol=0)
    assert not [name for name in made.weights().state_dict() if "soft" in name]


# --- Networks of a user's own


def own(kind: str, config: LearnerConfig = PLAIN, **fields: Any) -> Learner:
    return Learner(TicTacToe(), config, NetworkConfig(kind=f"tests.own_networks:{kind}", **fields), seed=3)


def test_dropout_draws_by_the_seed_of_the_samples_and_by_nothing_else() -> None:
    def learned(seed: int, of_torch: int) -> list[Tensor]:
        made = own("Varied")
        torch.manual_seed(of_torch)
        before = torch.get_rng_state()
        learn(made, samples(40), 5, seed=seed)
        assert torch.equal(torch.get_rng_state(), before)
        return list(made.tensors().values())

    def same(one: list[Tensor], other: list[Tensor]) -> bool:
        return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))

    assert same(learned(1, 1), learned(1, 2))
    assert not same(learned(1, 1), learned(2, 1))


def test_whole_numbers_and_masks_stay_as_they_are_in_the_average() -> None:
    """torch's own average rounds down what rounding has made a little less than a whole number."""
    made = own("Varied", replace(PLAIN, ema_decay=0.9))  # by which 3, 6 and 7 become 2, 5 and 6
    learn(made, samples(40), 30)
    averaged = dict(made.average.module.module.named_buffers())
    assert averaged["order"].tolist() == list(range(17, -1, -1))
    assert averaged["mask"].tolist() == [number % 5 > 0 for number in range(18)]
    assert torch.equal(made.network.module.frozen, own("Varied").network.module.frozen)


def test_a_soft_policy_of_ones_own_is_learned_if_it_has_a_weight() -> None:
    made, without = own("Softened", soft_policy_weight=1.0), own("Softened")
    before = without.network.module.softer.clone()
    assert torch.equal(made.network.module.softer, before)
    assert "loss/soft_policy" in learn(made, samples(40), 3)
    assert "loss/soft_policy" not in learn(without, samples(40), 3)
    assert torch.equal(without.network.module.softer, before)
    assert not torch.equal(made.network.module.softer, before)


def test_an_end_of_ones_own_is_learned_if_it_has_a_weight() -> None:
    """It is a number for each cell, and comes to the mean of what is seen there."""
    many = samples(32)
    finished = tic_tac_toe_board("x x x / o o . / . . .")
    many = many._replace(end=take(finished, torch.zeros(32, dtype=torch.int64)))
    made = own("Foreseeing", end_weight=1.0)
    made.game = Asymmetric()
    turned = (made.game.to_play(many.state) != made.game.to_play(many.end)).long()
    learn(made, many, 300)
    made.learn(many, [0.05] * 400, torch.Generator().manual_seed(1))
    for half in turned.unique().tolist():
        torch.testing.assert_close(made.network.module.last[half], GAME.observe(finished)[0], rtol=0, atol=0.05)
    without = own("Foreseeing")
    before = without.network.module.last.clone()
    assert "loss/end" not in learn(without, many, 3)
    assert torch.equal(without.network.module.last, before)


# --- Steps


def test_the_learning_rate_rises_and_falls_as_its_formula_says() -> None:
    made = learner(LearnerConfig(learning_rate=0.8, warmup=0.1, schedule="cosine"))
    expected = {
        0.0: 0.0,
        0.05: 0.4,
        0.1: 0.8,
        0.325: 0.8 * (0.01 + 0.99 * (2 + math.sqrt(2)) / 4),
        0.55: 0.404,
        1.0: 0.008,
    }
    for progress, rate in expected.items():
        assert made.learning_rate(progress) == pytest.approx(rate, abs=1e-12), progress
    constant = learner(LearnerConfig(learning_rate=0.8, warmup=0.1, schedule="constant"))
    assert [constant.learning_rate(p) for p in (0.05, 0.1, 1.0)] == pytest.approx([0.4, 0.8, 0.8])


def test_steps_spread_over_their_part_of_the_run() -> None:
    made = learner(LearnerConfig(batch_size=4, learning_rate=0.8, warmup=1.0))
    rates: list[float] = []
    measures = made.learn(
        samples(8),
        made.learning_rates(4, 0.2, 0.6),
        torch.Generator(),
        progress=lambda _: rates.append(made.optimizer.param_groups[0]["lr"]),
    )
    assert rates == pytest.approx([0.8 * p for p in (0.2, 0.3, 0.4, 0.5)])
    assert measures["loss/learning_rate"] == pytest.approx(rates[-1])
    assert (made.steps, measures["learner/steps"]) == (4, 4)


@pytest.mark.parametrize("clip", [1e9, 0.05])
def test_a_first_step_of_sgd_is_its_closed_form(clip: float) -> None:
    """w - lr (g min(1, clip / |g|) + decay w); with gradients found here by plain cross-entropies."""
    config = replace(PLAIN, optimizer="sgd", learning_rate=0.1, weight_decay=0.01, max_grad_norm=clip, batch_size=5)
    made, one = learner(config), samples(1)
    network = Learner(GAME, config, DENSE, seed=0).network
    prediction = network(GAME.observe(one.state))
    legal = GAME.legal(one.state)[0]
    loss = F.cross_entropy(prediction.logits[:, legal], one.policy[:, legal])
    loss = loss + value_loss(prediction.value, one.value, one.drawn).mean()
    loss.backward()
    gradients = [p.grad for p in network.parameters() if p.grad is not None]
    norm = float(torch.cat([g.flatten() for g in gradients]).norm())
    measures = learn(made, one, 1)
    assert measures["loss/gradient_norm"] == pytest.approx(norm, rel=1e-4)
    for found, before, gradient in zip(made.network.parameters(), network.parameters(), gradients, strict=True):
        expected = before - 0.1 * (gradient * min(1.0, clip / norm) + 0.01 * before)
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)


def test_averaged_weights_are_the_exponential_average_of_all_steps() -> None:
    """The first step's are taken whole: d^(n-1) w_1 + (1 - d) sum_k d^(n-k) w_k."""
    decay, n = 0.7, 6
    made = learner(replace(PLAIN, ema_decay=decay))
    steps = []
    for step in range(n):
        learn(made, samples(8), 1, seed=step)
        steps.append([p.detach().clone() for p in made.network.parameters()])
    for number, found in enumerate(made.weights().network.parameters()):
        expected = decay ** (n - 1) * steps[0][number]
        for k in range(1, n):
            expected = expected + (1 - decay) * decay ** (n - 1 - k) * steps[k][number]
        torch.testing.assert_close(found, expected)


def test_averaged_weights_have_averaged_statistics_too() -> None:
    made = Learner(GAME, replace(PLAIN, ema_decay=0.0), NetworkConfig(blocks=1, width=4), seed=0)
    for step in range(3):
        learn(made, samples(8), 1, seed=step)
    # With no weight on the past the average is the network, its running means and variances included.
    observation = GAME.observe(samples(5).state)
    torch.testing.assert_close(made.weights()(observation), inference_module(made.network)(observation))


def test_it_overfits_a_handful_of_samples() -> None:
    """Down to the targets' own entropy, which no network can undercut."""
    made = learner(replace(PLAIN, batch_size=32, learning_rate=0.01))
    few = samples(8)
    for _ in range(4):
        measures = learn(made, few, 150)
    observation, legal = GAME.observe(few.state), GAME.legal(few.state)
    with torch.no_grad():
        prediction = made.network(observation)
    share = masked(prediction.logits, legal).softmax(1)
    assert float((share - few.policy).abs().max()) < 0.05
    assert measures["loss/policy"] - measures["loss/target_entropy"] < 0.01
    assert made.weights()(observation)[1].sub(few.value).abs().max() < 0.1


def test_the_same_seed_learns_the_same_weights() -> None:
    def weights(seed: int) -> Tensor:
        made = learner(seed=seed, symmetric=True)
        learn(made, samples(20), 5)
        return torch.cat([p.flatten() for p in made.network.parameters()])

    assert torch.equal(weights(3), weights(3))
    assert not torch.equal(weights(3), weights(4))


def test_making_a_learner_leaves_the_global_random_numbers_alone() -> None:
    before = torch.random.get_rng_state()
    learner(seed=123)
    assert torch.equal(before, torch.random.get_rng_state())


@pytest.mark.parametrize("poison", [math.nan, math.inf])
def test_a_loss_that_is_no_number_ends_learning_with_advice(poison: float) -> None:
    made = learner()
    poisoned = samples(8)
    poisoned = poisoned._replace(weight=torch.full((8,), poison))
    with pytest.raises(LearningError, match=r"the loss is (nan|inf) after 2 steps; lower learner\.learning_rate"):
        learn(made, poisoned, 2)


def test_gradients_that_are_no_numbers_end_learning_before_they_are_saved() -> None:
    """The loss of the step that ruins the weights is still a number; only the next one's would not be."""
    made = learner()
    made.network.value.weight.register_hook(lambda gradient: gradient * math.nan)
    with pytest.raises(LearningError, match="the gradient's norm is nan after 1 steps"):
        learn(made, samples(8), 1)


def test_bfloat16_learns_nearly_the_same() -> None:
    """Its loss is off by no more than rounding numbers to 8 bits can make it, about 2^-8 a layer and head."""
    first = [learn(learner(replace(PLAIN, precision=p)), samples(8), 1)["loss/total"] for p in ("float32", "bfloat16")]
    assert first[0] != first[1]
    assert first[0] == pytest.approx(first[1], rel=4 * 2**-8)


def test_no_steps_learn_nothing() -> None:
    made = learner()
    before = [p.detach().clone() for p in made.network.parameters()]
    learn(made, samples(8), 0)
    assert all(torch.equal(a, b) for a, b in zip(before, made.network.parameters(), strict=True))


# --- Taking up again


def test_a_learner_that_is_loaded_goes_on_as_if_it_had_never_stopped() -> None:
    made, other = learner(symmetric=True), learner(symmetric=True, seed=9)
    learn(made, samples(20), 3)
    tensors = {name: tensor.clone() for name, tensor in made.tensors().items()}
    other.load(tensors, copy.deepcopy(made.optimizer.state_dict()), made.steps)
    for one in (made, other):
        learn(one, samples(20), 3, seed=1)
    assert made.steps == other.steps == 6
    assert all(torch.equal(tensor, other.tensors()[name]) for name, tensor in made.tensors().items())


def test_a_changed_weight_decay_holds_after_loading() -> None:
    """A resumed run follows its configuration, not the settings of the checkpoint's optimizer."""
    made, other = learner(), learner(replace(PLAIN, weight_decay=0.5))
    learn(made, samples(8), 1)
    other.load(made.tensors(), made.optimizer.state_dict(), made.steps)
    assert [group["weight_decay"] for group in other.optimizer.param_groups] == [0.5]


def test_another_optimizers_state_is_refused() -> None:
    made, other = learner(), learner(replace(PLAIN, optimizer="sgd"))
    learn(made, samples(8), 1)
    with pytest.raises(ValueError, match=r"learner\.optimizer"):
        other.load(made.tensors(), made.optimizer.state_dict(), made.steps)


def test_another_networks_weights_are_refused() -> None:
    wider = Learner(GAME, PLAIN, replace(DENSE, width=32), seed=0)
    with pytest.raises(RuntimeError, match="size mismatch"):
        wider.load_networks(learner().tensors())


def test_the_learned_weights_play() -> None:
    made = learner()
    learn(made, samples(8), 20)
    state: TicTacToeState = samples(3).state
    expected = made.average.module(GAME.observe(state)).logits
    torch.testing.assert_close(made.weights()(GAME.observe(state))[0], expected)
    assert UniformEvaluator(GAME)(state, torch.Generator()).logits.shape == expected.shape
