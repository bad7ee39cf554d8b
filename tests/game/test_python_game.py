"""Games in plain Python: the engine's states keep them whole, and what is wrong is said in their authors' words."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from alphazero.game import Discrete, Game, PythonGame, as_game, batched, check_game, load_game, random_actions, take
from alphazero.game.batched import BatchedGame
from alphazero.game.conformance import ConformanceError
from alphazero.game.pace import rules_seconds
from alphazero.game.python_game import encoded, plain
from examples.plain_connect_four import ConnectFour as PlainConnectFour
from games.connect_four import ConnectFour
from games.tic_tac_toe import TicTacToe as BatchedTicTacToe
from tests.cpu_clock import CpuClock
from tests.game.plain_games import LINES, Piles, Subtraction, Target, TicTacToe

RANDOM = np.random.default_rng(0)
ROOT = Path(__file__).resolve().parents[2]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def random_states(game: Game, batch: int = 50, plies: int = 4, seed: int = 0) -> Any:
    """Every position of random games until this ply."""
    state, generated = game.initial(batch, generator=generator(seed)), generator(seed)
    states = [state]
    for _ in range(plies):
        state = game.step(state, random_actions(game, state, generated)).state
        states.append(state)
    return batched.History(*(torch.cat(fields) for fields in zip(*states, strict=True)))


def answers(game: Game, state: Any) -> list[torch.Tensor]:
    """All that the game says of the states, and of each one's first legal action."""
    legal = game.legal(state)
    action = legal.to(torch.int8).argmax(1) if game.discrete else torch.zeros(len(legal), 2)
    following, *outcome = game.step(state, action)
    return [
        legal,
        game.observe(state),
        game.to_play(state),
        game.key(state),
        game.heuristic(state),
        *following,
        *outcome,
    ]


# --- The same game in plain Python and in tensors


@pytest.mark.parametrize(("plain", "tensors"), [(PlainConnectFour(), ConnectFour()), (TicTacToe(), BatchedTicTacToe())])
def test_a_plain_game_says_what_the_batched_one_says(plain: PythonGame, tensors: Game) -> None:
    game, generated = as_game(plain), generator()
    now, expected = game.initial(300), tensors.initial(300)
    while not bool(expected.done.all()):
        legal, running = tensors.legal(expected), ~expected.done
        assert torch.equal(game.legal(now)[running], legal[running])
        assert torch.equal(game.observe(now), tensors.observe(expected))
        assert torch.equal(game.to_play(now)[running], tensors.to_play(expected)[running])
        action = tensors.actions.random(legal, generated)
        now, *outcome = game.step(now, action)
        expected, *expected_outcome = tensors.step(expected, action)
        assert all(map(torch.equal, outcome, expected_outcome))
    assert bool(now.done.all())


def test_the_key_joins_what_the_batched_key_joins() -> None:
    """Two orders of the same moves are one position, in both."""
    game, tensors = as_game(TicTacToe()), BatchedTicTacToe()
    state, expected = game.initial(5000), tensors.initial(5000)
    generated = generator()
    for _ in range(4):
        action = tensors.actions.random(tensors.legal(expected), generated)
        state, expected = game.step(state, action).state, tensors.step(expected, action).state
    ours, theirs = (
        one.key(states).unique(return_inverse=True)[1] for one, states in ((game, state), (tensors, expected))
    )
    pairs = torch.stack((ours, theirs), 1).unique(dim=0)
    assert len(pairs) == len(ours.unique()) == len(theirs.unique())


# --- States outlive their positions


@pytest.mark.parametrize("rules", [TicTacToe, Subtraction, Target])
def test_a_state_means_the_same_to_a_game_that_has_never_seen_it(rules: type[PythonGame]) -> None:
    """As to another process, or after a checkpoint."""
    first = as_game(rules())
    state = random_states(first)
    expected = answers(first, state)
    assert all(map(torch.equal, answers(as_game(rules()), state), expected))
    assert all(map(torch.equal, answers(first, state), expected))


