from __future__ import annotations

import csv
import math
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import alphazero.minimax
import alphazero.players
from alphazero.arena import play_match
from alphazero.config import SearchConfig
from alphazero.game import Box, Discrete, Game, State, Transition, batch_size, concatenate, map_states, where
from alphazero.mcts.tree import Evaluation
from alphazero.minimax import minimax
from alphazero.players import (
    FIRST_SIMULATIONS,
    AgentPlayer,
    MinimaxPlayer,
    NetworkPlayer,
    Player,
    RandomPlayer,
    parse_player,
)
from games.connect_four import BOARD, BOTTOM, COLUMNS, DIRECTIONS, HEIGHT, ROWS, ConnectFour, ConnectFourState
from games.tic_tac_toe import TicTacToe
from tests.evaluators import ScrambledEvaluator

CONNECT_FOUR = ConnectFour()


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def board(picture: str) -> ConnectFourState:
    """The position of a picture in which x moves first."""
    rows = [line.split() for line in picture.strip().splitlines()]
    cells = [(rows[ROWS - 1 - r][c], 1 << HEIGHT * c + r) for c in range(COLUMNS) for r in range(ROWS)]
    x, o = (sum(bit for mark, bit in cells if mark == player) for player in "xo")
    o_moves = x.bit_count() > o.bit_count()
    mine, theirs = (o, x) if o_moves else (x, o)
    return ConnectFourState(
        torch.tensor([mine]), torch.tensor([theirs]), torch.tensor([o_moves], dtype=torch.int8), torch.tensor([False])
    )


def after(moves: str) -> ConnectFourState:
    """Connect-four after moves such as "4435", columns 1 to 7."""
    state = CONNECT_FOUR.initial(1)
    for move in moves:
        state, _, done = CONNECT_FOUR.step(state, torch.tensor([int(move) - 1]))
        assert not done
    return state


def random_positions(game: Game, count: int, *, plies: int, seed: int) -> State:
    """Unfinished positions after 0 to `plies` random plies."""
    length = torch.randint(plies + 1, (count,), generator=torch.Generator().manual_seed(seed))
    player = RandomPlayer(game, seed)
    states = game.initial(count)
    for ply in range(plies):
        successor, _, done = game.step(states, player.actions(states))
        states = where((ply < length) & ~done, successor, states)
    return states


def best(game: Game, state: State, depth: int) -> set[int]:
    scores = minimax(game, state, depth=depth)[0]
    return set((scores == scores.max()).nonzero()[:, 0].tolist())


# ------------------------------------------------- minimax against the textbook, position by position


def has_four(stones: int) -> bool:
    return any(stones & stones >> s & stones >> 2 * s & stones >> 3 * s for s in DIRECTIONS)


class Textbook:
    """Connect-four minimax in plain Python, one position at a time.

    A value comes with the plies until the game ends (at the horizon: the plies looked ahead).
    Values decide; among wins the fewest plies, among losses the most.
    """

    def __init__(self, positions: list[tuple[int, int]], depth: int) -> None:
        self.guess: dict[tuple[int, int], float] = {}
        for mine, theirs in positions:  # once for what is on the horizon, to ask the game in one go
            self.outcomes(mine, theirs, depth)
        mine_and_theirs = torch.tensor(list(self.guess)).T
        horizon = CONNECT_FOUR.initial(len(self.guess))._replace(mine=mine_and_theirs[0], theirs=mine_and_theirs[1])
        self.guess = dict(zip(self.guess, CONNECT_FOUR.heuristic(horizon).tolist(), strict=True))
        self.answers = [self.outcomes(mine, theirs, depth) for mine, theirs in positions]

    @staticmethod
    def preference(outcome: tuple[float, int]) -> tuple[float, float]:
        value, plies = outcome
        return value, -math.copysign(plies, value) if value else 0

    def outcomes(self, mine: int, theirs: int, depth: int) -> dict[int, tuple[float, int]]:
        """What each legal move leads to, for the player to move."""
        found = {}
        stones = mine | theirs
        for column in range(COLUMNS):
            cell = (stones + (1 << HEIGHT * column)) & ((1 << ROWS) - 1) << HEIGHT * column
            moved = mine | cell
            if not cell:
                continue
            if any(moved & moved >> s & moved >> 2 * s & moved >> 3 * s for s in DIRECTIONS):
                found[column] = (1.0, 1)
            elif stones | cell == BOARD:
                found[column] = (0.0, 1)
            elif depth == 1:
                found[column] = (-self.guess.setdefault((theirs, moved), 0.0), 1)
            else:
                value, plies = max(self.outcomes(theirs, moved, depth - 1).values(), key=self.preference)
                found[column] = (-value, plies + 1)
        return found


