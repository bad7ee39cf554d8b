"""`check_game` passes sound games, and catches one for each way to break a promise."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple, cast

import pytest
import torch
from torch import Tensor

from alphazero.game import Box, Discrete, Game, Symmetry, Transition, as_game
from alphazero.game.conformance import ConformanceError, check_game
from examples.plain_connect_four import ConnectFour as PlainConnectFour
from games.breakthrough import Breakthrough
from games.connect_four import ConnectFour
from games.hex import Hex
from games.othello import Othello
from games.tic_tac_toe import TicTacToe, TicTacToeState
from tests.game.broken_games import Broken, Walk, assert_caught, broken, step_with, where_it_says
from tests.stubs import Again, Drift, DriftState, Mine, MineState


class RandomStart(TicTacToe):
    """Half the games start in the middle of a side, so that a turned start may not be among the starts."""

    name = "random_start"

    def initial(self, batch: int, *, generator: torch.Generator | None = None) -> TicTacToeState:
        empty = super().initial(batch, generator=generator)
        moved = torch.rand(batch, generator=generator, device=empty.mine.device) < 0.5
        return empty._replace(theirs=2 * moved.to(torch.int16), turn=moved.to(torch.int8))


@pytest.mark.parametrize("game", [TicTacToe(), ConnectFour(), Mine(), Drift(), Again(), Walk(), RandomStart()])
@pytest.mark.parametrize("seed", [0, 1])
def test_sound_games_pass(game: Game, seed: int) -> None:
    check_game(game, seed=seed)


@pytest.mark.parametrize("games", [1, 200])
def test_any_number_of_games_will_do(games: int) -> None:
    check_game(ConnectFour(), games=games)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize(
    "game",
    [TicTacToe(), ConnectFour(), Mine(), Drift(), Again(), Walk(), RandomStart(), as_game(PlainConnectFour()),
     Breakthrough(rows=6, columns=6), Hex(side=5), Othello(side=6)],
)  # fmt: skip
def test_sound_games_pass_on_a_gpu(game: Game) -> None:
    check_game(game, device="cuda")


# Broken games: the change in each, and the message about it. Most are tic-tac-toe with one change. Those whose answers
# have the wrong form, alter their input or fail are in test_probe.py.


def starting(initial: Callable[[int], Any], message: str) -> Broken:
    return Broken(Walk, {"initial": lambda self, batch, generator=None: initial(batch)}, f"initial: {message}")


def with_symmetry(observation: Callable[[Tensor], Tensor], actions: tuple[int, ...], message: str) -> Broken:
    return symmetric(TicTacToe, observation, actions, message)


def symmetric(
    base: type[Game], observation: Callable[[Tensor], Tensor], actions: tuple[int, ...], message: str
) -> Broken:
    symmetry = Symmetry(observation, actions)
    return Broken(base, {"symmetries": lambda self: (symmetry,)}, f"symmetries: symmetry 0.* {message}")


def forgetful_step(self: TicTacToe, state: TicTacToeState, action: Tensor) -> Transition:
    """Goes on as if the game were not over, but for reward and done."""
    successor, reward, done = TicTacToe.step(self, state._replace(done=torch.zeros_like(state.done)), action)
    done = done | state.done
    return Transition(successor._replace(done=done), reward * ~state.done, done)


def idle_step(self: Mine, state: MineState, action: Tensor) -> Transition:
    """Leaves the state as it is when one digs on from depth 2."""
    successor, reward, done = Mine.step(self, state, action)
    depth = torch.where((state.depth == 2) & (action == 1) & ~state.done, state.depth, successor.depth)
    return Transition(successor._replace(depth=depth), reward, done)


def drawn_step(self: Drift, state: DriftState, action: Tensor) -> Transition:
    return Drift.step(self, state, action + torch.rand_like(action))


def endless_step(self: Walk, state: Any, action: Tensor) -> Transition:
    never = torch.zeros_like(action, dtype=torch.bool)
    return Transition(Walk.State(state.place + 1), torch.zeros(len(action)), never)


class Reusing(TicTacToe):
    """Writes each observation over the one before."""

    buffer = torch.zeros(10_000, 2, 3, 3)

    def observe(self, state: TicTacToeState) -> Tensor:
        return self.buffer[: len(state.done)].copy_(super().observe(state))


class Twice(TicTacToe):
    """Lets x win twice as much."""

    def step(self, state: TicTacToeState, action: Tensor) -> Transition:
        successor, reward, done = super().step(state, action)
        return Transition(successor, reward * (2 - state.turn), done)


def by_number(text: str) -> int:
    return int(text.strip()) - 1


def short_right_step(self: Walk, state: Any, action: Tensor) -> Transition:
    """Ends the walk at once two places to the right."""
    finished = state.place[:, 0] >= 2
    successor, reward, done = Walk.step(self, state, action)
    successor = Walk.State(torch.where(finished[:, None], state.place, successor.place))
    return Transition(successor, reward, done | (successor.place[:, 0] >= 2))


def uneven_walk(message: str, **changes: Any) -> Broken:
    """A walk that says it is the same to the left as to the right."""
    mirror = Symmetry(lambda place: place * torch.tensor([-1.0, 1.0]), (1, 0))
    return Broken(Walk, {"symmetries": lambda self: (mirror,), **changes}, f"symmetries: symmetry 0 {message}")


def of_row_0(answer: Tensor) -> Tensor:
    return answer[:1].expand_as(answer).clone()


class Nothing(NamedTuple):
    """A state that tells nothing."""


NO_NAME = "action_name: must be printable, without spaces at its ends "
ROW_0 = "each gets the answer of row 0"
ALIKE = tuple(range(9))
MIRRORED = (2, 1, 0, 5, 4, 3, 8, 7, 6)
TURNED = (2, 5, 8, 1, 4, 7, 0, 3, 6)


def compiled(change: Callable[[tuple[Any, ...], int], Any], message: str) -> Broken:
    """Connect-four with compiled rules after which `change` is made to the arrays; `b` is the first successor's row."""

    def rules(*arrays: Any) -> None:
        sound = ConnectFour().compiled_rules
        assert sound is not None
        sound(*arrays)
        read = [array for array in arrays if not isinstance(array, int)]
        change((*read[:4], *read[6:]), arrays[6])

    return Broken(ConnectFour, {"compiled_rules": property(lambda self: rules)}, f"compiled_rules: {message}")


