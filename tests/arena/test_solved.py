"""Solved positions: reading and solving them, counting players' mistakes, and reviewing a game."""

from __future__ import annotations

import csv
import math
from collections import Counter
from functools import cache
from itertools import accumulate
from pathlib import Path

import pytest
import torch
from scipy import stats
from torch import Tensor

from alphazero.arena.players import AgentPlayer, MinimaxPlayer, NetworkPlayer, RandomPlayer, Stoppable
from alphazero.arena.solved import (
    CHUNK,
    ErrorRate,
    SolvedPositions,
    answered,
    groups,
    load_positions,
    mistakes,
    review,
    value_fit,
)
from alphazero.config import SearchConfig
from alphazero.game import State, batch_size, num_actions, take
from alphazero.game.record import Record
from alphazero.mcts.evaluator import Evaluation, UniformEvaluator
from games.connect_four import BOARD, COLUMNS, DIRECTIONS, HEIGHT, ROWS, ConnectFour, ConnectFourState
from games.tic_tac_toe import LINES, TicTacToe, TicTacToeState

ROOT = Path(__file__).parents[2]
SOLVED = ROOT / "games" / "data" / "connect_four" / "positions.csv"
LATE = ROOT / "tests" / "data" / "connect_four_late.csv"
GAME = ConnectFour()
SCORES = [f"score_{column}" for column in range(1, COLUMNS + 1)]


@pytest.fixture(scope="module")
def positions() -> SolvedPositions:
    return load_positions(SOLVED, GAME)


@cache
def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def save_positions(path: Path, game: ConnectFour, positions: SolvedPositions) -> None:
    """Writes a file that `load_positions` reads."""
    names = [game.action_name(action) for action in range(num_actions(game))]
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["moves", *(f"score_{name}" for name in names)])
        for moves, scores in zip(positions.moves, positions.scores.tolist(), strict=True):
            # Nine digits tell any two float32 numbers apart; adding 0 makes -0 a 0.
            rows.writerow([moves, *("" if score == -math.inf else f"{score + 0:.9g}" for score in scores)])


class Fixed:
    """Plays given actions."""

    name = "fixed"

    def __init__(self, actions: Tensor) -> None:
        self._actions = actions
        self.asked = 0

    def actions(self, states: State) -> Tensor:
        start, self.asked = self.asked, self.asked + batch_size(states)
        return self._actions[start : self.asked]


class Scored(ConnectFour):
    """Connect-four whose solver knows the scores in a file, and nothing else."""

    def __init__(self, path: Path) -> None:
        self.known = {
            int(self.key(Record(self, row["moves"]).state)): [float(row[name] or "-inf") for name in SCORES]
            for row in rows(path)
        }

    def solve(self, state: ConnectFourState) -> Tensor:
        return torch.tensor([self.known[key] for key in self.key(state).tolist()]).view(-1, COLUMNS)


class PerfectTicTacToe(TicTacToe):
    """A win scores 10 less the marks there will be; a loss the same below 0."""

    def solve(self, state: TicTacToeState) -> Tensor:
        scores = torch.full((batch_size(state), 9), -torch.inf)
        for row, mine, theirs in zip(scores, state.mine.tolist(), state.theirs.tolist(), strict=True):
            for cell in range(9):
                if not (mine | theirs) >> cell & 1:
                    row[cell] = -tic_tac_toe_score(theirs, mine | 1 << cell)
        return scores


@cache
def tic_tac_toe_score(mine: int, theirs: int) -> int:
    """The score for the player to move, who has `mine`, by trying everything."""
    if any(theirs & line == line for line in LINES):
        return (mine | theirs).bit_count() - 10
    empty = [1 << cell for cell in range(9) if not (mine | theirs) & 1 << cell]
    return max((-tic_tac_toe_score(theirs, mine | cell) for cell in empty), default=0)


# ------------------------------------------------------------------------------------- mistakes


def test_the_best_action_is_no_mistake_and_the_worst_one_is_where_one_is_possible(positions: SolvedPositions) -> None:
    best = positions.outcomes.argmax(1)
    assert not mistakes(Fixed(best), positions).any()
    legal = positions.outcomes.where(positions.outcomes > -2, 2)
    possible = legal.amin(1) < positions.outcomes.amax(1)
    assert torch.equal(mistakes(Fixed(legal.argmin(1)), positions), possible)
    assert int(possible.sum()) == 1839  # as the README beside the file says