@pytest.mark.parametrize(("depth", "count"), [(1, 500), (2, 500), (3, 500), (4, 500)])
def test_minimax_is_the_textbooks(depth: int, count: int) -> None:
    states = random_positions(CONNECT_FOUR, count, plies=38, seed=depth)
    textbook = Textbook(list(zip(states.mine.tolist(), states.theirs.tolist(), strict=True)), depth)
    scores = minimax(CONNECT_FOUR, states, depth=depth)
    for row, outcomes in zip(scores, textbook.answers, strict=True):
        values = [outcomes[column][0] if column in outcomes else -math.inf for column in range(COLUMNS)]
        assert row.float().tolist() == values
        most = max(map(Textbook.preference, outcomes.values()))
        expected = {column for column, outcome in outcomes.items() if Textbook.preference(outcome) == most}
        assert set((row == row.max()).nonzero()[:, 0].tolist()) == expected


# ---------------------------------------------------------------- minimax against perfect solvers


def test_minimax_to_the_end_agrees_with_the_solvers() -> None:
    """Scores of two perfect solvers, larger for a sooner win and a later loss: the same order."""
    with (Path(__file__).parent / "data" / "connect_four_late.csv").open() as file:
        rows = list(csv.DictReader(file))
    states = concatenate([after(row["moves"]) for row in rows])
    solved = torch.tensor([[float(row[f"score_{c}"] or "-inf") for c in range(1, COLUMNS + 1)] for row in rows])
    scores = minimax(CONNECT_FOUR, states, depth=BOARD.bit_count() - min(len(row["moves"]) for row in rows))
    assert scores.float().equal(solved.sign().where(solved.isfinite(), solved))
    assert (scores[:, :, None] > scores[:, None, :]).equal(solved[:, :, None] > solved[:, None, :])


def test_minimax_never_loses_at_tic_tac_toe() -> None:
    game = TicTacToe()
    perfect, other = MinimaxPlayer(game, 9, seed=1), MinimaxPlayer(game, 9, seed=2)
    among_equals = play_match(game, perfect, other, games=20, seed=1, opening_plies=0)
    assert among_equals.total.draws == 20
    against_random = play_match(game, perfect, RandomPlayer(game, 3), games=400, seed=2, opening_plies=0)
    assert against_random.total.losses == 0
    assert against_random.total.wins > 200


def test_tic_tac_toe_openings_have_the_values_everyone_knows() -> None:
    """No first move wins. The corner must be answered in the centre, the centre in a corner."""
    game = TicTacToe()
    start = game.initial(1)
    assert (minimax(game, start, depth=9) == 0).all()
    corner, centre = (game.step(start, torch.tensor([cell])).state for cell in (0, 4))
    assert best(game, corner, 8) == {4}
    assert best(game, centre, 8) == {0, 2, 6, 8}


# -------------------------------------------------------------------------------------- pictures


@pytest.mark.parametrize("depth", [1, 2, 3, 5])
def test_minimax_wins_in_one(depth: int) -> None:
    """Longer ways to win are there too; it takes the one that ends the game."""
    position = board("""
        . . . . . . .
        . . . . . . .
        . . . . . . .
        . . . o . . .
        . . . o . . .
        . x x x o . .""")
    assert best(CONNECT_FOUR, position, depth) == {0}


@pytest.mark.parametrize("depth", [2, 3, 4])
def test_minimax_blocks_in_one(depth: int) -> None:
    position = board("""
        . . . . . . .
        . . . . . . .
        . . . . . . .
        . . . . . . .
        . x o . . . .
        . o x x x . .""")
    assert best(CONNECT_FOUR, position, depth) == {5}


