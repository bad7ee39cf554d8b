"""The evaluators of a search, on games whose best actions and values are known in closed form."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from alphazero.config import NetworkConfig, SearchConfig
from alphazero.game import Box, Game, State, Transition, batch_size, take
from alphazero.mcts.evaluator import Evaluation, UniformEvaluator
from alphazero.mcts.gaussian import from_box, raw_deviation
from alphazero.mcts.planning import LEAST_LIKELY, RefinedActions, RolledOut, SampledActions, likeliest, planners
from alphazero.mcts.search import search
from alphazero.network.architectures import in_torch, inference_module, make_network, to_onnx
from alphazero.network.inference import NetworkEvaluators
from tests.evaluators import CountingEvaluator
from tests.stubs import Again, Drift, DriftState, Mine

DRIFT = Drift()
DENSE = NetworkConfig(kind="dense", blocks=2, width=16, value_head="scalar")


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class Knowing:
    """A network that knows: the best policy of drift, and the value scaled by `value`."""

    def __init__(self, *, value: float = 0.0, deviation: float = 0.5) -> None:
        self.value, self.raw_deviation = value, raw_deviation(deviation)

    def __call__(self, states: DriftState, generator: torch.Generator) -> Evaluation:
        mean = from_box(DRIFT.optimal_action(states), DRIFT.actions)
        value = torch.where(states.steps == 0, 0.0, self.value * DRIFT.optimal_value(states))
        return Evaluation(torch.cat([mean, torch.full_like(mean, self.raw_deviation)], 1), value)


class Playing:
    """A network for a discrete game that always plays one action, and values everything 0."""

    def __init__(self, game: Game, best: Tensor) -> None:
        self.game, self.best = game, best

    def __call__(self, states: State, generator: torch.Generator) -> Evaluation:
        logits = torch.nn.functional.one_hot(self.best[states[0]], self.game.legal(states).shape[1]).float()
        return Evaluation(logits, torch.zeros(batch_size(states)))


class Ramp(Drift):
    """For two, discounted: an action earns as much as it leads along `slope`, and is the next position.

    The turn passes after the first of four moves and after the third.
    """

    name = "ramp"
    num_players = 2
    actions = Box((-1.0, -1.0), (1.0, 1.0))
    discount = 0.5

    def __init__(self, slope: tuple[float, float]) -> None:
        self.slope = torch.tensor(slope)

    def to_play(self, state: DriftState) -> Tensor:
        return (state.steps // 2 % 2).to(torch.int8)

    def step(self, state: DriftState, action: Tensor) -> Transition:
        return Transition(DriftState(action, state.steps - 1), (action * self.slope).sum(1), state.steps == 1)


def refined(game: Ramp, place: tuple[float, float], left: list[int], config: SearchConfig) -> Tensor:
    """The action [B, 2] that refinement makes of `place` with so many moves left; the value grows by 0.4 along y."""
    logits, value = torch.tensor([[0.7]]).expand(len(left), 1), torch.full((len(left),), 0.25)

    def sampled(states: DriftState, generator: torch.Generator) -> Evaluation:
        return Evaluation(logits, value, torch.tensor(place).expand(len(left), 1, 2))

    def network(states: DriftState, generator: torch.Generator) -> Evaluation:
        return Evaluation(torch.zeros(len(states.steps), 4), 0.4 * states.position[:, 1])

    states = DriftState(torch.zeros(len(left), 2), torch.tensor(left))
    found = RefinedActions(game, sampled, network, config)(states, generator())
    assert torch.equal(found.logits, logits)
    assert torch.equal(found.value, value)
    assert found.actions is not None
    assert not found.actions.requires_grad
    return found.actions[:, 0]


@pytest.mark.parametrize(("moves", "bootstrap"), [(3, 0.0), (1, 1.0), (2, 1.0), (9, 0.0)])
def test_rolled_out_by_the_best_policy_the_value_is_the_best(moves: int, bootstrap: float) -> None:
    states = DRIFT.initial(20, generator=generator())
    config = SearchConfig(rollout_moves=moves, rollout_share=1.0)
    rolled = RolledOut(DRIFT, Knowing(value=bootstrap), config)(states, generator())
    torch.testing.assert_close(rolled.value, DRIFT.optimal_value(states))


def test_the_likeliest_action_is_legal() -> None:
    states = take(Again().initial(1), torch.zeros(3, dtype=torch.int64))._replace(pile=torch.tensor([1, 2, 3]))
    evaluation = Evaluation(torch.tensor([[0.0, 1.0, 2.0]]).expand(3, 3), torch.zeros(3))
    assert likeliest(Again(), states, evaluation).tolist() == [0, 1, 2]


def test_what_is_rolled_out_counts_by_its_share() -> None:
    states = DRIFT.initial(20, generator=generator())
    config = SearchConfig(rollout_moves=3, rollout_share=0.25)
    rolled = RolledOut(DRIFT, Knowing(value=0.5), config)(states, generator())
    torch.testing.assert_close(rolled.value, (0.75 * 0.5 + 0.25) * DRIFT.optimal_value(states))


def test_rollouts_discount() -> None:
    """In the mine, digging on is the best everywhere."""
    game = Mine()
    states = game.initial(1)
    network = Playing(game, torch.ones(7, dtype=torch.int64))
    rolled = RolledOut(game, network, SearchConfig(rollout_moves=10, rollout_share=1.0))(states, generator())
    torch.testing.assert_close(rolled.value, game.optimal_value(states))


def test_rollouts_change_sides_where_the_game_does() -> None:
    """The best action by matches left: to a multiple of 3, and at one of these 3, which keeps the turn."""
    game = Again()
    best = torch.tensor([0, 0, 1, 2, 0, 1, 2, 0, 1, 2, 0])
    states = take(game.initial(1), torch.zeros(10, dtype=torch.int64))._replace(pile=torch.arange(1, 11))
    rolled = RolledOut(game, Playing(game, best), SearchConfig(rollout_moves=20, rollout_share=1.0))
    found = rolled(states, generator())
    torch.testing.assert_close(found.value, game.optimal_value(states))
    assert torch.equal(found.logits.argmax(1), best[states.pile])


@pytest.mark.parametrize("refine_steps", [0, 1])
def test_rollouts_value_every_node_of_either_kind_of_game(refine_steps: int) -> None:
    states = DRIFT.initial(20, generator=generator())
    config = SearchConfig(rollout_moves=3, rollout_share=1.0, refine_steps=refine_steps)
    for ask in planners(DRIFT, Knowing(), config):
        torch.testing.assert_close(ask(states, generator()).value, DRIFT.optimal_value(states))
    game = Mine()
    config = SearchConfig(rollout_moves=10, rollout_share=1.0)
    for ask in planners(game, Playing(game, torch.ones(7, dtype=torch.int64)), config):
        torch.testing.assert_close(ask(game.initial(1), generator()).value, game.optimal_value(game.initial(1)))


def test_sampled_actions_are_as_likely_as_the_policy_says() -> None:
    states = DRIFT.initial(6, generator=generator())
    found = SampledActions(DRIFT, Knowing(), SearchConfig(uniform_share=0.0))(states, generator())
    assert found.actions is not None
    assert found.actions.shape == (6, 16, 2)
    torch.testing.assert_close(found.actions[:, 0], DRIFT.optimal_action(states))  # the mode
    distance = (from_box(found.actions, DRIFT.actions) - from_box(found.actions[:, :1], DRIFT.actions)) / 0.5
    expected = -distance.square().sum(-1) / 2
    torch.testing.assert_close(found.logits, expected, rtol=1e-2, atol=1e-4)


def test_the_mode_is_the_likeliest_in_every_position_however_sure_the_network_is_there() -> None:
    deviation = torch.tensor([0.01, 0.1, 0.5, 0.9])
    spread = torch.tensor([[raw_deviation(float(each))] * 2 for each in deviation])

    def network(states: DriftState, generator: torch.Generator) -> Evaluation:
        return Evaluation(torch.cat([torch.zeros(4, 2), spread], 1), torch.zeros(4))

    found = SampledActions(DRIFT, network, SearchConfig(uniform_share=0.0))(DRIFT.initial(4), generator())
    assert found.actions is not None
    distance = from_box(found.actions, DRIFT.actions) / deviation[:, None, None]
    torch.testing.assert_close(found.logits, -distance.square().sum(-1) / 2, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(("share", "uniform"), [(0.25, 2), (0.2, 2), (1.0, 7)])
def test_a_share_of_the_samples_is_from_the_whole_box(share: float, uniform: int) -> None:
    """However sure the network is, and never so unlikely that a much better value could not win. The mode stays."""
    states = DRIFT.initial(200, generator=generator())
    config = SearchConfig(sampled_actions=8, uniform_share=share)
    found = SampledActions(DRIFT, Knowing(deviation=0.0011), config)(states, generator())
    assert found.actions is not None
    places = from_box(found.actions, DRIFT.actions)
    assert places[:, -uniform:].std() == pytest.approx(1 / math.sqrt(3), rel=0.05)
    sure = (places[:, :-uniform] - from_box(DRIFT.optimal_action(states), DRIFT.actions)[:, None]).abs()
    assert sure.max() < 0.01
    assert found.logits[:, -uniform:].eq(LEAST_LIKELY).all()


def test_sharpening_is_a_power_of_the_density() -> None:
    """And samples from the whole Box do not become less likely than the least."""
    states = DRIFT.initial(5, generator=generator())
    plain, sharp = (
        SampledActions(DRIFT, Knowing(deviation=0.2), SearchConfig(sharpening=sharpening))(states, generator())
        for sharpening in (1.0, 2.0)
    )
    torch.testing.assert_close(sharp.logits, (2 * plain.logits).clamp(min=LEAST_LIKELY))


@pytest.mark.parametrize("steps", [1, 3])
def test_refinement_leads_every_sample_to_the_best_action(steps: int) -> None:
    """With the reward of the last move alone, and with the value of the moves that follow."""
    states = DRIFT.initial(10, generator=generator())._replace(steps=torch.full((10,), steps))
    config = SearchConfig(refine_steps=40, refine_gain=0.05)
    sampled = UniformEvaluator(DRIFT, samples=4)
    found = RefinedActions(DRIFT, sampled, Knowing(value=1.0), config)(states, generator())
    assert found.actions is not None
    low, high = (torch.tensor(bound) for bound in DRIFT.actions)
    best = DRIFT.optimal_action(states).clamp(low, high)
    torch.testing.assert_close(found.actions, best[:, None].expand(-1, 4, -1), atol=2e-3, rtol=0)


def test_no_sample_is_worse_for_refinement() -> None:
    states = DRIFT.initial(50, generator=generator())._replace(steps=torch.ones(50, dtype=torch.int64))
    sampled = UniformEvaluator(DRIFT, samples=4)
    before = sampled(states, generator()).actions
    assert before is not None
    many = take(states, torch.arange(50).repeat_interleave(4))
    for steps in (1, 2, 5):
        config = SearchConfig(refine_steps=steps, refine_gain=10.0)  # far too long at first
        after = RefinedActions(DRIFT, sampled, Knowing(), config)(states, generator()).actions
        assert after is not None
        gained = DRIFT.step(many, after.flatten(0, 1)).reward - DRIFT.step(many, before.flatten(0, 1)).reward
        assert gained.min() >= 0
        assert gained.max() > 0


def test_refinement_counts_later_values_for_the_player_who_moved() -> None:
    """Discounted, negative where the turn passes, and not at all after the last move."""
    slopes = torch.tensor([[0.3, -0.2], [0.3, 0.2], [0.3, 0.0]])
    config = SearchConfig(refine_steps=2, refine_gain=0.02)
    found = refined(Ramp((0.3, 0.0)), (0.1, -0.2), [4, 3, 1], config)
    expected = torch.tensor([0.1, -0.2]) + 2 * 0.02 * slopes / slopes.square().sum(1, keepdim=True)
    torch.testing.assert_close(found, expected)


def test_up_a_gentle_slope_a_step_of_refinement_is_half_a_unit_long() -> None:
    found = refined(Ramp((3e-4, -4e-4)), (0.0, 0.0), [1], SearchConfig(refine_steps=1))
    torch.testing.assert_close(found, torch.tensor([[0.3, -0.4]]))


@pytest.mark.parametrize("edge", [-1.0, 1.0])
def test_refinement_goes_along_an_edge_as_if_nothing_led_across(edge: float) -> None:
    found = refined(Ramp((0.4 * edge, 0.03)), (edge, 0.0), [1], SearchConfig(refine_steps=1, refine_gain=3e-3))
    torch.testing.assert_close(found, torch.tensor([[edge, 0.1]]))


def test_refinement_leaves_actions_without_a_gradient_alone() -> None:
    """The root's derivative at 0 is infinite, and times that of the square no number."""

    class Pointed(Ramp):
        def step(self, state: DriftState, action: Tensor) -> Transition:
            after = super().step(state, action)
            return after._replace(reward=after.reward - action[:, 0].square().sqrt())

    found = refined(Pointed((0.0, 0.03)), (0.0, 0.0), [1], SearchConfig(refine_steps=1, refine_gain=3e-3))
    torch.testing.assert_close(found, torch.tensor([[0.0, 0.1]]))