@pytest.mark.parametrize("rules", [TicTacToe, Subtraction, Target])
def test_few_positions_are_kept_and_those_that_are_gone_are_played_again(
    rules: type[PythonGame], monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = answers(first := as_game(rules()), state := random_states(first))
    monkeypatch.setattr(batched, "MEMORY", 20 * batched.OBJECT)
    small = as_game(rules())
    assert isinstance(small, BatchedGame)
    assert all(map(torch.equal, answers(small, state), expected))
    kept = len(small._young) + len(small._old)
    assert kept <= 20 < len(state.position.unique())


@pytest.mark.parametrize("moves", [[0, 0], [9], [-1], [0, 3, 1, 4, 2, 5]])
def test_no_rules_are_asked_to_play_what_is_not_legal(moves: list[int]) -> None:
    """As a file might say: a taken cell, cells that are none, and a move after the game was won."""
    game = as_game(TicTacToe())
    state = game.initial(1)
    forged = state._replace(
        moves=torch.tensor([moves + [0] * (9 - len(moves))], dtype=torch.int8),
        length=torch.tensor([len(moves)], dtype=torch.int32),
        position=state.position + 1,
    )
    with pytest.raises(
        ValueError, match=r"tic_tac_toe has no such game: -?[0-9] cannot be played after those before it"
    ):
        game.legal(forged)


@pytest.mark.parametrize("rules", [TicTacToe, Target])
def test_no_states_get_no_answers(rules: type[PythonGame]) -> None:
    game = as_game(rules())
    nothing = take(game.initial(3), slice(0))
    expected = answers(game, game.initial(3))
    action = torch.zeros(0, dtype=torch.int64) if game.discrete else torch.zeros(0, 2)
    given = [game.legal(nothing), game.observe(nothing), game.to_play(nothing), game.key(nothing)]
    for answer, some in zip([*given, game.heuristic(nothing)], expected, strict=False):
        assert (answer.shape[1:], answer.dtype, len(answer)) == (some.shape[1:], some.dtype, 0)
    assert len(game.step(nothing, action).reward) == 0


def test_each_move_is_made_once_and_each_position_observed_once() -> None:
    class Counted(TicTacToe):
        calls: dict[str, int] = {}  # noqa: RUF012

        def play(self, position: str, action: int) -> str:
            self.calls["play"] = self.calls.get("play", 0) + 1
            return super().play(position, action)

        def observe(self, position: str) -> Any:
            self.calls["observe"] = self.calls.get("observe", 0) + 1
            return super().observe(position)

    game, rules = as_game(counted := Counted()), counted.calls
    start = game.initial(9)
    for _ in range(3):
        game.observe(game.step(start, torch.arange(9)).state)
    assert rules == {"play": 9, "observe": 9}


def test_positions_without_a_key_are_told_apart_by_their_moves() -> None:
    class Opaque(TicTacToe):
        """As of another package, whose objects say nothing."""

        def initial(self) -> Any:
            return _Box("." * 9)

        def __getattribute__(self, name: str) -> Any:
            found = super().__getattribute__(name)
            if name not in ("to_play", "legal_actions", "play", "winner", "observe"):
                return found
            plain = getattr(TicTacToe(), name)
            wrap = _Box if name == "play" else lambda answer: answer
            return lambda position, *action: wrap(plain(position.content, *action))

    game = as_game(Opaque())
    one, other = (torch.tensor(moves) for moves in ([0, 1, 2], [2, 1, 0]))
    states = [game.initial(1) for _ in range(2)]
    for ply in range(3):
        states = [game.step(s, moves[ply : ply + 1]).state for s, moves in zip(states, (one, other), strict=True)]
    assert torch.equal(game.observe(states[0]), game.observe(states[1]))
    assert int(game.key(states[0])) != int(game.key(states[1]))
    check_game(Opaque())


class _Box:
    def __init__(self, content: str) -> None:
        self.content = content


def test_the_longest_game_ends_as_a_draw() -> None:
    class Short(TicTacToe):
        max_moves = 5

    game = as_game(Short())
    state, total = game.initial(200), torch.zeros(200)
    for ply in range(5):
        assert not bool(state.done.any()) or ply == 5
        state, reward, _ = game.step(state, random_actions(game, state, generator(ply)))
        total += reward
    assert bool(state.done.all())
    assert isinstance(game, BatchedGame)
    assert torch.equal(game.cut_off(state), total == 0)  # x wins with its third mark at the soonest
    assert 0 < int(total.sum()) < 200
    summary = str(check_game(Short()))
    assert "! max_moves:" in summary
    assert "were ended by it, after 5 moves; they count as draws" in " ".join(summary.split())


def test_random_starts_come_from_the_generator() -> None:
    game = as_game(Subtraction())
    starts = game.observe(game.initial(500, generator=generator(3)))
    assert torch.equal(game.observe(game.initial(500, generator=generator(3))), starts)
    assert not torch.equal(game.observe(game.initial(500, generator=generator(4))), starts)
    assert len(starts.unique(dim=0)) > 100
    assert game.observe(game.initial(1)).shape == (1, 3)


def test_a_move_s_number_takes_as_few_bytes_as_it_can() -> None:
    for count, dtype in ((127, torch.int8), (128, torch.int16), (40_000, torch.int32)):
        many = type("Many", (TicTacToe,), {"actions": Discrete(count)})()
        assert as_game(many).initial(1).moves.dtype == dtype


def test_what_a_game_offers_reaches_the_engine() -> None:
    game = as_game(Subtraction())
    state = game.initial(200, generator=generator())
    assert (game.has_solver, game.has_heuristic, game.has_key) == (True, True, True)
    assert game.render(take(game.initial(1), slice(1))).count("\n") == 2
    assert [game.action_name(action) for action in range(6)] == ["a1", "b1", "c1", "a2", "b2", "c2"]
    assert game.parse_action("c2") == 5
    scores, legal = game.solve(state), game.legal(state)
    assert torch.equal(scores.isfinite(), legal)
    for action in range(6):  # what leads to a loss of the opponent wins
        after = game.step(state, torch.full((200,), action)).state
        lost = after.done | (game.heuristic(after) < 0)
        assert torch.equal((scores[:, action] > 0)[legal[:, action]], lost[legal[:, action]])
    plain = as_game(TicTacToe())
    assert (plain.has_solver, plain.has_heuristic) == (False, False)
    assert "as the first player sees it" in plain.render(plain.initial(1))
    with pytest.raises(ValueError, match="tic_tac_toe has no perfect player"):
        plain.solve(plain.initial(1))
    target = as_game(Target())
    state = target.initial(3)
    for throw in ([0.5, 0.25], [0.5, 0.75]):
        state, reward, _ = target.step(state, torch.tensor([throw] * 3))
    assert target.metrics(state)["miss"].tolist() == pytest.approx([0.5] * 3)
    assert reward.tolist() == pytest.approx([0.875] * 3)
    assert target.metrics(take(state, slice(0))) == {}


def test_the_speed_of_the_rules_is_not_that_of_memory(cpu_clock: CpuClock) -> None:
    """Each call is timed as a first one, so that the tenth is no quicker; by this clock there are a hundred."""

    class Slow(TicTacToe):
        calls = 0

        def play(self, position: str, action: int) -> str:
            type(self).calls += 1
            return super().play(position, action)

    game = as_game(Slow())
    states = random_states(game, batch=20, plies=2)
    for name in ("step", "observe"):
        assert rules_seconds(game, states)[name] > 0
    assert Slow.calls > 10 * len(states.position.unique())


# --- Keys


class Colour(Enum):
    RED = 1
    BLUE = 2


@dataclass(frozen=True)
class Board:
    cells: tuple[int, ...]
    colour: Colour


KEYS: list[Any] = [
    *(None, True, 1, 2, -1, 1 << 70, 0.5, "a", "b", b"a", (), (1,), ((1,),), (1, 2), [1, 2, 3], "1"),
    *(frozenset({1, 2}), frozenset({"ab", "cd", "ef"}), Piles(np.array([1, 2, 3]), 0), Piles(np.array([1, 2, 3]), 1)),
    *(Board((1, 2), Colour.RED), Board((1, 2), Colour.BLUE), Board((2, 1), Colour.RED), np.arange(6).reshape(2, 3).T),
]


def test_keys_that_differ_are_encoded_as_different_bytes() -> None:
    assert len({encoded(key) for key in KEYS}) == len(KEYS)


def test_keys_that_are_equal_are_encoded_alike_in_every_process() -> None:
    """Sets and texts have another order and another hash in each."""
    code = "from tests.game.test_python_game import KEYS, encoded; print([encoded(key).hex() for key in KEYS])"
    environment = {"PYTHONHASHSEED": "1", "PYTHONPATH": str(ROOT)}  # here it is another one
    said = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, check=True, capture_output=True, text=True
    ).stdout
    assert said == f"{[encoded(key).hex() for key in KEYS]}\n"