def test_minimax_sees_the_double_threat() -> None:
    position = board("""
        . . . . . . .
        . . . . . . .
        . . . . . . .
        . . . . . . .
        . . . o . . .
        . . . x x . o""")
    scores = minimax(CONNECT_FOUR, position, depth=3)[0]
    assert best(CONNECT_FOUR, position, 3) == {2}
    assert scores[2].float() == 1


def test_minimax_puts_a_loss_off() -> None:
    """o blocks the column although x then opens the bottom row at both ends."""
    position = board("""
        . . . . . . .
        . . . . . . .
        . . . . . . .
        . . . x . . .
        . . o x . . .
        o . x x . . o""")
    scores = minimax(CONNECT_FOUR, position, depth=4)[0]
    assert (scores.float() == -1).all()
    assert best(CONNECT_FOUR, position, 4) == {3}


# -------------------------------------------------- signs, discount, moves in a row, games for one

NODES, CHOICES, LAST = 400, 3, 300


class WebState(NamedTuple):
    """node: [B] int64; those from LAST on are finished."""

    node: Tensor


class Web(Game):
    """A random graph: from each node up to three moves to later nodes, with rewards on the moves.

    Rewards, discount and heuristic are sums of a few powers of two, so that no order of adding
    them up rounds.
    """

    name = "web"
    num_players = 2
    actions: Discrete | Box = Discrete(CHOICES)
    observation_shape = (1,)
    discount = 0.5

    def __init__(self, *, seed: int, players: int, keys: bool) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.keys = keys
        self.turn = torch.randint(players, (NODES,), generator=generator).to(torch.int8)
        self.gain = torch.randint(-2, 3, (NODES, CHOICES), generator=generator) / 4
        self.allowed = torch.rand(NODES, CHOICES, generator=generator) < 0.7
        self.allowed[:, 0] |= ~self.allowed.any(1)
        step = torch.randint(1, 30, (NODES, CHOICES), generator=generator)
        self.next = (torch.arange(NODES)[:, None] + step).clamp(max=NODES - 1)
        self.guess = torch.randint(-8, 9, (NODES,), generator=generator) / 16

    def initial(self, batch: int, *, generator: torch.Generator | None = None) -> WebState:
        return WebState(torch.zeros(batch, dtype=torch.int64))

    def to_play(self, state: WebState) -> Tensor:
        return self.turn[state.node]

    def legal(self, state: WebState) -> Tensor:
        return self.allowed[state.node]

    def step(self, state: WebState, action: Tensor) -> Transition:
        finished = state.node >= LAST
        node = torch.where(finished, state.node, self.next[state.node, action])
        reward = torch.where(finished, 0.0, self.gain[state.node, action])
        return Transition(WebState(node), reward, node >= LAST)

    def observe(self, state: WebState) -> Tensor:
        return state.node[:, None].float()

    def key(self, state: WebState) -> Tensor | None:
        return state.node if self.keys else None

    def heuristic(self, state: WebState) -> Tensor:
        return self.guess[state.node]

    def plain_score(self, node: int, action: int, depth: int) -> float:
        """Minimax as it is written on paper."""
        child = int(self.next[node, action])
        if child >= LAST:
            value = 0.0
        elif depth == 1:
            value = float(self.guess[child])
        else:
            value = max(self.plain_score(child, a, depth - 1) for a in range(CHOICES) if self.allowed[child, a])
        sign = 1 if self.turn[child] == self.turn[node] else -1
        return float(self.gain[node, action]) + self.discount * sign * value