BROKEN = {
    # attributes
    "no name": Broken(TicTacToe, {"name": ""}, "name: must be a word, is ''"),
    "three players": Broken(TicTacToe, {"num_players": 3}, "num_players: must be 1 or 2, is 3"),
    "no actions": Broken(TicTacToe, {"actions": Discrete(0)}, "actions: must be a Discrete of at least one action"),
    "a number as actions": Broken(TicTacToe, {"actions": 9}, "actions: must be a Discrete"),
    "a flat box": Broken(Drift, {"actions": Box((0.0, 0.0), (1.0, 0.0))}, "actions: .* a Box of finite low < high"),
    "an uneven box": Broken(Drift, {"actions": Box((0.0, 0.0), (1.0,))}, "actions: .* a Box of finite low < high"),
    "an endless box": Broken(Drift, {"actions": Box((0.0,), (math.inf,))}, "actions: .* a Box of finite low < high"),
    "a list as shape": Broken(TicTacToe, {"observation_shape": [2, 3, 3]}, "observation_shape: must be a tuple"),
    "no shape": Broken(Walk, {"observation_shape": ()}, r"observation_shape: must be a tuple .*, is \(\)"),
    "no discount": Broken(TicTacToe, {"discount": 0.0}, "discount: must be over 0 and at most 1, is 0.0"),
    "interest": Broken(TicTacToe, {"discount": 1.1}, "discount: must be over 0 and at most 1, is 1.1"),
    # names
    "numbers as names": Broken(
        TicTacToe, {"action_name": lambda self, action: action}, "action_name: the name of action 0 must be a str"
    ),
    "one name for two": Broken(
        TicTacToe, {"action_name": lambda self, action: "abc"[action % 3]}, "action_name: must be distinct .* 0 and 3"
    ),
    "no word": Broken(TicTacToe, {"action_name": lambda self, action: "abcdefgh "[action]}, NO_NAME + r"\(' ' is not"),
    "a line break": Broken(
        TicTacToe, {"action_name": lambda self, action: f"cell\n{action}"}, NO_NAME + r"\('cell\\n0' is not"
    ),
    "a space at the end": Broken(
        TicTacToe,
        {"action_name": lambda self, action: f"{action} ", "parse_action": lambda self, text: by_number(text)},
        NO_NAME + r"\('0 ' is not",
    ),
    "nothing to part names": Broken(
        TicTacToe,
        {"action_name": lambda self, action: ("e2, e4", "b; c", *"0123456")[action]},
        "action_name: names of actions of tic_tac_toe have spaces, commas and semicolons, so none can part moves",
    ),
    "reads the next action": Broken(
        ConnectFour, {"parse_action": lambda self, text: int(text) % 7}, "parse_action: must read '1' as action 0"
    ),
    "reads any number": Broken(
        ConnectFour, {"parse_action": lambda self, text: by_number(text)}, "parse_action: must raise ValueError on '"
    ),
    "fails on words": Broken(
        ConnectFour,
        {"parse_action": lambda self, text: {str(c + 1): c for c in range(7)}[text]},
        r"parse_action: must raise ValueError on .* \(gave KeyError",
    ),
    # initial
    "a tensor as state": starting(torch.zeros, "must return a NamedTuple of tensors, returned Tensor"),
    "a number as field": starting(
        lambda batch: Walk.State(cast(Tensor, 0)), "field `place` must be a Tensor, is a int"
    ),
    "one start for all": starting(
        lambda batch: Walk.State(torch.zeros(1, 2)), r"field `place` must have shape \(64, 2\), has \(1, 2\)"
    ),
    "starts of no generator": starting(
        lambda batch: Walk.State(torch.rand(batch, 2)), "one seed must give the same states twice .*, field `place`"
    ),
    "no field": Broken(
        Walk,
        {"state_type": Nothing, "initial": lambda self, batch, generator=None: Nothing()},
        "initial: the state must have a field",
    ),
    "a state in a state": starting(
        lambda batch: Walk.State(cast(Tensor, Walk.State(torch.zeros(batch, 2)))),
        "field `place` must be a Tensor, is a State",
    ),
    **{
        f"{dtype} that cannot be saved": starting(
            lambda batch, dtype=dtype: Walk.State(torch.zeros(batch, 2, dtype=dtype)),
            rf"field `place` must be of a type that can be saved, as bool, int64 and float32 can \({dtype} cannot be\)",
        )
        for dtype in (torch.bfloat16, torch.uint16)
    },
    "a field with a gradient": starting(
        lambda batch: Walk.State(torch.zeros(batch, 2, requires_grad=True)), "field `place` .* with a gradient cannot"
    ),
    # purity
    "a drawn observation": where_it_says(
        "observe", lambda state, planes: planes + torch.rand(()), "must give the same answer twice"
    ),
    "a drawn heuristic": where_it_says(
        "heuristic", lambda state, guess: torch.rand_like(guess), "must give the same answer twice"
    ),
    "a drawn successor": Broken(
        Drift, {"step": drawn_step}, r"step: must give the same answer twice .*, field `state.position`"
    ),
    "a reused buffer": Broken(Reusing, {}, "observe: an answer must not change when the game is asked again"),
    # batch independence
    "a normalised observation": where_it_says(
        "observe", lambda state, planes: planes - planes.mean(), "must not depend on the other states of the batch"
    ),
    "a relative heuristic": where_it_says(
        "heuristic", lambda state, guess: (guess - guess.mean()) / 3, "must not depend on the other states of the batch"
    ),
    "a place as key": where_it_says("key", lambda state, key: torch.arange(len(key)), "must not depend on the other"),
    "a shared reward": step_with(
        "reward",
        lambda state, transition: transition.reward * transition.reward.mean(),
        "must not depend on the other states of the batch .*, field `reward`",
    ),
    **{
        f"{base.__name__}.legal of row 0": where_it_says(
            "legal", lambda state, legal: of_row_0(legal), f"must not depend .* batch; {ROW_0}", base
        )
        for base in (TicTacToe, ConnectFour, Again)
    },
    "done of row 0": step_with(
        "done",
        lambda state, transition: of_row_0(transition.done),
        f".* batch; {ROW_0}.*, field `done`",
    ),
    # ranges
    "a third player": where_it_says("to_play", lambda state, turn: turn * 2, r"must be one of \[0, 1\]"),
    "player 1 alone": where_it_says("to_play", lambda state, turn: turn + 1, r"must be one of \[0\]", Mine),
    "an infinite observation": where_it_says("observe", lambda state, planes: 1 / planes, "must be finite"),
    "a sure heuristic": where_it_says("heuristic", lambda state, guess: guess.sign(), r"must lie within \(-1, 1\)"),
    "no number as heuristic": where_it_says(
        "heuristic", lambda state, guess: guess / guess, r"must lie within \(-1, 1\)"
    ),
    # legal
    "o cannot move": where_it_says(
        "legal",
        lambda state, legal: legal & (state.turn == 0)[:, None],
        r"an unfinished state must have a legal action \(state 0 at ply 1\)",
    ),
    "an action without effect": Broken(
        Mine, {"step": idle_step}, r"step: a legal action must change an unfinished state \(state \d+ at ply"
    ),
    # rewards and the end
    "a large reward": Broken(
        Twice,
        {},
        r"step: from every position on, the rewards must add up to a total within \[-1, 1\], as values do; "
        r"here they come to 2, so divide all rewards by the most that a game can bring \(state \d+",
    ),
    "a large treasure for one": where_it_says(
        "step",
        lambda state, transition: transition._replace(reward=3 * transition.reward),
        # Dug up at once: nothing is discounted there.
        r".* add up to a total within \[-1, 1\], as values do; here they come to 3, so divide all rewards",
        Mine,
    ),
    "debts for one": Broken(Mine, {"cost": 2.0}, r"step: .* within \[-1, 1\].* here they come to"),
    # metrics
    "a tensor as metrics": Broken(
        Mine, {"metrics": lambda self, state: state.depth}, "metrics: its answer must be a dict, is a Tensor"
    ),
    "a number as metric": Broken(
        Mine, {"metrics": lambda self, state: {"depth": 6.0}}, "metrics: `depth` must be a Tensor, is a float"
    ),
    "one metric for all": Broken(
        Mine, {"metrics": lambda self, state: {"depth": state.depth.float().mean()}}, "metrics: `depth` must have shape"
    ),
    "a move after the end": Broken(
        TicTacToe,
        {"step": forgetful_step},
        r"step: finished states must not change \(state \d+ at ply \d+, field `mine`\)",
    ),
    "a reward after the end": step_with(
        "reward", lambda state, transition: state.done.float() / 99, "a finished state must give reward 0"
    ),
    "a new start after the end": step_with(
        "done", lambda state, transition: transition.done & ~state.done, "a finished state must stay done"
    ),
    "no end": Broken(Walk, {"step": endless_step}, "step: random games must end; this one runs on after 50 moves"),
    # symmetries
    "too few actions": with_symmetry(lambda planes: planes.flip(-1), MIRRORED[:8], "must permute the actions"),
    "one action twice": with_symmetry(lambda planes: planes.flip(-1), (0, *MIRRORED[1:]), "must permute the actions"),
    "actions not mapped": with_symmetry(lambda planes: planes.flip(-1), ALIKE, "must map observations as it maps"),
    "observations not mapped": with_symmetry(lambda planes: planes, MIRRORED, "must map observations as it maps"),
    "turned the wrong way": with_symmetry(
        lambda planes: planes.rot90(-1, (-2, -1)), TURNED, "must map observations as it maps"
    ),
    "a fallen board": symmetric(
        ConnectFour, lambda planes: planes.flip(-2), tuple(range(7)), "must map observations as it maps"
    ),
    "a new shape": with_symmetry(lambda planes: planes.flatten(1), ALIKE, "must have shape"),
    "an observation altered": with_symmetry(
        lambda planes: planes.clamp_(max=0.5), ALIKE, "must not change its input in place"
    ),
    "another start": with_symmetry(lambda planes: 1 - planes, ALIKE, "must map the start of the game to itself"),
    "rewards on the right": uneven_walk(
        "must keep rewards",
        step=lambda self, state, action: Walk.step(self, state, action)._replace(
            reward=action * (state.place[:, 1] < 6) / 10.0
        ),
    ),
    "an end on the right": uneven_walk("must keep the end of the game", step=short_right_step),
    "a wall on the right": uneven_walk(
        "must map legal actions to legal actions",
        legal=lambda self, state: torch.stack((state.place[:, 0] < 9, state.place[:, 0] < 1), 1),
    ),
    "an owner of the right": uneven_walk(
        "must keep the player to move",
        num_players=2,
        to_play=lambda self, state: (state.place[:, 0] > 0).to(torch.int8),
    ),
    "continuous actions": symmetric(Drift, lambda values: values, (0, 1), "has continuous actions to permute"),
    # key
    "one key": where_it_says(
        "key", lambda state, key: key * 0, "states with one key must agree in whether they are finished"
    ),
    "marks as key": where_it_says(
        "key", lambda state, key: (state.mine | state.theirs).long() + 1024 * state.done, ".* must agree in observe"
    ),
    "the pile as key": where_it_says("key", lambda state, key: state.pile, ".* must agree in to_play", Again),
    # compiled_rules
    "no reward": compiled(lambda arrays, b: arrays[-4].fill(0), "must agree with step"),
    "never over": compiled(lambda arrays, b: arrays[-3].fill(False), "must agree with step"),
    "one player's turn": compiled(lambda arrays, b: arrays[-2].fill(False), "must agree with to_play"),
    "every column": compiled(lambda arrays, b: arrays[-1].fill(True), "must agree with legal"),
    "stones that vanish": compiled(lambda arrays, b: arrays[0][b:].fill(0), "must write the successors of step"),
    "stones that appear": compiled(lambda arrays, b: arrays[0][:b].fill(1), "must not change the positions that"),
    "rules that fail": compiled(lambda arrays, b: arrays[9], "must not fail, but raised IndexError"),
    # render
    "a list as picture": where_it_says("render", lambda state, text: [text], "its answer must be a str, is a list"),
}