@pytest.mark.parametrize("key", [object(), (1, object()), (np.array([object()]), 1)])
def test_keys_that_tell_nothing_are_refused(key: object) -> None:
    with pytest.raises(TypeError, match="cannot tell positions apart: numbers, texts, arrays and tuples can"):
        encoded(plain(key))


# --- The check, in the author's words


@pytest.mark.parametrize("rules", [TicTacToe(), Subtraction(), Target(), PlainConnectFour(), as_game(TicTacToe())])
def test_sound_games_pass(rules: Any) -> None:
    check_game(rules)


def careless_play(self: Any, position: Piles, action: int) -> Piles:
    position.sizes[action % 3] -= 1 + action // 3
    return Piles(position.sizes, 1 - position.mover)


BROKEN: list[tuple[type[PythonGame], dict[str, Any], str]] = [
    (TicTacToe, {"name": ""}, "name: must be a word, is ''"),
    (TicTacToe, {"actions": 9}, "actions: must be a Discrete of at least one action, .* is 9"),
    (TicTacToe, {"observation_shape": [2, 3, 3]}, "observation_shape: must be a tuple of positive integers"),
    (TicTacToe, {"max_moves": 0}, "max_moves: must be from 1 to 100,000, is 0"),
    (TicTacToe, {"max_moves": 100_001}, "max_moves: must be from 1 to 100,000, is 100001"),
    (TicTacToe, {"max_moves": "9"}, "max_moves: must be from 1 to 100,000, is '9'"),
    (TicTacToe, {"legal_actions": lambda s, p: [9]}, r"legal_actions: must be whole numbers from 0 to 8, has 9 \(at t"),
    (TicTacToe, {"legal_actions": lambda s, p: [-1]}, "legal_actions: must be whole numbers from 0 to 8, has -1"),
    (TicTacToe, {"legal_actions": lambda s, p: ["a1"]}, "legal_actions: must be whole numbers from 0 to 8, has 'a1'"),
    (TicTacToe, {"legal_actions": lambda s, p: 3}, "legal_actions: must be a list of actions, is 3"),
    (TicTacToe, {"legal_actions": lambda s, p: []}, "initial: the game must not be over before the first move"),
    (TicTacToe, {"to_play": lambda s, p: "x"}, r"to_play: must be one of \[0, 1\], is 'x'"),
    (TicTacToe, {"to_play": lambda s, p: 2}, r"to_play: must be one of \[0, 1\], is 2"),
    (TicTacToe, {"to_play": PythonGame.to_play}, "to_play: player 1 must move at some time, in a game for two"),
    (TicTacToe, {"winner": lambda s, p: False}, "winner: must be the player who has won, 0 or 1, or None, is False"),
    (TicTacToe, {"winner": lambda s, p: "x"}, "winner: must be the player who has won, 0 or 1, or None, is 'x'"),
    (TicTacToe, {"finished": lambda s, p: None}, "finished: must be True or False, is None"),
    (TicTacToe, {"observe": lambda s, p: np.zeros((3, 3))}, r"observe: must have shape \(2, 3, 3\), has \(3, 3\)"),
    (TicTacToe, {"observe": lambda s, p: p}, "observe: must be an array of numbers"),
    (TicTacToe, {"observe": lambda s, p: np.full((2, 3, 3), np.nan)}, "observe: must be finite"),
    (TicTacToe, {"observe": lambda s, p: RANDOM.random((2, 3, 3))}, "observe: must give the same answer twice"),
    (TicTacToe, {"heuristic": lambda s, p: 1.0}, r"heuristic: must lie within \(-1, 1\), is 1.0"),
    (TicTacToe, {"reward": lambda s, p, a, q: None}, "reward: must be a finite number, is None"),
    (TicTacToe, {"reward": lambda s, p, a, q: 2.0}, r"within \[-1, 1\], as values do; here they come to"),
    (TicTacToe, {"key": lambda s, p: s}, "key: a .* cannot tell positions apart"),
    (TicTacToe, {"key": lambda s, p: 1}, "key: positions with one key must agree in all answers, not so in `to_play`"),
    (TicTacToe, {"play": lambda s, p, a: None}, "play: must return the position after the move, returned None"),
    (TicTacToe, {"play": lambda s, p, a: 1 / 0}, r"play: must not fail, but raised ZeroDiv.* \(at the"),
    (TicTacToe, {"initial": lambda s: 1 / 0}, "initial: must not fail, but raised ZeroDivisionError"),
    (TicTacToe, {"action_name": lambda s, a: "same"}, "action_name: must be distinct"),
    (Subtraction, {"play": careless_play}, "play: must leave the position that it is given as it was, .*`.*` changed"),
]  # fmt: skip