@pytest.mark.parametrize("players", [1, 2])
@pytest.mark.parametrize("keys", [True, False])
@pytest.mark.parametrize("frontier", [1, 5, 1 << 14])
def test_minimax_follows_rewards_discount_and_turns(
    players: int, keys: bool, frontier: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alphazero.minimax, "FRONTIER", frontier)
    web = Web(seed=players, players=players, keys=keys)
    nodes = torch.arange(0, LAST, 25)
    scores = minimax(web, WebState(nodes), depth=4)
    for node, row in zip(nodes.tolist(), scores, strict=True):
        for action in range(CHOICES):
            if web.allowed[node, action]:
                # The shrink takes at most depth * SHRINK of the rewards, which add up to less than 2.
                assert float(row[action]) == pytest.approx(web.plain_score(node, action, 4), rel=0, abs=8 * 2**-40)
            else:
                assert row[action] == -math.inf


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(0, 6), max_size=25), st.integers(1, 40))
def test_minimax_of_a_position_does_not_depend_on_its_neighbours(choices: list[int], frontier: int) -> None:
    """Alone, among others, merged with them or split from them: the same scores to the last bit."""
    state = CONNECT_FOUR.initial(1)
    for choice in choices:
        legal = CONNECT_FOUR.legal(state)[0].nonzero()[:, 0]
        successor, _, done = CONNECT_FOUR.step(state, legal[choice % len(legal)][None])
        if not done:
            state = successor
    alone = minimax(CONNECT_FOUR, state, depth=3)
    others = random_positions(CONNECT_FOUR, 6, plies=25, seed=frontier)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(alphazero.minimax, "FRONTIER", frontier)
        together = minimax(CONNECT_FOUR, concatenate((others, state, others)), depth=3)
    assert together[6].equal(alone[0])


# --------------------------------------------------------------------------------------- players


def answer_counts(player: Player, state: ConnectFourState, draws: int) -> Tensor:
    """How many of so many answers to one position were each column."""
    copies = map_states(lambda field: field.expand(draws), state)
    return player.actions(copies).bincount(minlength=COLUMNS)


def assert_uniform(counts: Tensor, members: set[int]) -> None:
    """Chi-square at one error in a million, by the cube-root law of Wilson and Hilferty 1931."""
    assert set(counts.nonzero()[:, 0].tolist()) == members
    seen = counts[sorted(members)].double()
    expected = seen.sum() / len(seen)
    freedom = len(seen) - 1
    spread = 2 / (9 * freedom)
    limit = freedom * (1 - spread + 4.753 * math.sqrt(spread)) ** 3
    assert float(((seen - expected) ** 2 / expected).sum()) < limit


def test_random_player_is_uniform_over_the_legal_actions() -> None:
    position = board("""
        . o . . . x .
        . x . . . o .
        . o . . . x .
        . x . . . o .
        . o . . . x .
        . x . . . o .""")
    assert_uniform(answer_counts(RandomPlayer(CONNECT_FOUR, 5), position, 7000), {0, 2, 3, 4, 6})


def test_minimax_draws_uniformly_among_equals() -> None:
    position = board("""
        . . . . . . .
        . . . . . . .
        . . . . . . .
        . . . . . . .
        . . o o . . .
        o . x x x . .""")
    assert_uniform(answer_counts(MinimaxPlayer(CONNECT_FOUR, 3, seed=7), position, 2000), {1, 5})


class Throw(Web):
    """The same with continuous actions, for what is asked of the space of actions only."""

    actions = Box(low=(-1.0, 10.0), high=(1.0, 30.0))


def test_random_player_fills_the_box() -> None:
    game = Throw(seed=0, players=1, keys=False)
    draws = 4000
    thrown = RandomPlayer(game, 3).actions(game.initial(draws))
    low, high = (torch.tensor(bound) for bound in game.actions)
    assert thrown.dtype == torch.float32
    assert ((thrown >= low) & (thrown <= high)).all()
    share = ((thrown - low) / (high - low)).sort(0).values
    # Kolmogorov and Smirnov: sup |F_n - F| exceeds 2.7 / sqrt(n) less than once in a million.
    distance = (share - torch.arange(1, draws + 1)[:, None] / draws).abs().amax(0)
    assert (distance < 2.7 / math.sqrt(draws)).all()
    assert abs(float(torch.corrcoef(thrown.T)[0, 1])) < 5 / math.sqrt(draws)


def assert_shares(counts: Tensor, shares: Tensor) -> None:
    """Counts of draws against their probabilities, each within five standard deviations."""
    draws = int(counts.sum())
    margin = 5 * (shares * (1 - shares) / draws).sqrt()
    assert ((counts / draws - shares).abs() <= margin).all(), (counts, shares)


