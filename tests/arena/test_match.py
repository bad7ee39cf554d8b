from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from alphazero.arena.match import MatchResult, SoloResult, Tally, play_alone, play_match, wilson_interval
from alphazero.arena.players import MinimaxPlayer, RandomPlayer
from alphazero.game import Box, Discrete, Game, State, Transition, batch_size
from games.connect_four import ConnectFour, ConnectFourState
from games.tic_tac_toe import TicTacToe, TicTacToeState
from tests.stubs import Waiting

CONNECT_FOUR = ConnectFour()


class Scripted:
    """A player that answers with a function of the states, and remembers these."""

    def __init__(self, answer: Callable[[State], Tensor], name: str = "scripted") -> None:
        self.name = name
        self.answer = answer
        self.asked: list[State] = []

    def actions(self, states: State) -> Tensor:
        self.asked.append(states)
        return self.answer(states)


def leftmost(game: Game) -> Scripted:
    return Scripted(lambda states: game.legal(states).to(torch.int8).argmax(1))


# ------------------------------------------------------------------------------ a game of relays


class RelayState(NamedTuple):
    """place: [B] int64, the stage of the baton. lane: [B] int64, the start it had."""

    place: Tensor
    lane: Tensor


class Relay(Game):
    """The players carry a baton over eight stages; CARRIERS says who carries it.

    Action 1 earns the carrier a quarter, action 0 nothing, action 2 costs the carrier a quarter.
    """

    name = "relay"
    num_players = 2
    actions: Discrete | Box = Discrete(3)
    observation_shape = (1,)
    CARRIERS = torch.tensor([0, 0, 1, 0, 1, 1, 1, 0, 0], dtype=torch.int8)  # after the end: any
    STAGES = 8

    def initial(self, batch: int, *, generator: torch.Generator | None = None) -> RelayState:
        return RelayState(torch.zeros(batch, dtype=torch.int64), torch.randint(1 << 40, (batch,), generator=generator))

    def to_play(self, state: RelayState) -> Tensor:
        return self.CARRIERS[state.place]

    def legal(self, state: RelayState) -> Tensor:
        return torch.ones(len(state.place), 3, dtype=torch.bool)

    def gain(self, action: Tensor) -> Tensor:
        return torch.tensor([0.0, 0.25, -0.25])[action]

    def step(self, state: RelayState, action: Tensor) -> Transition:
        finished = state.place >= self.STAGES
        place = torch.where(finished, state.place, state.place + 1)
        reward = torch.where(finished, torch.tensor(0.0), self.gain(action))
        return Transition(RelayState(place, state.lane), reward, place >= self.STAGES)

    def observe(self, state: RelayState) -> Tensor:
        return state.place[:, None].float()


class SoloRelay(Relay):
    """The same for one."""

    name = "solo_relay"
    num_players = 1
    CARRIERS = torch.zeros(9, dtype=torch.int8)


class SoloThrow(SoloRelay):
    """With a continuous action, which is what it earns."""

    name = "solo_throw"
    actions = Box(low=(-1.0,), high=(1.0,))

    def legal(self, state: RelayState) -> Tensor:
        return torch.ones(len(state.place), 0, dtype=torch.bool)

    def gain(self, action: Tensor) -> Tensor:
        return action[:, 0]


def always(action: int) -> Scripted:
    return Scripted(lambda states: torch.full((batch_size(states),), action))


# --------------------------------------------------------------------------------- who sits where


def test_rewards_reach_the_seat_that_moved() -> None:
    """Seats 0 and 1 carry four stages each, some in a row; the one that earns more wins."""
    result = play_match(Relay(), always(1), always(0), games=10, seed=1, opening_plies=0)
    assert result.first == result.second == Tally(5, 0, 0)
    assert result.points == 1
    result = play_match(Relay(), always(2), always(0), games=10, seed=1, opening_plies=0)
    assert result.first == result.second == Tally(0, 0, 5)
    assert result.points == 0
    result = play_match(Relay(), always(1), always(1), games=10, seed=1, opening_plies=0)
    assert result.total == Tally(0, 10, 0)
    assert result.points == 0.5