def test_minimax_that_sees_the_end_makes_no_mistakes() -> None:
    late = load_positions(LATE, GAME)
    full_depth = int(42 - late.plies.min())
    assert answered(MinimaxPlayer(GAME, full_depth, seed=1), late).mistakes["all"] == ErrorRate(150, 0)


def outcomes(mine: int, theirs: int) -> dict[int, int]:
    """1 win, 0 draw, -1 loss of each column that is not full, by trying everything."""
    found = {}
    for column in range(COLUMNS):
        cell = (mine | theirs) + (1 << HEIGHT * column) & ((1 << ROWS) - 1) << HEIGHT * column
        moved = mine | cell
        if any(moved & moved >> s & moved >> 2 * s & moved >> 3 * s for s in DIRECTIONS):
            found[column] = 1
        elif cell:
            found[column] = 0 if moved | theirs == BOARD else -best_outcome(theirs, moved)
    return found


@cache
def best_outcome(mine: int, theirs: int) -> int:
    return max(outcomes(mine, theirs).values())


def test_mistakes_of_minimax_are_those_of_plain_recursion() -> None:
    late = load_positions(LATE, GAME)
    last = take(late.states, late.plies >= 32)
    chosen = MinimaxPlayer(GAME, 1, seed=5).actions(last).tolist()
    expected = [
        found[column] < max(found.values())
        for found, column in zip(map(outcomes, last.mine.tolist(), last.theirs.tolist()), chosen, strict=True)
    ]
    part = SolvedPositions(last, late.scores[late.plies >= 32], (), late.plies[late.plies >= 32])
    assert mistakes(MinimaxPlayer(GAME, 1, seed=5), part).tolist() == expected
    assert sum(expected) > 2


def test_a_random_player_errs_as_often_as_its_legal_actions_are_mistakes(positions: SolvedPositions) -> None:
    legal = positions.outcomes > -2
    share = ((positions.outcomes < positions.outcomes.amax(1, keepdim=True)) & legal).sum(1) / legal.sum(1)
    measured = answered(RandomPlayer(GAME, seed=3), positions).mistakes["all"]
    deviation = float((share * (1 - share)).sum().sqrt())
    assert abs(measured.mistakes - float(share.sum())) < 4 * deviation


def test_more_simulations_make_fewer_mistakes() -> None:
    late = load_positions(LATE, GAME)
    uniform = UniformEvaluator(GAME)
    few, many = (
        answered(AgentPlayer(GAME, uniform, SearchConfig(simulations=n, gumbel_scale=0.0), seed=1), late).mistakes[
            "all"
        ]
        for n in (8, 400)
    )
    assert many.mistakes < few.mistakes < len(late.plies)


def test_the_network_alone_plays_its_likeliest_legal_action() -> None:
    state = GAME.initial(1)
    for _ in range(6):
        state = GAME.step(state, torch.tensor([0])).state
    assert not GAME.legal(state)[0, 0]
    # Uniform logits: the first of the legal columns.
    assert NetworkPlayer(GAME, UniformEvaluator(GAME)).actions(state).tolist() == [1]


# ------------------------------------------------------------------------- stages and difficulty