@pytest.mark.parametrize("temperature", [0.1, 1.0])
def test_minimax_with_a_temperature_draws_by_softmax_of_its_scores(temperature: float) -> None:
    position = board("""
        . . o . . . .
        . . x . . . .
        . . o . . . .
        . . x . . . .
        . . o . x . .
        . . x o x . .""")
    scores = minimax(CONNECT_FOUR, position, depth=1)[0]
    weights = [math.exp(score / temperature) for score in scores.tolist()]
    assert weights[2] == 0  # the full column
    player = MinimaxPlayer(CONNECT_FOUR, 1, seed=3, temperature=temperature)
    assert_shares(answer_counts(player, position, 6000), torch.tensor(weights) / sum(weights))


def test_the_network_alone_can_draw_by_softmax_of_its_logits() -> None:
    position = after("444444")
    logits = ScrambledEvaluator(CONNECT_FOUR)(position).logits[0].tolist()
    weights = [0.0 if column == 3 else math.exp(logit / 0.7) for column, logit in enumerate(logits)]
    player = NetworkPlayer(CONNECT_FOUR, ScrambledEvaluator(CONNECT_FOUR), seed=3, temperature=0.7)
    assert_shares(answer_counts(player, position, 6000), torch.tensor(weights) / sum(weights))


def test_rollouts_find_the_win_the_block_and_beat_random_play() -> None:
    win = after("112233")
    player = parse_player("mcts:200", CONNECT_FOUR, seed=1)
    assert player.actions(concatenate((win, win))).tolist() == [3, 3]
    assert int(player.actions(after("1122335"))) == 3  # o has to stop the row
    result = play_match(TicTacToe(), parse_player("mcts:100", TicTacToe(), seed=1), RandomPlayer(TicTacToe(), 2),
                        games=40, seed=1)  # fmt: skip
    assert result.total.losses <= 2
    assert result.points > 0.85


class Clock:
    """Time that passes by evaluating: a thousandth of a second for every position."""

    def __init__(self, evaluator: ScrambledEvaluator) -> None:
        self.evaluator, self.now = evaluator, 0.0

    def monotonic(self) -> float:
        return self.now

    def __call__(self, states: State, generator: torch.Generator) -> Evaluation:
        self.now += batch_size(states) / 1000
        return self.evaluator(states, generator)


@pytest.mark.parametrize("cached", [True, False])
def test_an_agent_thinks_for_as_long_as_it_was_given(monkeypatch: pytest.MonkeyPatch, cached: bool) -> None:
    """What is cached costs nothing here, and yet the next position, where it is not, does not take much longer."""
    clock = Clock(ScrambledEvaluator(CONNECT_FOUR))
    monkeypatch.setattr(alphazero.players, "time", clock)
    player = AgentPlayer(CONNECT_FOUR, clock, SearchConfig().without_noise(), seed=1, seconds=0.5, cached=cached)
    for seed, batch in enumerate((1, 1, 3)):
        before = clock.now
        visits = player.think(random_positions(CONNECT_FOUR, batch, plies=6, seed=seed)).result().visits.sum(1)
        assert 0.25 * batch <= clock.now - before <= (0.8 if cached else 0.55) * batch
        assert (visits >= 250).all()


def test_time_is_not_spent_on_more_simulations_than_there_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alphazero.players, "MOST_SIMULATIONS", 100)
    clock = Clock(ScrambledEvaluator(CONNECT_FOUR))
    monkeypatch.setattr(alphazero.players, "time", clock)
    player = AgentPlayer(CONNECT_FOUR, clock, SearchConfig().without_noise(), seed=1, seconds=1000)
    for _ in range(2):
        assert int(player.think(CONNECT_FOUR.initial(1)).result().visits.sum()) == 100