def test_refinement_asks_the_network_once_a_step_for_every_sample_of_the_root() -> None:
    network = CountingEvaluator(Knowing(value=1.0))
    ask = planners(DRIFT, network, SearchConfig(sampled_actions=4, refine_steps=2))
    ask.root(DRIFT.initial(6), generator())
    assert network.batches == [6, 24, 24, 24]
    ask.inner(DRIFT.initial(6), generator())
    assert network.batches[4:] == [6]


def test_evaluations_come_from_the_cache_and_gradients_from_the_network() -> None:
    """A cache's answers have no gradient."""

    def cached(states: DriftState, generator: torch.Generator) -> Evaluation:
        found = Knowing(value=1.0)(states, generator)
        return found._replace(logits=found.logits.detach(), value=found.value.detach())

    states, cache = DRIFT.initial(10, generator=generator()), CountingEvaluator(cached)
    config = SearchConfig(sampled_actions=4, uniform_share=1.0, refine_steps=40, refine_gain=0.05)
    ask = planners(DRIFT, Knowing(value=1.0), config, cached=cache)
    actions = ask.root(states, generator()).actions
    assert actions is not None
    best = DRIFT.optimal_action(states)
    torch.testing.assert_close(actions, best[:, None].expand(-1, 4, -1), atol=2e-3, rtol=0)
    ask.inner(states, generator())
    assert cache.batches == [10, 10]