def groups_of(row: dict[str, str]) -> list[str]:
    """The groups of one line of the file, by its text."""
    classes = [(int(row[name]) > 0) - (int(row[name]) < 0) for name in SCORES if row[name]]
    share = sum(each < max(classes) for each in classes) / len(classes)
    stage = "beginning" if len(row["moves"]) < 15 else "middle" if len(row["moves"]) < 29 else "end"
    # One sixth up or down is further from a third than rounding, and nearer than any other share of 7 actions or less.
    difficulty = "easy" if share < 1 / 3 + 1e-9 else "medium" if share < 2 / 3 + 1e-9 else "hard"
    ply = 7 * (len(row["moves"]) // 7)
    return ["all", stage, *([difficulty] if share else []), f"{ply}-{ply + 6}"]


def test_error_rates_by_stage_and_difficulty(positions: SolvedPositions) -> None:
    chosen = RandomPlayer(GAME, seed=8).actions(positions.states)
    count, mistaken = Counter[str](), Counter[str]()
    for row, column in zip(rows(SOLVED), chosen.tolist(), strict=True):
        classes = {
            number: (int(row[name]) > 0) - (int(row[name]) < 0) for number, name in enumerate(SCORES) if row[name]
        }
        for group in groups_of(row):
            count[group] += 1
            mistaken[group] += classes[column] < max(classes.values())
    rates = answered(Fixed(chosen), positions).mistakes
    names = ["all", "beginning", "middle", "end", "easy", "medium", "hard"]
    names += ["0-6", "7-13", "14-20", "21-27", "28-34"]
    assert {group: tuple(rate) for group, rate in rates.items()} == {
        group: (count[group], mistaken[group]) for group in names
    }
    assert min(mistaken[group] for group in names[:7]) > 40
    # Positions in none of the three allow no mistake.
    difficult = [rates[group].positions for group in ("easy", "medium", "hard")]
    assert rates["all"].positions - sum(difficult) == 2969 - 1839


def test_bounds_of_stages_and_difficulty() -> None:
    """The bounds themselves, of six legal actions: 2 of 6 mistakes are easy, 4 are medium."""
    scores = torch.tensor([[3.0] * (6 - wrong) + [-1.0] * wrong + [-torch.inf] for wrong in range(6)])
    plies = torch.tensor([0, 14, 15, 28, 29, 41])
    found = groups(SolvedPositions(GAME.initial(6), scores, ("",) * 6, plies))
    assert {name: group.nonzero()[:, 0].tolist() for name, group in found.items()} == {
        "all": [0, 1, 2, 3, 4, 5],
        "beginning": [0, 1],
        "middle": [2, 3],
        "end": [4, 5],
        "easy": [1, 2],
        "medium": [3, 4],
        "hard": [5],
        **{"0-6": [0], "7-13": [], "14-20": [1, 2], "21-27": [], "28-34": [3, 4], "35-41": [5]},
    }


def test_perfect_moves_are_the_soonest_wins_and_the_latest_losses(positions: SolvedPositions) -> None:
    chosen = RandomPlayer(GAME, seed=8).actions(positions.states)
    expected = 0
    for row, column in zip(rows(SOLVED), chosen.tolist(), strict=True):
        scores = [int(row[name]) for name in SCORES if row[name]]
        expected += int(row[SCORES[column]]) == max(scores)
    found = answered(Fixed(chosen), positions)
    assert (found.perfect, found.perfect_rate) == (expected, expected / 2969)
    assert found.value is None
    assert found.perfect < 2969 - found.mistakes["all"].mistakes


def test_values_are_held_to_perfect_play() -> None:
    """A win, a loss and a draw, thought to be worth 0.5, 0.2 and -0.4: 0.25, 1.44 and 0.16 off; one sign is wrong."""
    scores = torch.tensor([[2.0, -1.0], [-3.0, -4.0], [0.0, -torch.inf]])
    solved = SolvedPositions(GAME.initial(3), scores, ("",) * 3, torch.arange(3))
    fit = value_fit(torch.tensor([0.5, 0.2, -0.4]), solved)
    assert fit == (pytest.approx(1.85 / 3), 1, 2)
    assert fit.wrong_rate == 0.5


def test_the_values_are_the_players_own(positions: SolvedPositions) -> None:
    """Of a network that is always half sure to win, also where it is asked through one that can be stopped."""

    def hopeful(states: ConnectFourState, generator: torch.Generator) -> Evaluation:
        return Evaluation(torch.zeros(batch_size(states), 7), torch.full((batch_size(states),), 0.5))

    outcomes = [
        max((int(row[name]) > 0) - (int(row[name]) < 0) for name in SCORES if row[name]) for row in rows(SOLVED)
    ]
    loss = sum((0.5 - outcome) ** 2 for outcome in outcomes) / 2969
    network = Stoppable(NetworkPlayer(GAME, hopeful), lambda done: None)
    assert answered(network, positions).value == (pytest.approx(loss), outcomes.count(-1), 2969 - outcomes.count(0))


def test_an_agents_values_are_its_searches() -> None:
    late = load_positions(LATE, GAME)
    config = SearchConfig(simulations=16, gumbel_scale=0.0)
    agents = [AgentPlayer(GAME, UniformEvaluator(GAME), config, seed=1) for _ in range(2)]
    found = agents[0].think(late.states).result()
    answers = agents[1].answers(late.states)
    assert torch.equal(answers.actions, found.action)
    assert torch.equal(answers.value, found.value)
    assert answers.value.abs().max() > 0.5


@pytest.mark.parametrize(("made", "count"), [(0, 12), (7, 300), (300, 300), (80, 2969)])
def test_the_interval_is_wilsons(made: int, count: int) -> None:
    rate = ErrorRate(count, made)
    expected = stats.binomtest(made, count).proportion_ci(0.95, method="wilson")
    assert rate.rate == made / count
    assert rate.interval == pytest.approx((expected.low, expected.high), abs=1e-6)


def test_without_positions_nothing_is_known() -> None:
    assert math.isnan(ErrorRate(0, 0).rate)
    assert ErrorRate(0, 0).interval == (0, 1)


# ------------------------------------------------------------------------------------- progress


def test_progress_counts_the_positions_that_are_answered() -> None:
    late, seen = load_positions(LATE, GAME), list[int]()
    answered(RandomPlayer(GAME, seed=1), late, progress=seen.append)
    assert list(accumulate(seen)) == [*range(CHUNK, 150, CHUNK), 150]


def test_an_exception_of_progress_ends_the_work() -> None:
    late = load_positions(LATE, GAME)
    player = Fixed(late.scores.argmax(1))

    def stop(answered: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        answered(player, late, progress=stop)
    assert player.asked == CHUNK


# ---------------------------------------------------------------------------------------- files


def test_a_column_of_moves_is_solved_as_it_is_read(tmp_path: Path) -> None:
    path, seen = tmp_path / "positions.csv", list[int]()
    path.write_text("moves\n" + "".join(row["moves"] + "\n" for row in rows(LATE)))
    solved, late = load_positions(path, Scored(LATE), progress=seen.append), load_positions(LATE, GAME)
    assert torch.equal(solved.scores, late.scores)
    assert torch.equal(solved.outcomes, late.outcomes)
    assert solved.moves == late.moves == tuple(row["moves"] for row in rows(LATE))
    assert solved.plies.tolist() == [len(row["moves"]) for row in rows(LATE)]
    assert list(accumulate(seen)) == [*range(CHUNK, 150, CHUNK), 150]


def test_blank_moves_are_the_start(tmp_path: Path) -> None:
    path = tmp_path / "positions.csv"
    path.write_text('moves\n\na1\n""\n"a1, b2"\n')
    solved = load_positions(path, PerfectTicTacToe())
    assert solved.moves == ("", "a1", "", "a1 b2")
    assert solved.plies.tolist() == [0, 1, 0, 2]
    assert solved.outcomes[0].tolist() == solved.outcomes[2].tolist() == [0] * 9
    path.write_text(f"moves,{','.join(SCORES)}\n,-2,-1,0,1,0,-1,-2\n\n4,-4,-2,-2,-1,-2,-2,-4\n")
    solved = load_positions(path, GAME)
    assert solved.moves == ("", "4")
    assert solved.outcomes[0].tolist() == [-1, -1, 0, 1, 0, -1, -1]


def test_a_file_is_written_as_it_was_read(positions: SolvedPositions, tmp_path: Path) -> None:
    save_positions(tmp_path / "positions.csv", GAME, positions)
    assert (tmp_path / "positions.csv").read_bytes() == SOLVED.read_bytes()


def test_any_scores_are_kept(tmp_path: Path) -> None:
    record = Record(GAME, "111111")
    scores = torch.tensor([[-torch.inf, -0.0, 1 / 3, -2e-30, 1e20, 7.25, -3.0]])
    path = tmp_path / "positions.csv"
    save_positions(path, GAME, SolvedPositions(record.state, scores, (record.moves,), torch.tensor([6])))
    assert path.read_text().splitlines()[1].startswith("111111,,0,0.3333333")
    assert torch.equal(load_positions(path, GAME).scores, scores)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("", "the column moves is missing"),
        ("moves,score_1\n", "the column score_2 is missing"),
        ("moves,comment\n4,good\n", "the column score_1 is missing"),
        ("moves\n", "holds no positions"),
        ("moves,{scores}\n", "holds no positions"),
        ("moves,{scores}\n18,0,0,0,0,0,0,0\n", "line 2: no action is called '8'"),
        ("moves,{scores}\n1111111,0,0,0,0,0,0,0\n", "line 2: move 7 of '1111111': 1 is not legal here"),
        ("moves,{scores}\n1212121,0,0,0,0,0,0,0\n", "the game is over after 1212121"),
        ("moves\n4\n1212121\n", "line 3: the game is over after 1212121"),
        ("moves\n4,4\n", "line 2: 2 fields, expected 1; quote moves"),
        ("moves,{scores}\n12,0,0,0\n", "line 2: 4 fields, expected 8"),
        ("moves,{scores}\n12,x,0,0,0,0,0,0\n", "line 2: score_1 is no number: 'x'"),
        ("moves,{scores}\n12,0,nan,0,0,0,0,0\n", "line 2: score_2 is no number: 'nan'"),
        ("moves,{scores}\n12,0,0,inf,0,0,0,0\n", "line 2: score_3 is no number: 'inf'"),
        ("moves,{scores}\n12,0,0,1e39,0,0,0,0\n", "line 2: score_3 is 1e39, beyond .*, the largest float32"),
        ("moves,{scores}\n12,0,0," + "9" * 5000 + ",0,0,0,0\n", "line 2: score_3 is no number: '999.{,60}$"),
        ("moves,{scores}\n" + "1" * 5000 + ",0,0,0,0,0,0,0\n", "line 2: move 7 of '1111.{,60}: 1 is not legal here"),
        ("moves,{scores}\n12,0,0,,0,0,0,0\n", "line 2: score_3 is empty, but 3 can be played here"),
        ("moves,{scores}\n111111,5,0,0,0,0,0,0\n", "line 2: score_1 is 5, but 1 cannot be played here"),
    ],
)
def test_a_file_that_is_wrong_is_named_with_the_line(tmp_path: Path, content: str, complaint: str) -> None:
    path = tmp_path / "positions.csv"
    path.write_text(content.format(scores=",".join(SCORES)))
    with pytest.raises(ValueError, match=complaint) as error:
        load_positions(path, GAME)
    assert str(path) in str(error.value)