@pytest.mark.parametrize("case", BROKEN.values(), ids=BROKEN)
def test_broken_games_are_caught(case: Broken) -> None:
    assert_caught(case)


def test_one_thread_does_it_whatever_the_caller_uses() -> None:
    used: set[int] = set()
    game = broken(Walk, observe=lambda self, state: used.add(torch.get_num_threads()) or state.place.float())
    torch.set_num_threads(3)
    try:
        check_game(game)
        with pytest.raises(ConformanceError):
            check_game(broken(Walk, name=""))
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(1)
    assert used == {1}


def test_the_progress_is_told() -> None:
    """Of the games played as they end, and of the promises."""
    told: list[tuple[str, int, int]] = []
    check_game(Walk(), games=5, show=lambda *progress: told.append(progress))
    playing = [(done, total) for description, done, total in told if description == "playing random games"]
    assert playing == [(0, 5)] * 6 + [(5, 5)] * 4  # six steps, and four past the end
    checking = [(done, total) for description, done, total in told[len(playing) :]]
    assert checking == [(done, len(checking)) for done in range(len(checking))]


class Hidden(NamedTuple):
    """steps: [B] int64, taken, 6 at the end; charged: [B] bool, what the last action was, not to be seen."""

    steps: Tensor
    charged: Tensor


