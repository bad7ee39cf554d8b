"""Players: their actions, and their names."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

import alphazero.arena.minimax
import alphazero.arena.players
from alphazero.arena.match import play_match
from alphazero.arena.minimax import minimax
from alphazero.arena.players import (
    NOTHING_NEW,
    AgentPlayer,
    MinimaxPlayer,
    NetworkPlayer,
    Player,
    RandomPlayer,
    RolloutEvaluator,
    Stoppable,
    parse_player,
)
from alphazero.config import SearchConfig
from alphazero.game import Box, Game, State, batch_size, concatenate, map_states
from alphazero.mcts.evaluator import Evaluation, Evaluator, UniformEvaluator
from alphazero.mcts.timed import LEAST
from alphazero.mcts.tree import STATISTICS, make_tree, tree_bytes
from games.connect_four import BOARD, BOTTOM, COLUMNS, ConnectFour, ConnectFourState
from games.tic_tac_toe import TicTacToe
from tests.evaluators import CountingEvaluator, ScrambledEvaluator
from tests.positions import CONNECT_FOUR, Web, after, board, random_positions, tic_tac_toe_board
from tests.stubs import Again, AgainState, Mine, MineState

# --------------------------------------------------------------------------------------- players


def answer_counts(player: Player, state: ConnectFourState, draws: int) -> Tensor:
    """How often each column was the answer to one position, of `draws` answers."""
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
    """The same with continuous actions, for players that ask only for the space of actions."""

    actions = Box(low=(-1.0, 10.0), high=(1.0, 30.0))


@pytest.mark.parametrize("kind", [int, float])
def test_random_player_fills_the_box(kind: type) -> None:
    game = Throw(seed=0, players=1, keys=False)
    game.actions = Box(*(tuple(map(kind, bound)) for bound in Throw.actions))
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
        (TicTacToe(), tic_tac_toe_board("x o x / . o . / . x .")),
        (TicTacToe(), tic_tac_toe_board("x o x / . o . / . . .")),
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

    def __init__(self, evaluator: Evaluator) -> None:
        self.evaluator, self.now = evaluator, 0.0

    def monotonic(self) -> float:
        return self.now

    def __call__(self, states: State, generator: torch.Generator) -> Evaluation:
        self.now += batch_size(states) / 1000
        return self.evaluator(states, generator)


class Keyless(ConnectFour):
    """The same without keys, so that nothing is cached."""

    key = Game.key


def thinks(clock: Clock, game: Game, state: State, *, seconds: float) -> tuple[float, int]:
    """The seconds that an agent takes, by the clock, and its simulations of the first state."""
    player = AgentPlayer(game, clock, SearchConfig().without_noise(), seed=1, seconds=seconds)
    before = clock.now
    visits = player.think(state).result().visits
    return clock.now - before, int(visits[0].sum())


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock(ScrambledEvaluator(CONNECT_FOUR))
    monkeypatch.setattr(alphazero.arena.players, "time", clock)
    return clock


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("seconds", [0.2, 2.0])
@pytest.mark.parametrize("game", [CONNECT_FOUR, Keyless()], ids=["cached", "not cached"])
def test_an_agent_thinks_for_as_long_as_it_was_given(game: Game, seconds: float, batch: int, clock: Clock) -> None:
    """To the last evaluation; what is found in the cache takes no time, so that there is time for more simulations."""
    states = random_positions(CONNECT_FOUR, batch, plies=6, seed=0)
    taken, simulations = thinks(clock, game, states, seconds=seconds)
    assert seconds * batch <= taken + 1e-9 < seconds * batch + 1.001 * batch / 1000
    assert simulations >= 1000 * seconds - 1


def test_the_time_that_rules_take_to_load_counts(clock: Clock) -> None:
    class Loading(Keyless):
        loaded = False

        def legal(self, state: ConnectFourState) -> Tensor:
            clock.now += 0.0 if self.loaded else 0.3
            self.loaded = True
            return super().legal(state)

    taken, _ = thinks(clock, Loading(), CONNECT_FOUR.initial(1), seconds=0.5)
    assert taken == pytest.approx(0.5, abs=0.0011)


def test_a_long_think_is_not_limited_by_the_simulations_of_a_budget(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where every position is worth the same, no line is better than the others, and new positions do not end."""
    monkeypatch.setattr(alphazero.arena.players, "MOST_SIMULATIONS", 1000)
    clock.evaluator = UniformEvaluator(CONNECT_FOUR)
    taken, simulations = thinks(clock, Keyless(), CONNECT_FOUR.initial(1), seconds=3.0)
    assert taken == pytest.approx(3.0, abs=0.0011)
    assert simulations >= 2999


def test_time_is_not_spent_on_more_simulations_than_memory_has_room_for(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alphazero.arena.players, "MOST_BY_CLOCK", 100)
    assert thinks(clock, CONNECT_FOUR, CONNECT_FOUR.initial(1), seconds=1000)[1] == 100


def test_an_agent_in_a_hurry_still_searches(clock: Clock) -> None:
    assert thinks(clock, CONNECT_FOUR, CONNECT_FOUR.initial(1), seconds=1e-6)[1] == LEAST