@pytest.mark.parametrize(("base", "changes", "message"), BROKEN)
def test_a_broken_promise_is_named_in_its_author_s_words(
    base: type[PythonGame], changes: dict[str, Any], message: str
) -> None:
    rules = type("Broken", (base,), changes)()
    with pytest.raises(ConformanceError, match=message):
        check_game(rules)


def test_chance_in_play_is_found() -> None:
    class Dice(Subtraction):
        def play(self, position: Piles, action: int) -> Piles:
            after = super().play(position, action)
            return after._replace(mover=int(RANDOM.integers(2)))

    with pytest.raises(ConformanceError, match=r"play: the same move must lead to the same, and `.*` differed"):
        check_game(Dice())


def test_the_position_of_a_broken_promise_is_shown() -> None:
    class Draws(TicTacToe):
        def winner(self, position: str) -> Any:
            return super().winner(position) if "." in position else "nobody"

        def render(self, position: str) -> str:
            return "\n".join(position[row : row + 3] for row in (0, 3, 6))

    with pytest.raises(ConformanceError) as caught:
        check_game(Draws())
    head, *picture = str(caught.value).splitlines()
    moves = [int(move) for move in head.split("after the moves ")[1].rstrip(")").split()]
    cells = [moves.index(cell) for cell in range(9)]
    assert "".join(picture) == "".join("xo"[move % 2] for move in cells)
    assert not any(len({picture[cell // 3][cell % 3] for cell in line}) == 1 for line in LINES)


def test_a_fault_during_a_run_names_the_function_and_the_position() -> None:
    class Faulty(TicTacToe):
        def play(self, position: str, action: int) -> str:
            if action == 4:
                raise KeyError("middle")
            return super().play(position, action)

    game = as_game(Faulty())
    with pytest.raises(KeyError, match="middle") as caught:
        game.step(game.initial(1), torch.tensor([4]))
    assert caught.value.__notes__ == ["in Faulty.play('.........', 4)"]


# --- By their import path


def test_a_plain_game_is_loaded_by_its_path() -> None:
    game = load_game("tests.game.plain_games:Subtraction")
    assert (game.name, game.defined_by) == ("subtraction", Subtraction)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("class Mine(PythonGame):\n name = 'mine'", "Mine lacks initial, legal_actions, observe, play"),
        ("class Other: pass", "has no 'Mine'; it offers no game"),
    ],
)
def test_what_a_plain_game_lacks_is_told(
    code: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = f"plain_{abs(hash(code))}"
    (tmp_path / f"{module}.py").write_text(f"from alphazero.game import PythonGame\n{code}\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ValueError, match=message):
        load_game(f"{module}:Mine")