class Hiding(Mine):
    """A charge shows neither in the observation nor, wrongly, in the key; but it `changes` something at step 1."""

    observation_shape = (1,)
    changes = "nothing"
    state_type = Hidden

    def initial(self, batch: int, *, generator: torch.Generator | None = None) -> Any:
        return Hidden(torch.zeros(batch, dtype=torch.int64), torch.zeros(batch, dtype=torch.bool))

    def to_play(self, state: Any) -> Tensor:
        return torch.zeros_like(state.steps, dtype=torch.int8)

    def legal(self, state: Any) -> Tensor:
        return torch.stack((state.steps >= 0, ~self._matters(state, "legal")), 1)

    def step(self, state: Any, action: Tensor) -> Transition:
        stride = 1 + self._matters(state, "the way") + 4 * self._matters(state, "the end")
        steps = (state.steps + stride).clamp(max=6)
        charged = torch.where(state.steps < 6, action == 1, state.charged)
        return Transition(Hidden(steps, charged), self._matters(state, "the reward") / 10, steps == 6)

    def _matters(self, state: Any, to: str) -> Tensor:
        return state.charged & (state.steps == 1) & (self.changes == to)  # type: ignore[no-any-return]

    def observe(self, state: Any) -> Tensor:
        return cast(Tensor, state.steps[:, None].float())

    def key(self, state: Any) -> Tensor:
        return cast(Tensor, state.steps)


@pytest.mark.parametrize(
    ("changes", "differing"),
    [
        ("legal", "legal"),
        ("the reward", "the reward of a move"),
        ("the end", "whether a move ends the game"),
        ("the way", "what a move leads to"),
    ],
)
def test_keys_distinguish_states_that_look_alike(changes: str, differing: str) -> None:
    check_game(Hiding())
    with pytest.raises(ConformanceError, match=rf"^key: states with one key must agree in {differing} \(state"):
        check_game(broken(Hiding, changes=changes))


def test_states_have_the_type_that_the_game_says() -> None:
    with pytest.raises(ConformanceError, match="initial: its answer must be a Hidden, is a MineState"):
        check_game(broken(Mine, state_type=Hidden))