def test_a_forced_move_is_answered_at_once(clock: Clock) -> None:
    """All columns but one are full, and nobody has won; beside it another position is searched for its whole time."""
    forced = board("""
        . o x o x o x
        . o x o x o x
        . x o x o x o
        . x o x o x o
        . o x o x o x
        . x o x o x o""")
    assert thinks(clock, Keyless(), forced, seconds=5.0)[1] == LEAST
    taken, _ = thinks(clock, Keyless(), concatenate((forced, CONNECT_FOUR.initial(1))), seconds=0.1)
    assert taken >= 0.2


def test_a_search_that_finds_nothing_new_is_over(clock: Clock) -> None:
    """Two columns of two cells each are left: some dozen positions, whatever the time."""
    late = board("""
        . . x o x o x
        . . x o x o x
        x o o x o x o
        o x o x o x o
        x o x o x o x
        o x x o x o o""")
    taken, simulations = thinks(clock, Keyless(), late, seconds=1000.0)
    assert taken < 0.03
    assert NOTHING_NEW < simulations < 2 * NOTHING_NEW


class SolvedGame(ConnectFour):
    """Connect-four in which every column's score is its number, and full ones are illegal."""

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
        ("mcts:0", "'0' is no search budget; expected simulations a move as 600, at most 65536, or seconds"),
        ("mcts:0s", "'0s' is no search budget"),
        ("mcts:99999999", "'99999999' is no search budget; expected simulations a move as 600, at most 65536"),
        ("minimax:3@" + "9" * 400, "999.* is no temperature; expected a number from 0, .* otherwise from 1e-06 to 1e"),
        ("minimax:3@0.0000001", "is no temperature"),
        ("minimax:101", "minimax looks 1 to 100 plies ahead, not 101"),
        ("minimax:1000000", "minimax looks 1 to 100 plies ahead"),
        ("minimax:" + "9" * 5000, "no player is called 'minimax:999.{,60}; expected"),
        ("mcts:" + "9" * 5000, "'999.* is no search budget"),
        ("mcts:3601s", "seconds as 2s or 0.5s, at most 3600"),
    ],
)
def test_settings_that_make_no_sense_are_refused(name: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        parse_player(name, CONNECT_FOUR, seed=0)


def test_players_that_a_game_does_not_have_are_refused() -> None:
    with pytest.raises(ValueError, match="tic_tac_toe has no perfect player"):
        parse_player("perfect", TicTacToe(), seed=0)
    with pytest.raises(ValueError, match="web has continuous actions"):
        parse_player("minimax:2", Throw(seed=0, players=1, keys=False), seed=0)


def test_minimax_refuses_games_and_depths_that_it_cannot_play() -> None:
    with pytest.raises(ValueError, match="looks 1 to 100 plies ahead, not 0"):
        MinimaxPlayer(CONNECT_FOUR, 0, seed=0)
    with pytest.raises(TypeError, match="web has continuous actions"):
        MinimaxPlayer(Throw(seed=0, players=1, keys=False), 2, seed=0)


@pytest.mark.parametrize("name", ["agent", "mcts:1000", "minimax:9"])
def test_a_search_can_be_ended_within_a_move(name: str) -> None:
    """Before the fourth evaluation of a thousand, or plies before nine; the first question is before the move."""

    class EndedError(Exception):
        pass

    def check(done: int) -> None:
        asked.append(done)
        if len(asked) == 5:
            raise EndedError

    asked: list[int] = []
    evaluator, many = ScrambledEvaluator(CONNECT_FOUR), SearchConfig(simulations=1000)
    agent = AgentPlayer(CONNECT_FOUR, evaluator, many, seed=1)
    player = Stoppable(agent if name == "agent" else parse_player(name, CONNECT_FOUR, seed=1), check)
    with pytest.raises(EndedError):
        player.actions(CONNECT_FOUR.initial(2))
    assert asked == [0] * 5


def test_a_large_batch_is_searched_in_parts_and_answered_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    game = TicTacToe()
    states = random_positions(game, 40, plies=3, seed=1)
    config = SearchConfig(simulations=16).without_noise()
    expected = AgentPlayer(game, ScrambledEvaluator(game), config, seed=1).actions(states)
    counting = CountingEvaluator(ScrambledEvaluator(game))
    monkeypatch.setattr(alphazero.arena.players, "TREES", 7 * tree_bytes(states, 17, 9))
    player = AgentPlayer(game, counting, config, seed=1)
    assert torch.equal(player.actions(states), expected)
    assert max(counting.batches) == 7


def test_a_tree_is_as_large_as_said() -> None:
    game = TicTacToe()
    roots = game.initial(5)
    made = make_tree(roots, UniformEvaluator(game)(roots, torch.Generator()), torch.zeros(5, 9), 17, bounded=True)
    assert made.bounds is not None
    arrays = [*(getattr(made, name) for name in STATISTICS), *made.states, *made.bounds]
    assert sum(array.nbytes for array in arrays) == 5 * tree_bytes(roots, 17, 9)