def test_search_refines_the_root() -> None:
    """Under the search's inference mode, too, and by an evaluator that is asked about the root alone."""
    states = DRIFT.initial(10, generator=generator())._replace(steps=torch.ones(10, dtype=torch.int64))
    config = SearchConfig(simulations=8, sampled_actions=4, refine_steps=30, refine_gain=0.05).without_noise()
    ask = planners(DRIFT, Knowing(deviation=1.0), config)
    found = search(ask.inner, DRIFT, states, config, generator(), root_evaluator=ask.root)
    low, high = (torch.tensor(bound) for bound in DRIFT.actions)
    best = DRIFT.optimal_action(states).clamp(low, high)
    torch.testing.assert_close(found.moves(found.action), best, atol=2e-3, rtol=0)


def test_rules_that_cannot_be_differentiated_are_told() -> None:
    class Steps(Drift):
        name = "steps"

        def step(self, state: DriftState, action: Tensor) -> Transition:
            return super().step(state, action.detach())

    ask = planners(Steps(), Knowing(), SearchConfig(refine_steps=1))
    with pytest.raises(
        ValueError, match=r"steps: its step cannot be differentiated by the action; set search.refine_steps = 0"
    ):
        ask.root(DRIFT.initial(2), generator())


def test_a_last_action_that_earns_nothing_stays_as_it_was_sampled() -> None:
    """As where each move costs what the position before it is worth (LQR): there is nothing to climb."""

    class Late(Drift):
        name = "late"

        def step(self, state: DriftState, action: Tensor) -> Transition:
            successor, _, done = super().step(state, action)
            return Transition(successor, 0.1 * state.position.sum(1), done)

    game, states = Late(), DRIFT.initial(3, generator=generator())._replace(steps=torch.ones(3, dtype=torch.int64))
    ask = planners(game, Knowing(), SearchConfig(sampled_actions=4, refine_steps=2))
    plain = planners(game, Knowing(), SearchConfig(sampled_actions=4))
    found, sampled = (each.root(states, generator()).actions for each in (ask, plain))
    assert found is not None
    torch.testing.assert_close(found, sampled)