def test_a_file_that_is_not_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "positions.csv"
    path.write_bytes(b"\xff\xfe\x00moves\n")
    with pytest.raises(ValueError, match="is no file of comma-separated values in UTF-8") as error:
        load_positions(path, GAME)
    assert str(path) in str(error.value)


def test_another_games_positions_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no positions of tic_tac_toe"):
        load_positions(SOLVED, TicTacToe())
    path = tmp_path / "positions.csv"
    path.write_text("moves\na1\n")
    with pytest.raises(ValueError, match="has no scores, and tic_tac_toe has no perfect player") as error:
        load_positions(path, TicTacToe())
    assert str(path) in str(error.value)


# --------------------------------------------------------------------------------------- review


def test_a_reviewed_game_names_the_move_that_lost_it() -> None:
    """Everyone's first lesson: a corner must be answered in the centre, and two threats cannot both be stopped."""
    game = PerfectTicTacToe()
    moves = "a1 b1 b2 c3 a2 a3 c2"
    reviewed = review(Record(game, moves))
    assert [game.action_name(move.action) for move in reviewed] == moves.split()
    assert [move.seat for move in reviewed] == [0, 1, 0, 1, 0, 1, 0]
    assert [(move.before, move.after) for move in reviewed] == [
        *[(0, 0), (0, -1), (1, 1), (-1, -1), (1, 1), (-1, -1), (1, 1)]
    ]
    assert [move.mistake for move in reviewed] == [number == 1 for number in range(7)]
    best = [[game.action_name(action) for action in move.best] for move in reviewed]
    assert len(best[0]) == 9  # no first move is better than another
    assert best[1] == ["b2"]
    assert best[3] == ["c3"]
    assert best[6] == ["c2"]
    # The seventh mark decides it, from o's mistake on.
    assert [move.score for move in reviewed] == [0, -3, 3, -3, 3, -3, 3]
    assert [move.best_score for move in reviewed] == [0, 0, 3, -3, 3, -3, 3]