def test_the_tallies_tell_the_seats_apart() -> None:
    """The player in seat 0 carries stages 0 and 1, and this player earns only there."""
    eager = Scripted(lambda states: (states.place < 2).to(torch.int64))
    result = play_match(Relay(), eager, always(0), games=10, seed=1, opening_plies=0)
    assert result.first == Tally(5, 0, 0)
    assert result.second == Tally(0, 5, 0)
    assert result.total == Tally(5, 5, 0)
    assert result.pairs == (0, 0, 0, 5, 0)
    result = play_match(Relay(), always(0), eager, games=10, seed=1, opening_plies=0)
    assert result.first == Tally(0, 5, 0)
    assert result.second == Tally(0, 0, 5)
    assert result.pairs == (0, 5, 0, 0, 0)


def test_pairs_count_both_games_of_an_opening() -> None:
    """In odd lanes the player loses both games, in even ones it wins both."""
    swinging = Scripted(lambda states: 1 + states.lane % 2)
    result = play_match(Relay(), swinging, always(0), games=200, seed=1, opening_plies=0)
    assert result.pairs[0] + result.pairs[4] == 100
    assert result.first == result.second == Tally(result.pairs[4], 0, result.pairs[0])
    assert result.pairs[0] > 20
    assert result.pairs[4] > 20


def test_players_are_asked_on_their_turns_only() -> None:
    """In a relay of six games, each player sits in seat 0 of three, and every stage has one carrier."""
    player, opponent = always(1), always(2)
    play_match(Relay(), player, opponent, games=6, seed=1, opening_plies=0)
    for asked in (player.asked, opponent.asked):
        assert [states.place.tolist() for states in asked] == [[stage] * 3 for stage in range(Relay.STAGES)]


def test_nobody_is_asked_about_finished_games() -> None:
    player, opponent = (Scripted(RandomPlayer(CONNECT_FOUR, seed).actions) for seed in (1, 2))
    play_match(CONNECT_FOUR, player, opponent, games=40, seed=1)
    assert not any(states.done.any() for states in player.asked + opponent.asked)
    assert all(batch_size(states) for states in player.asked + opponent.asked)


# --------------------------------------------------------------------------------------- openings


def first_asked(game: Game, seed: int, *, games: int, opening_plies: int) -> tuple[Scripted, Scripted]:
    players = leftmost(game), leftmost(game)
    play_match(game, *players, games=games, seed=seed, opening_plies=opening_plies)
    return players


def plies_played(states: ConnectFourState | TicTacToeState) -> list[int]:
    return [stones.bit_count() for stones in (states.mine | states.theirs).tolist()]


def test_openings_are_paired_distinct_and_of_every_length() -> None:
    player, opponent = first_asked(CONNECT_FOUR, 1, games=400, opening_plies=6)
    keys = [CONNECT_FOUR.key(asker.asked[0]).tolist() for asker in (player, opponent)]
    assert sorted(keys[0]) == sorted(keys[1])
    assert len(set(keys[0])) == 200
    assert set(plies_played(player.asked[0])) == set(range(7))
    assert not player.asked[0].done.any()


def test_openings_depend_on_the_seed_only() -> None:
    def openings(seed: int, player: RandomPlayer | MinimaxPlayer) -> list[int]:
        watched = Scripted(player.actions)
        play_match(CONNECT_FOUR, watched, RandomPlayer(CONNECT_FOUR, 9), games=20, seed=seed)
        return sorted(CONNECT_FOUR.key(watched.asked[0]).tolist())

    assert openings(1, RandomPlayer(CONNECT_FOUR, 1)) == openings(1, MinimaxPlayer(CONNECT_FOUR, 1, 2))
    assert openings(1, RandomPlayer(CONNECT_FOUR, 1)) != openings(2, RandomPlayer(CONNECT_FOUR, 1))


def test_openings_are_used_again_when_there_are_no_more() -> None:
    """One ply of tic-tac-toe leads to nine positions; with the empty board they are ten."""
    game = TicTacToe()
    player, _ = first_asked(game, 3, games=40, opening_plies=1)
    keys = game.key(player.asked[0]).tolist()
    assert len(keys) == 20
    assert all(keys.count(key) == 2 for key in keys)


def test_openings_stop_short_of_the_end() -> None:
    """All games of tic-tac-toe are over after nine plies; one before, some are not."""
    game = TicTacToe()
    player, opponent = first_asked(game, 3, games=600, opening_plies=9)
    assert not any(asker.asked[0].done.any() for asker in (player, opponent))
    assert set(plies_played(player.asked[0])) == set(range(9))