@pytest.mark.parametrize("engine", ["onnx", "torch"])
def test_an_evaluators_value_has_the_gradient_of_finite_differences(engine: str) -> None:
    torch.manual_seed(3)
    evaluator = NetworkEvaluators(DRIFT, engine=engine)(inference_module(make_network(DRIFT, DENSE)))
    states = DRIFT.initial(5, generator=generator())
    position = states.position.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(evaluator(states._replace(position=position), generator()).value.sum(), position)

    def value(shift: Tensor) -> Tensor:
        return evaluator(states._replace(position=states.position + shift), generator()).value

    for dimension in range(2):
        shift = 1e-2 * torch.eye(2)[dimension]
        torch.testing.assert_close(gradient[:, dimension], (value(shift) - value(-shift)) / 2e-2, atol=1e-3, rtol=5e-2)


@pytest.mark.parametrize("seed", [1, 2])
def test_an_exported_network_comes_back_in_torch(seed: int) -> None:
    torch.manual_seed(seed)
    module = inference_module(make_network(DRIFT, DENSE))
    back = in_torch(to_onnx(module, DRIFT.observation_shape), DRIFT, DENSE)
    observation = torch.rand(7, 3, generator=generator())
    for one, other in zip(module(observation), back(observation), strict=True):
        assert torch.equal(one, other)
    with pytest.raises(ValueError, match="other weights"):
        in_torch(to_onnx(module, DRIFT.observation_shape), DRIFT, replace(DENSE, blocks=3))


def test_the_box_of_drift_is_not_square() -> None:
    """So that the tests above see coordinates mixed up."""
    assert DRIFT.actions == Box((-0.3, -0.2), (0.3, 0.2))