def test_a_win_given_away_is_a_mistake_and_a_slow_one_is_not() -> None:
    game = PerfectTicTacToe()
    lost = review(Record(game, "a1 b1 b2 c3 a2 a3 c1"))[-1]  # instead of c2; now o completes the top with b3
    assert (lost.before, lost.after, lost.mistake) == (1, -1, True)
    slow = review(Record(game, "a1 b1 b2 a2 c1"))[-1]  # instead of c3, which wins at once; now a3 and c3 both do
    assert (slow.before, slow.after, slow.mistake) == (1, 1, False)
    assert (slow.score, slow.best_score) == (3, 5)
    assert [game.action_name(action) for action in slow.best] == ["c3"]


def test_a_game_without_moves_has_nothing_to_review() -> None:
    assert review(Record(PerfectTicTacToe())) == []
    with pytest.raises(ValueError, match="tic_tac_toe has no perfect player"):
        review(Record(TicTacToe(), "b2"))


def test_a_review_of_connect_four() -> None:
    """The first player wins in the middle only; in the outermost columns it even loses."""
    pytest.importorskip("bitbully")
    edge, answer = review(Record(GAME, "14"))
    assert edge[:] == (0, 0, -2, 1, (3,))
    assert (edge.before, edge.after, edge.mistake) == (1, -1, True)
    assert (answer.seat, answer.before, answer.after, answer.best_score) == (1, 1, 1, 2)