def test_starts_without_keys_are_distinguished_by_their_fields() -> None:
    player = always(0)
    play_match(Relay(), player, always(0), games=200, seed=1, opening_plies=0)
    assert len(set(player.asked[0].lane.tolist())) == 100


# ------------------------------------------------------------------------------------ repetition


def test_distinct_games() -> None:
    same = play_match(CONNECT_FOUR, leftmost(CONNECT_FOUR), leftmost(CONNECT_FOUR), games=20, seed=1, opening_plies=0)
    assert same.distinct_games == 1
    assert same.total == Tally(10, 0, 10)
    openings = play_match(CONNECT_FOUR, leftmost(CONNECT_FOUR), leftmost(CONNECT_FOUR), games=20, seed=1)
    assert openings.distinct_games == 10
    changed = play_match(Relay(), always(1), always(0), games=20, seed=1, opening_plies=0)
    assert changed.distinct_games == 20
    # Two random games of 42 plies at most are the same with a probability far below 1e-4.
    players = RandomPlayer(CONNECT_FOUR, 1), RandomPlayer(CONNECT_FOUR, 2)
    assert play_match(CONNECT_FOUR, *players, games=20, seed=1).distinct_games == 20


def test_a_match_can_be_played_again() -> None:
    def match(seed: int) -> MatchResult:
        players = MinimaxPlayer(CONNECT_FOUR, 1, seed), MinimaxPlayer(CONNECT_FOUR, 2, seed + 1)
        return play_match(CONNECT_FOUR, *players, games=60, seed=5)

    assert match(1) == match(1)
    assert match(1) != match(3)


def test_stronger_players_win() -> None:
    players = MinimaxPlayer(CONNECT_FOUR, 3, 1), RandomPlayer(CONNECT_FOUR, 2)
    result = play_match(CONNECT_FOUR, *players, games=100, seed=1)
    assert result.interval[0] > 0.85
    assert str(result).startswith(f"{result.points:.1%} of the points (95 % interval ")


def test_progress_hears_of_every_move() -> None:
    """Every game of relays has eight stages; four-in-a-row games end at different times."""
    heard: list[int] = []
    play_match(Relay(), always(1), always(0), games=10, seed=1, opening_plies=0, progress=heard.append)
    assert heard == [10] * 8
    heard.clear()
    players = [Scripted(RandomPlayer(CONNECT_FOUR, seed).actions) for seed in (1, 2)]
    play_match(CONNECT_FOUR, *players, games=40, seed=1, progress=heard.append)
    assert heard == sorted(heard, reverse=True)
    assert sum(heard) == sum(batch_size(states) for player in players for states in player.asked)
    heard.clear()
    play_alone(SoloRelay(), always(1), games=5, seed=1, progress=heard.append)
    assert heard == [5] * 8


def test_progress_may_end_a_match() -> None:
    class Enough(Exception):
        pass

    def enough(ended: int) -> None:
        raise Enough

    player = Scripted(RandomPlayer(CONNECT_FOUR, 1).actions)
    with pytest.raises(Enough):
        play_match(CONNECT_FOUR, player, RandomPlayer(CONNECT_FOUR, 2), games=40, seed=1, progress=enough)
    assert len(player.asked) < 21  # moves of a whole game at the most


