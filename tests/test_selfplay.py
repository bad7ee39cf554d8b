"""Self-play: targets against their definition, no game lost or preferred, and the same samples from the same seeds."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, ClassVar, NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import rel_entr
from torch import Tensor

from alphazero import selfplay
from alphazero.config import SearchConfig, SelfPlayConfig
from alphazero.game import Discrete, Game, State, Transition, check_game, concatenate, named_fields, take
from alphazero.learner import value_loss
from alphazero.mcts.evaluator import Evaluation, EvaluationError, UniformEvaluator
from alphazero.mcts.search import search
from alphazero.mcts.tree_search import SearchResult
from alphazero.network.architectures import inference_module
from alphazero.network.inference import NetworkEvaluators
from alphazero.replay import Samples
from alphazero.selfplay import SelfPlay, SelfPlayStatistics, Starts, fresh_starts, stream_generator, targets, weights
from games.connect_four import ConnectFour
from games.tic_tac_toe import LINES, TicTacToe
from tests.evaluators import ScrambledEvaluator
from tests.mcts.test_endgames import exact
from tests.networks import trained
from tests.stubs import Again, Mine, Waiting

SEARCH = SearchConfig(simulations=8)
QUIET = SelfPlayConfig(parallel_games=16, moves=10, opening_share=0.0, cache=0)


class WalkState(NamedTuple):
    """left: [B] int64, moves left; walked: [B] int64, moves made; done: [B] bool."""

    left: Tensor
    walked: Tensor
    done: Tensor


class Walk(Game):
    """For one: a walk whose length is drawn at its start; no action matters."""

    name: ClassVar[str] = "walk"
    num_players: ClassVar[int] = 1
    actions = Discrete(2)
    observation_shape = (1,)

    def __init__(self, lengths: dict[int, float]) -> None:
        self.lengths, self.shares = (torch.tensor(list(of)) for of in (lengths, lengths.values()))

    def initial(self, batch: int, *, generator: torch.Generator | None = None) -> WalkState:
        drawn = torch.multinomial(self.shares, batch, replacement=True, generator=generator)
        nothing = torch.zeros(batch, dtype=torch.int64)
        return WalkState(self.lengths[drawn], nothing, nothing.bool())

    def to_play(self, state: WalkState) -> Tensor:
        return torch.zeros_like(state.left, dtype=torch.int8)

    def legal(self, state: WalkState) -> Tensor:
        return torch.ones(len(state.left), 2, dtype=torch.bool)

    def step(self, state: WalkState, action: Tensor) -> Transition:
        moved = (~state.done).long()
        left = state.left - moved
        return Transition(WalkState(left, state.walked + moved, left == 0), torch.zeros(len(left)), left == 0)

    def observe(self, state: WalkState) -> Tensor:
        return state.left[:, None].float()


def walk_stream(lengths: dict[int, float], *, games: int, moves: int) -> SelfPlay:
    self_play = replace(QUIET, parallel_games=games, moves=moves)
    return SelfPlay(Walk(lengths), SearchConfig(simulations=1), self_play, seed=1, stream=0)


def same(some: Samples, other: Samples) -> bool:
    fields, others = named_fields(some), named_fields(other)
    return fields.keys() == others.keys() and all(torch.equal(fields[name], others[name]) for name in fields)


# --- Targets


def recursive_target(
    rewards: list[float],
    movers: list[int],
    values: list[float],
    discount: float,
    td_lambda: float,
    bound: float = math.inf,
) -> float:
    """The value target of the first move, by its definition, for the player who makes it."""
    if len(rewards) == 1:
        later = 0.0
    else:
        later = recursive_target(rewards[1:], movers[1:], values[1:], discount, td_lambda, bound)
        later *= discount if movers[1] == movers[0] else -discount
    return max(-bound, min(bound, (1 - td_lambda) * values[0] + td_lambda * (rewards[0] + later)))


moves = st.tuples(st.floats(-1, 1, width=32), st.integers(0, 1), st.floats(-1, 1, width=32))


@given(st.lists(st.lists(moves, min_size=1, max_size=9), min_size=1, max_size=4), st.floats(0, 1), st.floats(0, 1))
def test_targets_follow_their_definition(
    games: list[list[tuple[float, int, float]]], discount: float, td_lambda: float
) -> None:
    """Movers need not alternate; what lies beyond a game's end must not matter."""
    longest = max(map(len, games)) + 1
    junk = (0.77, 1, -0.55)
    table = torch.tensor([game + [junk] * (longest - len(game)) for game in games])
    length = torch.tensor([len(game) for game in games])
    outcome, target = targets(
        table[..., 0], table[..., 1].to(torch.int8), table[..., 2], length, discount=discount, td_lambda=td_lambda
    )
    for number, game in enumerate(games):
        for t in range(len(game)):
            rest = tuple(map(list, zip(*game[t:], strict=True)))
            # Up to 9 float32 operations in a row on numbers of at most 9.
            for found, share, bound in ((target, td_lambda, 1.0), (outcome, 1.0, math.inf)):
                expected = recursive_target(*rest, discount, share, bound)
                assert float(found[number, t]) == pytest.approx(expected, abs=9 * 9 * 2**-23)