def test_an_agent_in_a_hurry_still_searches(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(ScrambledEvaluator(CONNECT_FOUR))
    monkeypatch.setattr(alphazero.players, "time", clock)
    player = AgentPlayer(CONNECT_FOUR, clock, SearchConfig().without_noise(), seed=1, seconds=1e-6)
    assert int(player.think(CONNECT_FOUR.initial(1)).result().visits.sum()) == FIRST_SIMULATIONS


class SolvedGame(ConnectFour):
    """Says that every column's score is its number, and full ones are illegal."""

    def solve(self, state: ConnectFourState) -> Tensor:
        scores = torch.tensor([0.0, 2, 1, 2, -1, 0, 2]).expand(len(state.mine), COLUMNS)
        return torch.where(self.legal(state), scores, -torch.inf)


def test_the_perfect_player_draws_among_the_best_of_the_solver() -> None:
    assert_uniform(answer_counts(parse_player("perfect", SolvedGame(), seed=1), after("444444"), 2000), {1, 6})


@pytest.mark.parametrize("name", ["random", "minimax:1", "minimax:2@0.5", "mcts:8"])
def test_the_seed_decides(name: str) -> None:
    states = random_positions(CONNECT_FOUR, 400, plies=30, seed=1) if name == "minimax:1" else CONNECT_FOUR.initial(64)

    def answers(seed: int) -> list[list[int]]:
        player = parse_player(name, CONNECT_FOUR, seed=seed)
        return [player.actions(states).tolist() for _ in range(2)]

    assert answers(1) == answers(1)
    assert answers(1) != answers(2)
    assert answers(1)[0] != answers(1)[1]


@pytest.mark.parametrize("name", ["random", "minimax:3"])
def test_finished_states_are_answered_too(name: str) -> None:
    """A full board has no legal action; the answer is unused but has to be a number of an action."""
    full = ConnectFourState(
        torch.tensor([BOTTOM]),
        torch.tensor([BOARD & ~BOTTOM]),
        torch.tensor([0], dtype=torch.int8),
        torch.tensor([True]),
    )
    states = concatenate((full, CONNECT_FOUR.initial(1)))
    answer = parse_player(name, CONNECT_FOUR, seed=0).actions(states)
    assert answer.shape == (batch_size(states),)
    assert ((answer >= 0) & (answer < COLUMNS)).all()


def test_players_are_parsed_by_the_names_they_carry() -> None:
    for name in ("random", "minimax:1", "minimax:12", "minimax:5@0.25", "mcts:1000", "mcts:2s", "mcts:0.5s"):
        assert parse_player(name, CONNECT_FOUR, seed=0).name == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        "Random",
        "random:1",
        "random@1",
        "minimax",
        "minimax:",
        "minimax:0",
        "minimax:-1",
        "minimax:2.5",
        "minimax@1",
        "mcts",
        "mcts:",
        "mcts:5@1",
        "perfect:1",
        "agent",
    ],
)
def test_unknown_players_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"expected random, minimax:DEPTH") as caught:
        parse_player(name, CONNECT_FOUR, seed=0)
    assert repr(name) in str(caught.value)


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("minimax:3@", "no player is called"),
        ("minimax:3@-1", "'-1' is no temperature; expected a number from 0"),
        ("minimax:3@warm", "'warm' is no temperature"),
        ("mcts:0", "'0' is no strength; expected simulations a move as 600, at most 65536, or seconds"),
        ("mcts:0s", "'0s' is no strength"),
        ("mcts:99999999", "'99999999' is no strength; expected simulations a move as 600, at most 65536"),
        ("mcts:3601s", "seconds as 2s or 0.5s, at most 3600"),
    ],
)
def test_settings_that_make_no_sense_are_refused(name: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        parse_player(name, CONNECT_FOUR, seed=0)


def test_what_a_game_does_not_have_is_said() -> None:
    with pytest.raises(ValueError, match="tic_tac_toe has no perfect player"):
        parse_player("perfect", TicTacToe(), seed=0)
    with pytest.raises(ValueError, match="web has continuous actions"):
        parse_player("minimax:2", Throw(seed=0, players=1, keys=False), seed=0)


def test_minimax_refuses_what_it_cannot_play() -> None:
    with pytest.raises(ValueError, match="at least 1 ply ahead, not 0"):
        MinimaxPlayer(CONNECT_FOUR, 0, seed=0)
    with pytest.raises(TypeError, match="web has continuous actions"):
        MinimaxPlayer(Throw(seed=0, players=1, keys=False), 2, seed=0)