def test_time_a_move_is_each_players_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock that stands still except while they think: 3 s each time, and 0.5 s."""
    now = 0.0

    def thinking(seconds: float) -> Scripted:
        def answer(states: State) -> Tensor:
            nonlocal now
            now += seconds
            return torch.zeros(batch_size(states), dtype=torch.int64)

        return Scripted(answer)

    monkeypatch.setattr(time, "perf_counter", lambda: now)
    player, opponent = thinking(3.0), thinking(0.5)
    result = play_match(Relay(), player, opponent, games=10, seed=1, opening_plies=0)
    # Seats alternate by CARRIERS: both players move at each of the eight stages, in five games of the ten.
    assert len(player.asked) == len(opponent.asked) == 8
    assert result.seconds_a_move == pytest.approx((8 * 3.0 / 40, 8 * 0.5 / 40))
    slower = play_match(Relay(), thinking(9.0), thinking(0.5), games=10, seed=1, opening_plies=0)
    assert slower == result  # what the clock says is no part of the outcome
    assert slower.seconds_a_move != result.seconds_a_move
    alone = play_alone(SoloRelay(), thinking(2.0), games=4, seed=1)
    assert alone.seconds_a_move == pytest.approx(2.0 / 4)


# -------------------------------------------------------------------------------------- intervals


def result_of(first: Tally, second: Tally, pairs: tuple[int, int, int, int, int]) -> MatchResult:
    return MatchResult(first=first, second=second, pairs=pairs, distinct_games=first.games + second.games)


@pytest.mark.parametrize(("wins", "games"), [(0, 10), (3, 10), (50, 100), (981, 1000), (20, 20)])
def test_wilson_interval_is_scipys(wins: int, games: int) -> None:
    expected = stats.binomtest(wins, games).proportion_ci(0.95, "wilson")
    assert wilson_interval(wins / games, games) == pytest.approx((expected.low, expected.high), abs=1e-7)


def test_interval_without_draws_or_correlation_is_wilsons() -> None:
    result = result_of(Tally(60, 0, 40), Tally(60, 0, 40), (16, 0, 48, 0, 36))  # as independence has it
    assert result.interval == pytest.approx(wilson_interval(0.6, 200), abs=1e-12)


def test_interval_of_twins_is_that_of_half_the_games() -> None:
    result = result_of(Tally(50, 20, 30), Tally(50, 20, 30), (30, 0, 20, 0, 50))
    assert result.interval == pytest.approx(wilson_interval(0.6, 100), abs=1e-12)


def test_interval_is_not_narrowed_by_openings_that_favour_a_seat() -> None:
    result = result_of(Tally(100, 0, 0), Tally(0, 0, 100), (0, 0, 100, 0, 0))
    assert result.interval == pytest.approx(wilson_interval(0.5, 200), abs=1e-12)


def test_interval_of_nothing_but_draws_is_not_empty() -> None:
    result = result_of(Tally(0, 20, 0), Tally(0, 20, 0), (0, 0, 20, 0, 0))
    assert result.interval == pytest.approx(wilson_interval(0.5, 40), abs=1e-12)


@pytest.mark.parametrize("alike", [0.0, 0.5, 1.0])  # how often the second game of a pair copies the first
@pytest.mark.parametrize(("win", "draw"), [(0.5, 0.0), (0.8, 0.0), (0.5, 0.3), (0.1, 0.85)])
def test_interval_covers_the_truth(win: float, draw: float, alike: float) -> None:
    """At least 95 % of the time; less four deviations of the simulation, and 1 % for Wilson's own
    unevenness at such sizes (Brown, Cai and DasGupta 2001, figure 5)."""
    matches, pairs = 2000, 100
    generator = np.random.default_rng(int(100 * win + 10 * alike))
    halves = generator.choice([2, 1, 0], size=(matches, 2, pairs), p=[win, draw, 1 - win - draw])
    halves[:, 1] = np.where(generator.random((matches, pairs)) < alike, halves[:, 0], halves[:, 1])
    truth = win + draw / 2
    covered = 0
    for first, second in halves:
        one, other = (Tally(*(int((games == points).sum()) for points in (2, 1, 0))) for games in (first, second))
        low, high = result_of(one, other, tuple(np.bincount(first + second, minlength=5).tolist())).interval
        covered += low <= truth <= high
    tolerance = 4 * math.sqrt(0.95 * 0.05 / matches) + 0.01
    assert covered / matches > 0.95 - tolerance
    if draw == 0:  # where the interval is sharp, it is not far too wide either
        assert covered / matches < 0.95 + tolerance + 0.01


@pytest.mark.parametrize(
    ("seat_edge", "opening_edge"),  # by how much an opening helps whoever moves first; helps the player in both games
    [(0.0, 0.0), (0.35, 0.0), (0.0, 0.35), (0.25, 0.2)],
)
@pytest.mark.parametrize("draws", [0.0, 0.2, 0.8])
def test_interval_covers_the_truth_over_openings_that_differ(
    seat_edge: float, opening_edge: float, draws: float
) -> None:
    """The truth is the mean over all openings, of which a match sees a few; tolerance as above.

    An opening helps the first mover by +-seat_edge, and the player by +-opening_edge, each sign as likely.
    """
    matches, pairs = 2000, 100
    generator = np.random.default_rng(int(1000 * seat_edge + 100 * opening_edge + 10 * draws))
    favour, help_ = (generator.choice([-1.0, 1.0], size=(matches, pairs)) for _ in range(2))
    base = 0.5
    expected = np.stack([base + sign * seat_edge * favour + opening_edge * help_ for sign in (1, -1)], 1)
    decided = (1 - draws) * expected  # P(win); a draw has `draws` everywhere
    ticket = generator.random((matches, 2, pairs))
    halves = np.where(ticket < decided, 2, np.where(ticket < decided + draws, 1, 0))
    truth = (1 - draws) * base + draws / 2
    covered = 0
    for first, second in halves:
        one, other = (Tally(*(int((games == points).sum()) for points in (2, 1, 0))) for games in (first, second))
        low, high = result_of(one, other, tuple(np.bincount(first + second, minlength=5).tolist())).interval
        covered += low <= truth <= high
    assert covered / matches > 0.95 - 4 * math.sqrt(0.95 * 0.05 / matches) - 0.01


class Relayer:
    """Takes a quarter at every stage with its skill's probability, and more often in the seat that the lane favours."""

    def __init__(self, skill: float, favour: float, seed: int) -> None:
        self.name, self.skill, self.favour = f"skill {skill}", skill, favour
        self.generator = torch.Generator().manual_seed(seed)

    def actions(self, states: State) -> Tensor:
        favoured = Relay.CARRIERS[states.place] == states.lane % 2
        chance = self.skill + self.favour * torch.where(favoured, 1.0, -1.0)
        return (torch.rand(len(chance), generator=self.generator) < chance).to(torch.int64)