def test_rewards_on_the_way_lead_no_target_beyond_one() -> None:
    """Of a quarter at once and the rest of a point later, all of which the search has expected from the first."""
    reward, root_value = torch.tensor([[0.25, 0.0, 0.75]]), torch.tensor([[1.0, 1.0, 1.0]])
    mover = torch.zeros(1, 3, dtype=torch.int8)
    outcome, target = targets(reward, mover, root_value, torch.tensor([3]), discount=1.0, td_lambda=0.5)
    assert outcome.tolist() == [[1.0, 0.75, 0.75]]
    assert target.tolist() == [[1.0, 0.9375, 0.875]]  # not (1 + 0.25 + 0.9375) / 2
    # The loss of win, draw and loss is then least at the target itself, where it is its entropy: 0 or more.
    confident = torch.tensor([[40.0, 0.0, -40.0]])
    assert value_loss(confident, target[:, 0], torch.zeros(1)) == 0


def test_a_won_game_is_worth_one_to_the_winner_all_along() -> None:
    reward = torch.tensor([[0.0, 0.0, 1.0]])
    mover = torch.tensor([[0, 1, 0]], dtype=torch.int8)
    root_value = torch.tensor([[0.5, -0.2, 0.9]])
    outcome, target = targets(reward, mover, root_value, torch.tensor([3]), discount=1.0, td_lambda=0.5)
    assert outcome.tolist() == [[1.0, -1.0, 1.0]]
    # 0.5 * 0.9 + 0.5 * 1 = 0.95; 0.5 * -0.2 - 0.5 * 0.95 = -0.575; 0.5 * 0.5 + 0.5 * 0.575 = 0.5375
    torch.testing.assert_close(target, torch.tensor([[0.5375, -0.575, 0.95]]))


# --- Starts


def test_openings_are_as_many_and_as_long_as_configured() -> None:
    game, count = ConnectFour(), 20_000
    config = replace(QUIET, opening_share=0.7, opening_moves=3)
    starts = fresh_starts(game, count, config, stream_generator(0))
    stones = torch.tensor([(m | t).bit_count() for m, t in zip(*(f.tolist() for f in starts[:2]), strict=True)])
    shares = stones.bincount(minlength=4) / count
    # Three moves cannot end a game, so none is held back.
    expected = torch.tensor([0.3, 0.7 / 3, 0.7 / 3, 0.7 / 3])
    assert ((shares - expected).abs() < 5 * (expected * (1 - expected) / count).sqrt()).all()


def test_no_start_is_finished_however_long_the_opening() -> None:
    game = TicTacToe()
    starts = fresh_starts(game, 2000, replace(QUIET, opening_share=1.0, opening_moves=9), stream_generator(0))
    assert not starts.done.any()
    assert game.legal(starts).any(1).all()


def test_without_opening_moves_games_start_at_the_beginning() -> None:
    starts = fresh_starts(TicTacToe(), 100, replace(QUIET, opening_share=1.0, opening_moves=0), stream_generator(0))
    assert (starts.mine | starts.theirs).eq(0).all()