@pytest.mark.parametrize("favour", [0.0, 0.3])
def test_played_matches_cover_the_truth(favour: float) -> None:
    """Both carry four stages, so the quarters that they earn are binomial and the points' mean is known."""

    def expected_points(skill: float, other: float, sign: int) -> float:
        own, others = (
            stats.binom.pmf(np.arange(5), 4, chance) for chance in (skill + sign * favour, other - sign * favour)
        )
        joint = np.outer(own, others)
        return float(np.tril(joint, -1).sum() + np.trace(joint) / 2)

    truth = sum(expected_points(0.6, 0.45, sign) for sign in (1, -1)) / 2
    matches, covered = 250, 0
    for seed in range(matches):
        players = Relayer(0.6, favour, 2 * seed), Relayer(0.45, favour, 2 * seed + 1)
        low, high = play_match(Relay(), *players, games=40, seed=seed, opening_plies=0).interval
        covered += low <= truth <= high
    # At least: draws, and seats that openings favour, make the interval wider than it need be.
    assert covered / matches > 0.95 - 4 * math.sqrt(0.95 * 0.05 / matches)


# ------------------------------------------------------------------------------------ games for one


def test_games_end_after_so_many_moves_with_what_they_have_brought() -> None:
    """Seat 0 carries the first two stages and seat 1 the third; after one more stage, seat 0 has carried three."""
    result = play_match(Relay(), always(1), always(0), games=10, seed=1, opening_plies=0, max_moves=2)
    assert (result.first, result.second, result.cut_off) == (Tally(5, 0, 0), Tally(0, 5, 0), 10)
    assert str(result).endswith(", 10 of them cut off")
    whole = play_match(Relay(), always(1), always(0), games=10, seed=1, opening_plies=0, max_moves=8)
    assert whole == play_match(Relay(), always(1), always(0), games=10, seed=1, opening_plies=0)
    assert whole.cut_off == 0
    alone = play_alone(SoloRelay(), always(1), games=4, seed=1, max_moves=3)
    assert (alone.rewards, alone.cut_off) == ((0.75,) * 4, 4)


def test_players_who_wait_for_ever_draw() -> None:
    result = play_match(Waiting(), always(0), always(0), games=4, seed=1)
    assert (result.total, result.cut_off) == (Tally(0, 4, 0), 4)


def test_metrics_are_those_of_games_that_came_to_their_ends() -> None:
    result = SoloResult(rewards=(0.0, 1.0, 1.0), distinct_games=3, metrics={"miss": (math.nan, 2.0, 4.0)}, cut_off=1)
    assert result.scalars("alone")["alone/miss_median"] == 3


def test_playing_alone_adds_up_the_rewards() -> None:
    result = play_alone(SoloRelay(), always(1), games=5, seed=1)
    assert list(result.rewards) == [2.0] * 5
    assert result.mean == 2
    assert result.interval == (2.0, 2.0)
    assert result.distinct_games == 5


def test_playing_alone_with_continuous_actions() -> None:
    result = play_alone(SoloThrow(), Scripted(lambda states: torch.full((len(states.place), 1), 0.5)), games=3, seed=1)
    assert list(result.rewards) == [4.0] * 3
    random = play_alone(SoloThrow(), RandomPlayer(SoloThrow(), 1), games=400, seed=1)
    # A uniform number in [-1, 1] has variance 1/3; a game earns eight of them.
    assert abs(random.mean) < 5 * math.sqrt(8 / 3 / 400)
    assert random.interval[1] - random.interval[0] == pytest.approx(2 * 1.96 * math.sqrt(8 / 3 / 400), rel=0.2)


def test_the_same_seed_is_the_same_starts() -> None:
    def starts(seed: int) -> Tensor:
        player = always(0)
        play_alone(SoloRelay(), player, games=7, seed=seed)
        lanes: Tensor = player.asked[0].lane
        return lanes

    assert starts(1).equal(starts(1))
    assert not starts(1).equal(starts(2))


def test_interval_of_rewards() -> None:
    result = SoloResult(rewards=(1.0, 2.0, 4.0, 9.0), distinct_games=4)
    expected = stats.norm.interval(0.95, loc=4, scale=stats.sem(result.rewards))
    assert result.interval == pytest.approx(expected, abs=1e-5)
    assert all(map(math.isnan, SoloResult(rewards=(1.0,), distinct_games=1).interval))
    assert str(result) == "a reward of 4 a game (95 % interval 0.512 to 7.49), 4 distinct games of 4"


# ----------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize("action", [-1, 7])
def test_an_action_that_no_game_has_is_illegal(action: int) -> None:
    with pytest.raises(ValueError, match=rf"player scripted played the illegal action {action} at\n"):
        play_match(CONNECT_FOUR, RandomPlayer(CONNECT_FOUR, 1), always(action), games=2, seed=1)


def test_an_illegal_action_shows_the_board() -> None:
    """Both fill the fourth column; the seventh stone does not fit."""
    first, second = always(3), always(3)
    first.name = second.name = "stubborn"
    with pytest.raises(ValueError, match="illegal") as caught:
        play_match(CONNECT_FOUR, first, second, games=2, seed=1, opening_plies=0)
    assert str(caught.value) == (
        "player stubborn played the illegal action 3 (4) at\n"
        ". . . o . . .\n"
        ". . . x . . .\n"
        ". . . o . . .\n"
        ". . . x . . .\n"
        ". . . o . . .\n"
        ". . . x . . .\n"
        "1 2 3 4 5 6 7\n"
        "legal: 0 (1), 1 (2), 2 (3), 4 (5), 5 (6), 6 (7)"
    )


@pytest.mark.parametrize("action", [1.5, -1.5, math.nan])
def test_a_throw_outside_the_box_is_illegal(action: float) -> None:
    with pytest.raises(ValueError, match=r"illegal action \[.*\] at\n(.|\n)*\nlegal: from \[-1.0\] to \[1.0\]"):
        play_alone(SoloThrow(), Scripted(lambda states: torch.full((len(states.place), 1), action)), games=2, seed=1)


@pytest.mark.parametrize("answer", [torch.zeros(2), torch.zeros(3, dtype=torch.int64), torch.zeros(2, 1).long()])
def test_answers_of_the_wrong_form_are_refused(answer: Tensor) -> None:
    with pytest.raises(ValueError, match=r"player scripted answered 2 states .* expected \[2\] torch.int64"):
        play_match(Relay(), Scripted(lambda _: answer), always(0), games=4, seed=1, opening_plies=0)


def test_matches_that_cannot_be_played_are_refused() -> None:
    player = always(0)
    for games in (-2, 0, 1, 7):
        with pytest.raises(ValueError, match=f"games must be even and at least 2, not {games}"):
            play_match(Relay(), player, player, games=games, seed=0)
    with pytest.raises(ValueError, match="opening_plies must be at least 0, not -1"):
        play_match(Relay(), player, player, games=2, seed=0, opening_plies=-1)
    with pytest.raises(ValueError, match="solo_relay is a game for one; use play_alone"):
        play_match(SoloRelay(), player, player, games=2, seed=0)
    with pytest.raises(ValueError, match="relay is a game for 2; use play_match"):
        play_alone(Relay(), player, games=2, seed=0)
    with pytest.raises(ValueError, match="games must be at least 1, not 0"):
        play_alone(SoloRelay(), player, games=0, seed=0)