@pytest.mark.parametrize(("ahead", "made"), [(0, [3, 5, 2]), (8, [8, 8]), (4, [4, 5, 4])])
def test_starts_are_handed_out_in_order_singly_or_made_ahead(ahead: int, made: list[int]) -> None:
    game, config = ConnectFour(), replace(QUIET, opening_share=0.7, opening_moves=9)
    starts, generator = Starts(game, config, stream_generator(0)), stream_generator(0)
    assert starts.at_once == 0  # on a CPU
    starts.at_once = ahead
    parts = [fresh_starts(game, count, config, generator) for count in made]
    if ahead == 4:  # what is left of too few is dropped
        parts[0] = take(parts[0], slice(3))
    found, expected = concatenate([starts.take(count) for count in (3, 5, 2)]), concatenate(parts)
    assert all(torch.equal(field, other[:10]) for field, other in zip(found, expected, strict=True))


# --- Games


def test_games_go_on_from_one_call_to_the_next() -> None:
    stream = walk_stream({7: 1.0}, games=3, moves=5)
    evaluator = UniformEvaluator(stream.game)
    sizes, games = [], []
    for iteration in range(7):  # 35 moves: five games a slot
        samples, statistics, _ = stream.play(evaluator, iteration)
        sizes.append(samples.size)
        games.append(statistics.games)
        assert statistics.samples == statistics.game_moves == samples.size
        assert samples.plies_left.tolist() == [7, 6, 5, 4, 3, 2, 1] * (samples.size // 7)
        assert samples.state.walked.tolist() == list(range(7)) * (samples.size // 7)
        assert samples.iteration.eq(iteration).all()
    # Games end after moves 7, 14, 21, 28 and 35; five moves a call.
    assert games == [0, 3, 3, 0, 3, 3, 3]
    assert sizes == [7 * count for count in games]


@pytest.mark.parametrize("game", [ConnectFour(), TicTacToe()])
def test_a_recorded_game_is_the_last_that_ended_move_by_move(game: Game) -> None:
    config = SelfPlayConfig(parallel_games=1, moves=80, cache=0, opening_share=0.5, opening_moves=3)
    played = SelfPlay(game, SearchConfig(simulations=4), config, seed=1, stream=0).play(ScrambledEvaluator(game), 0)
    record = played.game
    assert record is not None
    length = int(record.length)
    assert record.action.shape == (1, length)
    for move in range(length):
        before = take(type(record.states)(*(field[0] for field in record.states)), slice(move, move + 1))
        after = game.step(before, record.action[0, move : move + 1])
        assert float(after.reward) == float(record.reward[0, move])
        assert bool(after.done) == (move == length - 1)
        if move < length - 1:
            assert [f[0].item() for f in after.state] == [f[0, move + 1].item() for f in record.states]
    assert played.statistics.games > 1
    assert torch.equal(record.policy[0], played.samples.policy[-length:])
    ends = take(played.samples.end, slice(-length, None))
    assert all(torch.equal(end, last.expand_as(end)) for end, last in zip(ends, after.state, strict=True))


def test_without_a_finished_game_there_is_none_to_record() -> None:
    stream = walk_stream({7: 1.0}, games=3, moves=5)
    assert stream.play(UniformEvaluator(stream.game), 0).game is None
    assert stream.play(UniformEvaluator(stream.game), 1).game is not None


def test_games_longer_than_the_first_room_are_kept_whole() -> None:
    """Room is for 64 moves at first, then 128, then 256."""
    stream = walk_stream({150: 0.5, 3: 0.5}, games=4, moves=300)
    samples, _, _ = stream.play(UniformEvaluator(stream.game), 0)
    lengths = samples.plies_left[samples.state.walked == 0].tolist()
    assert set(lengths) == {3, 150}
    assert torch.equal(samples.end.walked, samples.state.walked + samples.plies_left)
    assert samples.state.walked.tolist() == [walked for length in lengths for walked in range(length)]
    assert torch.equal((samples.plies_left + samples.state.walked).unique(), torch.tensor([3, 150]))


def test_games_end_after_so_many_moves_in_a_draw() -> None:
    """Tic-tac-toe takes five moves at the least; of games with one at the fifth, those that it ends are not cut off."""
    config = replace(QUIET, max_moves=5, parallel_games=32, moves=20)
    samples, statistics, _ = SelfPlay(TicTacToe(), SEARCH, config, seed=1, stream=0).play(
        ScrambledEvaluator(TicTacToe()), 0
    )
    ends = samples.plies_left == 1
    assert statistics.games == int(ends.sum()) == 32 * 20 / 5
    assert samples.plies_left.view(-1, 5).tolist() == [[5, 4, 3, 2, 1]] * statistics.games
    assert (samples.end.mine | samples.end.theirs).int().tolist() == [
        int(end) for end in (samples.end.mine | samples.end.theirs)[ends] for _ in range(5)
    ]
    won = samples.outcome[ends] != 0
    assert 0 < statistics.cut_off == int((~won).sum()) < statistics.games
    assert statistics.draws == statistics.cut_off
    assert samples.outcome.view(-1, 5)[~won].eq(0).all()
    assert samples.drawn.view(-1, 5)[~won].eq(1).all()


def test_or_with_the_value_that_the_search_had() -> None:
    config = replace(QUIET, max_moves=3, at_max_moves="value")
    samples, statistics, _ = SelfPlay(TicTacToe(), SEARCH, config, seed=1, stream=0).play(
        ScrambledEvaluator(TicTacToe()), 0
    )
    assert statistics.cut_off == statistics.games == 16 * 3
    first, second, third = samples.outcome.view(-1, 3).T
    assert torch.equal(third, samples.root_value.view(-1, 3)[:, 2])
    assert torch.equal(first, third)
    assert torch.equal(second, -third)
    assert third.unique().numel() > 1
    assert samples.drawn.eq(0).all()


def test_games_end_once_their_outcome_is_proven_and_it_counts() -> None:
    """In tic-tac-toe against exhaustive play: the last position of each game has its exact value."""
    search = SearchConfig(simulations=100, solver=True)
    config = replace(QUIET, parallel_games=64, end_proven=True)
    samples, statistics, game = SelfPlay(TicTacToe(), search, config, seed=1, stream=0).play(
        ScrambledEvaluator(TicTacToe()), 0
    )
    last = samples.plies_left == 1
    exact_values = [
        exact(*board) for board in zip(samples.state.mine.tolist(), samples.state.theirs.tolist(), strict=True)
    ]
    assert samples.outcome[last].tolist() == torch.tensor(exact_values)[last].tolist()
    assert 0 < statistics.proven <= statistics.games == int(last.sum())
    played = [
        (mine | theirs).bit_count()
        for mine, theirs in zip(samples.state.mine[last].tolist(), samples.state.theirs[last].tolist(), strict=True)
    ]
    assert max(played) < 8  # none is played to the end
    assert game is not None
    # Without, the same search plays them all to their ends.
    config = replace(config, end_proven=False)
    _, plain, _ = SelfPlay(TicTacToe(), search, config, seed=1, stream=0).play(ScrambledEvaluator(TicTacToe()), 0)
    assert plain.proven == 0
    assert plain.games < statistics.games


def games_of(samples: Samples) -> list[Samples]:
    """The samples, game by game."""
    sizes = samples.plies_left[[0, *((samples.plies_left[:-1] == 1).nonzero()[:, 0] + 1).tolist()]]
    return [take(samples, slice(end - size, end)) for size, end in zip(sizes, sizes.cumsum(0), strict=True)]


def tic_tac_toe_games(search: SearchConfig = SEARCH, **fields: Any) -> tuple[Samples, SelfPlayStatistics]:
    config = replace(QUIET, parallel_games=64, opening_share=1.0, opening_moves=3, **fields)
    stream = SelfPlay(TicTacToe(), search, config, seed=1, stream=0)
    samples, statistics, _ = stream.play(ScrambledEvaluator(TicTacToe()), 0)
    return samples, statistics


def test_who_expects_to_lose_resigns_and_has_lost() -> None:
    """AlphaGo Zero, Methods, "Self-play": the player to move resigns below a root value."""
    samples, statistics = tic_tac_toe_games(resign_below=-0.2, resign_share=1.0)
    games = games_of(samples)
    for game in games:
        *before, last = (game.root_value < -0.2).tolist()
        assert not any(before)
        mine, theirs = int(game.end.mine[0]), int(game.end.theirs[0])
        won = any(theirs & line == line or mine & line == line for line in LINES)
        played_out = won or mine | theirs == 0b111111111
        assert game.played_out.tolist() == [float(played_out)] * game.size
        assert played_out or last
        if not played_out:
            assert game.outcome.tolist() == [1.0 if left % 2 == 0 else -1.0 for left in game.plies_left]
    assert statistics.resigned == sum(float(game.played_out[0]) == 0 for game in games)
    assert 0 < statistics.resigned < statistics.games == len(games)
    assert (statistics.unresigned, statistics.wrong) == (0, 0)


def test_where_nobody_may_resign_it_is_counted_how_often_that_would_have_been_wrong() -> None:
    plain, quiet = tic_tac_toe_games()
    samples, statistics = tic_tac_toe_games(resign_below=-0.2, resign_share=0.0)
    for name, field in named_fields(plain).items():
        assert torch.equal(field, named_fields(samples)[name]), name
    first = [game.outcome[game.root_value < -0.2][:1].tolist() for game in games_of(samples)]
    outcomes = [outcome for found in first for outcome in found]
    assert statistics.unresigned == len(outcomes) > 0
    assert statistics.decided == int((samples.root_value.abs() > 0.9).sum()) > 0
    assert statistics.wrong == sum(outcome >= 0 for outcome in outcomes) > 0
    assert replace(statistics, unresigned=0, wrong=0, seconds=0, inference_seconds=0) == replace(
        quiet, seconds=0, inference_seconds=0
    )
    _, half = tic_tac_toe_games(resign_below=-0.2, resign_share=0.5)
    assert 0 < half.unresigned < statistics.unresigned
    assert half.resigned > 0


def test_a_proven_loss_is_nothing_to_resign() -> None:
    """It ends the game: below -0.9 nobody resigns here, and nobody is counted who would have."""
    search = replace(SEARCH, solver=True)
    played = [tic_tac_toe_games(search, end_proven=True, resign_below=-0.9, resign_share=share) for share in (1.0, 0.0)]
    (samples, resigning), (_, statistics) = played
    assert (samples.root_value == -1).any()
    assert (resigning.resigned, statistics.unresigned) == (0, 0)


def test_values_that_are_no_numbers_end_the_segment() -> None:
    """By a network on a GPU, whose answers nobody waits for, illegal moves would be played without end."""

    class Lost(UniformEvaluator):
        def __call__(self, states: State, generator: torch.Generator) -> Evaluation:
            found = super().__call__(states, generator)
            return found._replace(value=found.value + torch.nan)

    stream = SelfPlay(TicTacToe(), SEARCH, QUIET, seed=1, stream=0)
    with pytest.raises(EvaluationError, match="no numbers"):
        stream.play(Lost(TicTacToe()), 0)


def test_a_game_that_need_not_end_gives_samples() -> None:
    game = Waiting()
    check_game(game)
    stream = SelfPlay(game, SEARCH, replace(QUIET, max_moves=25), seed=1, stream=0)
    games = [stream.play(UniformEvaluator(game), segment).statistics.games for segment in range(5)]
    assert games == [0, 0, 16, 0, 16]
    assert stream.games_under_way.action.shape[1] == 64  # the first room


def test_returns_beyond_one_are_counted() -> None:
    """Mine's treasure, five times as large: only games with it come so far, and those by the purse do not."""
    game = Mine()
    game.bottom, game.cost = 2, -4.0
    samples, statistics, _ = SelfPlay(game, SEARCH, QUIET, seed=1, stream=0).play(UniformEvaluator(game), 0)
    starts = samples.state.depth == 0
    assert statistics.beyond == int((samples.outcome[starts] > 1).sum())
    assert 0 < statistics.beyond <= statistics.games


def test_short_games_are_not_preferred() -> None:
    """Finished games come in the numbers of a renewal process that misses only the games under way.

    In T moves a slot finishes E = p_L (u(0) + ... + u(T - L)) games of length L in the mean, where u(t) is
    the chance that a game starts at t. Over many games the number's variance tends to
    T Var(1{X = L} - p_L X / mu) / mu (Cox 1962, Renewal Theory, 8.4).
    """
    lengths = {1: 0.3, 2: 0.2, 9: 0.3, 30: 0.2}
    slots, calls, each = 64, 30, 10
    stream = walk_stream(lengths, games=slots, moves=each)
    turns: list[int] = []
    for iteration in range(calls):
        samples, _, _ = stream.play(UniformEvaluator(stream.game), iteration)
        turns += samples.plies_left[samples.state.walked == 0].tolist()
    total = calls * each
    starts = [1.0]
    for t in range(1, total + 1):
        starts.append(sum(share * starts[t - length] for length, share in lengths.items() if length <= t))
    mean = sum(length * share for length, share in lengths.items())
    for length, share in lengths.items():
        expected = slots * share * sum(starts[: total - length + 1])
        deviations = [(x, (x == length) - share * x / mean, p) for x, p in lengths.items()]
        variance = slots * total * sum(p * d**2 for _, d, p in deviations) / mean
        assert abs(turns.count(length) - expected) < 5 * math.sqrt(variance), length


def test_samples_hold_the_search_results_of_their_positions(monkeypatch: pytest.MonkeyPatch) -> None:
    game, said = TicTacToe(), dict[int, list[tuple[list[float], float]]]()

    def recorded(evaluator, game, roots, *rest, **more) -> SearchResult:  # type: ignore[no-untyped-def]
        result = search(evaluator, game, roots, *rest, **more)
        for key, policy, value in zip(
            game.key(roots).tolist(), result.policy.tolist(), result.value.tolist(), strict=True
        ):
            said.setdefault(key, []).append((policy, value))
        return result

    monkeypatch.setattr(selfplay, "search", recorded)
    stream = SelfPlay(game, SEARCH, replace(QUIET, opening_share=0.5, opening_moves=4), seed=3, stream=0)
    samples, _, _ = stream.play(ScrambledEvaluator(game), 0)
    assert samples.size > 100
    rows = zip(game.key(samples.state).tolist(), samples.policy.tolist(), samples.root_value.tolist(), strict=True)
    assert all((policy, value) in said[key] for key, policy, value in rows)
    assert samples.policy[~game.legal(samples.state)].eq(0).all()
    torch.testing.assert_close(samples.policy.sum(1), torch.ones(samples.size))
    assert samples.weight.eq(1).all()


def test_half_of_the_weight_goes_by_how_far_the_search_moved_the_policy(monkeypatch: pytest.MonkeyPatch) -> None:
    """KL(policy || prior) by SciPy, of what the search said about each position."""
    said: dict[tuple[int, tuple[float, ...]], float] = {}

    def recorded(evaluator, game, roots, *rest, **more) -> SearchResult:  # type: ignore[no-untyped-def]
        result = search(evaluator, game, roots, *rest, **more)
        policies = map(tuple, result.policy.tolist())
        surprise = rel_entr(result.policy.double().numpy(), result.prior.double().numpy()).sum(1)
        said.update(zip(zip(game.key(roots).tolist(), policies, strict=True), surprise.tolist(), strict=True))
        return result

    monkeypatch.setattr(selfplay, "search", recorded)
    game = TicTacToe()
    stream = SelfPlay(game, SEARCH, replace(QUIET, surprise_weight=0.5), seed=3, stream=0)
    samples, _, _ = stream.play(ScrambledEvaluator(game), 0)
    rows = zip(game.key(samples.state).tolist(), map(tuple, samples.policy.tolist()), strict=True)
    surprise = torch.tensor([said[row] for row in rows])
    assert surprise.max() > 2 * surprise.mean() > 0
    torch.testing.assert_close(samples.weight, 0.5 + 0.5 * surprise / surprise.mean())


def test_without_any_surprise_all_weigh_the_same() -> None:
    assert weights(torch.zeros(3), 0.25).tolist() == [1.0] * 3


@pytest.mark.parametrize("game", [TicTacToe(), Again()], ids=lambda game: game.name)
def test_outcomes_belong_to_the_player_to_move_and_games_are_played_move_by_move(game: Game) -> None:
    stream = SelfPlay(game, SEARCH, QUIET, seed=3, stream=0)
    samples, statistics, _ = stream.play(UniformEvaluator(game), 0)
    mover = game.to_play(samples.state)
    ends = (samples.plies_left == 1).nonzero()[:, 0].tolist()
    assert statistics.games == len(ends)
    begin, wins, draws = 0, 0, 0
    for end in ends:
        turns = samples.plies_left[begin : end + 1].tolist()
        assert turns == list(range(len(turns), 0, -1))
        for index in range(begin, end):  # each position follows from the one before by some legal move
            every = take(samples.state, torch.full((game.actions.n,), index))
            successors = game.step(every, torch.arange(game.actions.n)).state
            following = game.key(take(samples.state, torch.tensor([index + 1])))
            assert (game.key(successors) == following)[game.legal(every)[0]].any()
        outcome = samples.outcome[begin : end + 1]
        seen_by_first = torch.where(mover[begin : end + 1] == 0, outcome, -outcome)
        assert len(seen_by_first.unique()) == 1
        wins += int(seen_by_first[0] == 1)
        draws += int(seen_by_first[0] == 0)
        begin = end + 1
    assert (statistics.first_player_wins, statistics.draws) == (wins, draws)


# --- Moves


def test_moves_are_drawn_from_the_policy_first_and_searched_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """The policy is squared at temperature 1/2; after `temperature_moves` the search chooses."""
    policy = torch.tensor([0.5, 0.3, 0.2] + [0.0] * 6)
    slots = 8000

    def fixed(evaluator, game, roots, *rest, **more) -> SearchResult:  # type: ignore[no-untyped-def]
        free = game.legal(roots) * torch.tensor([1.0] * 3 + [0.0] * 6)
        spread = policy * free
        zero = torch.zeros(slots)
        action = torch.where(game.legal(roots)[:, 8], 8, game.legal(roots).long().argmax(1))
        return SearchResult(
            action,
            spread / spread.sum(1, keepdim=True),
            zero,
            zero,
            zero,
            policy.expand(slots, -1),
            zero,
            zero,
            None,
            zero.long(),
            zero.bool(),
            zero.int(),
        )

    monkeypatch.setattr(selfplay, "search", fixed)
    config = replace(QUIET, parallel_games=slots, moves=1, temperature=0.5, temperature_moves=1)
    stream = SelfPlay(TicTacToe(), SEARCH, config, seed=1, stream=0)
    stream.play(UniformEvaluator(stream.game), 0)
    shares = torch.stack([(stream.state.theirs == 1 << cell).float().mean() for cell in range(3)])
    expected = torch.tensor([0.25, 0.09, 0.04]) / 0.38
    assert ((shares - expected).abs() < 5 * (expected * (1 - expected) / slots).sqrt()).all()
    stream.play(UniformEvaluator(stream.game), 1)
    assert (stream.state.theirs == 1 << 8).all()


def test_a_low_temperature_plays_the_best_move() -> None:
    """0.3^100 is 0 in float32; what is drawn must still be the greatest."""
    config = replace(QUIET, temperature=0.01, temperature_moves=1, moves=1)
    stream = SelfPlay(ConnectFour(), SearchConfig(algorithm="puct", simulations=20), config, seed=1, stream=0)
    stream.play(UniformEvaluator(stream.game), 0)
    policy = stream.games_under_way.policy[:, 0]
    # The first stone of column c is bit 7c.
    column = torch.tensor([stones.bit_length() // 7 for stones in stream.state.theirs.tolist()])
    assert policy.amax(1).lt(0.3).any()
    assert torch.equal(policy.gather(1, column[:, None])[:, 0], policy.amax(1))


def test_statistics_add_up() -> None:
    some, other = SelfPlayStatistics(moves=1, games=2, seconds=0.5), SelfPlayStatistics(moves=10, draws=3)
    assert some + other == SelfPlayStatistics(moves=11, games=2, draws=3, seconds=0.5)


def test_a_call_counts_its_moves_and_simulations() -> None:
    told: list[int] = []
    stream = SelfPlay(ConnectFour(), SEARCH, QUIET, seed=5, stream=0)
    _, counts, _ = stream.play(ScrambledEvaluator(ConnectFour()), 0, progress=told.append)
    assert (counts.moves, counts.simulations) == (16 * 10, 16 * 10 * 8)
    assert told == [16] * 10
    assert np.isfinite(counts.seconds)
    assert counts.evaluations <= counts.simulations + counts.moves


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_plays_too() -> None:
    game, config = ConnectFour(), SelfPlayConfig(parallel_games=64, moves=45, cache=0, device="cuda")
    evaluator = NetworkEvaluators(game, engine="bfloat16", device="cuda")(inference_module(trained("residual", 1)))
    samples, statistics, record = SelfPlay(game, SEARCH, config, seed=1, stream=0).play(evaluator, 0)
    assert statistics.evaluations == 64 * 45 * (SEARCH.simulations + 1)
    assert statistics.games >= 64  # none is longer than 42 moves
    assert record is not None
    assert not samples.value.is_cuda
    assert samples.size == statistics.samples
    torch.testing.assert_close(samples.policy.sum(1), torch.ones(samples.size))
    assert (samples.policy[~game.legal(samples.state)] == 0).all()
    assert (samples.value.abs() <= 1).all()
