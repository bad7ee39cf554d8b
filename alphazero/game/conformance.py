"""The conformance kit: plays random games and holds a game to every promise of `alphazero.game`.

    check_game(MyGame())    # passes, or raises ConformanceError:
                            # step: finished states must not change (state 17 at ply 30, field `mine`)

Every check works on whole batches. Whether the rules are those of the game that was meant
cannot be seen from outside; that is left to the game's own tests.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor

from alphazero.game.attributes import check_attributes
from alphazero.game.batched import BatchedGame, as_game
from alphazero.game.grid import read_board
from alphazero.game.interface import Discrete, Game, Symmetry, num_actions
from alphazero.game.pace import one_thread
from alphazero.game.position_checks import check_positions
from alphazero.game.probe import (
    Answers,
    ConformanceError,
    Fields,
    Ply,
    Positions,
    Probe,
    require_tensor,
    require_type,
    same_rows,
)
from alphazero.game.python_game import PythonGame
from alphazero.game.record import separators
from alphazero.game.seats import check_seats
from alphazero.game.states import S, concatenate, field_names, map_states, named_fields, take
from alphazero.game.summary import Summary, summarise

__all__ = ["ConformanceError", "check_game"]

Show = Callable[[str, int, int], None]

MOST_POSITIONS = 4096  # that are checked at most: enough to meet rare ones, few enough to be quick
MOST_EXCHANGED = 1024  # moves that are tried with the players exchanged
MOST_MAPPED = 256  # games that are played again under each symmetry
MOST_SINGLES = 16  # batches of one that are checked; each costs a call
PLIES_PAST_THE_END = 4
BY_ITSELF = "must not depend on the other states of the batch"
GARBAGE = ("", "no such action", "-1", "99999999", "\N{SNOWMAN}")


@one_thread()
def check_game(
    game: Game[S] | PythonGame,
    *,
    games: int = 64,
    seed: int = 0,
    device: str = "cpu",
    max_moves: int = 10_000,
    show: Show = lambda description, done, total: None,
) -> Summary:
    """Raises ConformanceError, naming function, promise and state, if `game` breaks a promise.

    Returns what the games showed, for a person to judge: `print(check_game(game))`.

    games:     how many random games are played, all in one batch.
    device:    where the states live.
    max_moves: a random game longer than this counts as one that never ends.
    show:      called with a description, the amount done and the total, as the check goes on.
    """
    check_attributes(cast(Game, game))
    rules = as_game(game)
    if isinstance(rules, BatchedGame):
        check_positions(rules.rules, games=games, seed=seed, show=show)
    probe = Probe(rules)
    _check_names(probe)
    generator = torch.Generator(device).manual_seed(seed)
    start = _check_initial(probe, games, generator)
    plies = _play(probe, start, generator, max_moves, show)
    every = concatenate([start, *(ply.after for ply in plies)])
    seen = take(every, _some(len(every.done), generator).sort().values)
    actions = _random_actions(rules, probe.query("legal", seen), seen.done, generator)
    moves = concatenate(plies)
    moves = take(moves, ~moves.before.done)
    exchanged = take(moves, _some(len(moves.action), generator, MOST_EXCHANGED).sort().values)
    checks = (
        partial(_check_ranges, probe, seen),
        partial(_check_answers, probe, seen, actions, generator),
        partial(_check_compiled_rules, probe, seen, actions),
        partial(check_seats, probe, exchanged),
        partial(_check_moves_change_the_state, probe, seen, generator),
        partial(_check_totals, probe, plies),
        partial(_check_metrics, probe, seen),
        partial(_check_symmetries, probe, [take(ply, slice(MOST_MAPPED)) for ply in plies]),
        partial(_check_key, probe, seen, actions),
        partial(_check_render, probe, seen),
        partial(_check_boards, probe, seen),
    )
    for number, check in enumerate(checks):
        show("checking the promises", number, len(checks))
        check()
    return summarise(probe, moves, seen)


# Random games


def _random_actions(game: Game, legal: Tensor, done: Tensor, generator: torch.Generator) -> Tensor:
    """Legal actions; any at finished states, where `step` must accept them. The bounds of a Box come up often."""
    if isinstance(game.actions, Discrete):
        return torch.multinomial((legal | done[:, None]).to(torch.float32), 1, generator=generator)[:, 0]
    low, high = game.actions.bounds(done.device)
    share = torch.rand((len(done), len(low)), generator=generator, device=done.device) * 1.25 - 0.125
    return low.lerp(high, share).clamp(low, high)


def _some(count: int, generator: torch.Generator, most: int = MOST_POSITIONS) -> Tensor:
    """The numbers below `count` in random order, `most` of them at most."""
    return torch.randperm(count, generator=generator, device=generator.device)[:most]


def _play(probe: Probe, start: Positions, generator: torch.Generator, max_moves: int, show: Show) -> list[Ply]:
    plies: list[Ply] = []
    now, plies_left = start, max_moves
    while plies_left:
        show("playing random games", int(now.done.sum()), len(now.done))
        legal, finished = probe.query("legal", now), now.done
        _check_rows(probe, "legal", now, {"": legal})
        if probe.game.discrete:
            probe.require(legal.any(1) | finished, "legal: an unfinished state must have a legal action", now)
        action = _random_actions(probe.game, legal, finished, generator)
        successor, reward, done = transition = probe.step(now, action)
        _check_rows(probe, "step", now, named_fields(transition), action)
        kept, promise = named_fields(now.state), "step: finished states must not change"
        probe.require_same(named_fields(successor), kept, promise, now, unless=~finished)
        probe.require(~finished | (reward == 0), "step: a finished state must give reward 0", now)
        probe.require(~finished | done, "step: a finished state must stay done", now)
        after = Positions(successor, now.game, now.ply + 1, done)
        plies.append(Ply(now, action, reward, after))
        now = after
        plies_left = min(plies_left - 1, PLIES_PAST_THE_END if bool(done.all()) else max_moves)
    probe.require(now.done, f"step: random games must end; this one runs on after {max_moves} moves", now)
    return plies


def _check_rows(probe: Probe, function: str, positions: Positions, answers: Fields, *actions: Tensor) -> None:
    """Each state is answered by itself, and so as before when another is the first of the batch.

    Without that, games could not go on, and the error would name something else. Other mixtures of states come later.
    """

    def ask(order: Tensor) -> Fields:
        given = take(positions, order)
        if actions:
            return named_fields(probe.step(given, actions[0][order]))
        return {"": probe.query(function, given)}

    order = torch.arange(len(positions.done), device=positions.done.device)
    differing = int((positions.done != positions.done[0]).to(torch.int8).argmax())  # 0 if none is
    other = order.roll(-differing) if differing else order.flip(0)
    given = {name: answer[other.argsort()] for name, answer in ask(other).items()}
    if all(bool(same_rows(answer, given[name], rounding=True).all()) for name, answer in answers.items()):
        return
    probe.require_same(ask(order), answers, f"{function}: must give the same answer twice", positions)
    for name, answer in answers.items():
        alike = bool(same_rows(answer, answer[:1].expand_as(answer)).all())
        promise = f"{function}: {BY_ITSELF}" + "; each gets the answer of row 0" * alike
        probe.require(same_rows(answer, given[name], rounding=True), promise, positions, name)


# The promises


def _check_names(probe: Probe) -> None:
    def parse(text: str) -> int | Exception:
        try:
            return probe.game.parse_action(text)
        except Exception as error:
            return error

    if not probe.game.discrete:
        return
    names = [probe.call("action_name", action) for action in range(num_actions(probe.game))]
    numbers: dict[str, int] = {}
    for action, name in enumerate(names):
        require_type(f"action_name: the name of action {action}", name, str)
        if not (name.isprintable() and name == name.strip() != ""):
            raise ConformanceError(f"action_name: must be printable, without spaces at its ends ({name!r} is not)")
        if (other := numbers.setdefault(name, action)) != action:
            raise ConformanceError(f"action_name: must be distinct (actions {other} and {action} are {name!r})")
        if (read := parse(name)) != action:
            raise ConformanceError(f"parse_action: must read {name!r} as action {action} (gave {read!r})")
    try:
        separators(probe.game)
    except ValueError as error:
        raise ConformanceError(f"action_name: {error}") from error
    for text in set(GARBAGE).difference(names):
        if not isinstance(read := parse(text), ValueError):
            raise ConformanceError(f"parse_action: must raise ValueError on {text!r} (gave {read!r})")


def _check_initial(probe: Probe, games: int, generator: torch.Generator) -> Positions:
    """Starts are states, with and without a generator, and one seed gives the same start twice."""
    _initial(probe, 1, None)
    start, again = (_initial(probe, games, generator.clone_state()) for _ in range(2))
    given, expected = named_fields(start.state), named_fields(again.state)
    probe.require_same(given, expected, "initial: one seed must give the same states twice", start)
    return start


def _initial(probe: Probe, batch: int, generator: torch.Generator | None) -> Positions:
    state = probe.call("initial", batch, generator=generator)
    if not (isinstance(state, tuple) and hasattr(state, "_fields")):
        raise ConformanceError(f"initial: must return a NamedTuple of tensors, returned {type(state).__name__}")
    require_type("initial: its answer", state, probe.game.state_type)
    index = torch.arange(batch, device=None if generator is None else generator.device)
    start = Positions(state, index, torch.zeros_like(index), torch.zeros_like(index, dtype=torch.bool))
    fields: dict[str, Any] = dict(zip(field_names(type(state)), state, strict=True))
    if not fields:
        raise ConformanceError("initial: the state must have a field")
    for name, field in fields.items():
        inner, dtype = (field.shape[1:], field.dtype) if isinstance(field, Tensor) else ((), torch.bool)
        require_tensor(f"initial: field `{name}`", field, (batch, *inner), dtype, start)
        try:  # as self-play replaces games that have ended, and checkpoints save them
            field.index_copy(0, index, field).cpu().numpy()
        except (TypeError, RuntimeError) as error:
            told = f"{field.dtype}{' with a gradient' * field.requires_grad} cannot be"
            promise = f"initial: field `{name}` must be of a type that can be saved, as bool, int64 and float32 can"
            raise ConformanceError(f"{promise} ({told})") from error
    return start


def _check_ranges(probe: Probe, seen: Positions) -> None:
    player, players = probe.query("to_play", seen), range(probe.game.num_players)
    within = (player >= 0) & (player < len(players))
    probe.require(seen.done | within, f"to_play: must be one of {[*players]}", seen)
    probe.require(probe.query("observe", seen).isfinite().flatten(1).all(1), "observe: must be finite", seen)
    probe.require(probe.query("heuristic", seen).abs() < 1, "heuristic: must lie within (-1, 1)", seen)


def _check_answers(probe: Probe, seen: Positions, actions: Tensor, generator: torch.Generator) -> None:
    """Answers are not random, none is a buffer that the next call overwrites, and each state is answered by itself."""

    def require_same(given: Answers, expected: Answers, promise: str, positions: Positions, **options: bool) -> None:
        for (function, field), answer in given.items():
            same = same_rows(answer, expected[function, field], **options)
            probe.require(same, f"{function}: {promise}", positions, field)

    answers = probe.answers(seen, actions)
    kept = {name: answer.clone() for name, answer in answers.items()}
    require_same(probe.answers(seen, actions), kept, "must give the same answer twice", seen)
    order = torch.randperm(len(actions), generator=generator, device=generator.device)
    for index in (order, *order[:MOST_SINGLES, None]):
        positions = take(seen, index)
        given, expected = probe.answers(positions, actions[index]), {name: kept[name][index] for name in kept}
        require_same(answers, kept, "an answer must not change when the game is asked again", seen)
        require_same(given, expected, BY_ITSELF, positions, rounding=True)


def _check_compiled_rules(probe: Probe, seen: Positions, actions: Tensor) -> None:
    """The compiled rules, if there are any, say the same as `step`, `to_play` and `legal`, and write nowhere else."""
    rules = probe.game.compiled_rules
    if rules is None or not seen.done.is_cpu:
        return
    count = len(actions)
    fields = [torch.cat((field, torch.zeros_like(field))) for field in seen.state]
    reward, done, turned = torch.empty(count), torch.empty_like(seen.done), torch.empty_like(seen.done)
    legal = torch.empty_like(probe.query("legal", seen))
    place = torch.arange(count - 1, -1, -1)
    written = (tensor.numpy() for tensor in (reward, done, turned, legal))
    read = (tensor.numpy() for tensor in (*fields, place, actions[place].clone()))
    probe.call("compiled_rules", *read, count, *written, positions=seen)
    before = take(seen, place)
    successor, *outcome = probe.step(before, actions[place])
    after = before._replace(state=successor, done=outcome[1])
    said = dict(zip(("reward", "done"), (reward, done), strict=True))
    probe.require_same(said, dict(zip(said, outcome, strict=True)), "compiled_rules: must agree with step", before)
    names = named_fields(seen.state)
    for promise, rows, expected in (
        ("must not change the positions that it plays on from", slice(count), seen.state),
        ("must write the successors of step", slice(count, None), successor),
    ):
        given = {name: field[rows] for name, field in zip(names, fields, strict=True)}
        positions = seen if rows == slice(count) else before
        probe.require_same(given, named_fields(expected), f"compiled_rules: {promise}", positions)
    player, following = probe.query("to_play", before), probe.query("to_play", after)
    for name, answer, truth in (
        ("to_play", turned, player != following),
        ("legal", legal, probe.query("legal", after)),
    ):
        probe.require(same_rows(answer, truth) | after.done, f"compiled_rules: must agree with {name}", before)


def _check_moves_change_the_state(probe: Probe, seen: Positions, generator: torch.Generator) -> None:
    """Tries every legal action of every unfinished position, or a random choice of many; one action of a Box."""
    running = take(seen, ~seen.done)
    legal = probe.query("legal", running)
    if probe.game.discrete:
        moves = legal.nonzero()
        index, actions = moves[_some(len(moves), generator)].T
        running = take(running, index)
    else:
        actions = _random_actions(probe.game, legal, running.done, generator)
    successor = probe.step(running, actions).state
    same = torch.stack([same_rows(a, b) for a, b in zip(running.state, successor, strict=True)]).all(0)
    probe.require(~same, "step: a legal action must change an unfinished state", running)


def _check_totals(probe: Probe, plies: list[Ply]) -> None:
    """Player 0 wins what player 1 loses, and from no move on does either win more than 1, as values assume."""
    totals = [torch.zeros_like(plies[0].reward)]
    for before, _, reward, _ in reversed(plies):
        gain = torch.where(probe.query("to_play", before) == 0, reward, -reward)
        totals.append(gain + probe.game.discount * totals[-1])
    most = max(float(total.abs().max()) for total in totals)
    promise = (
        "step: from every position on, the rewards must add up to a total within [-1, 1], as values do; "
        f"here they come to {most:.3g}, so divide all rewards by the most that a game can bring"
    )
    for (before, *_), total in zip(reversed(plies), totals[1:], strict=True):
        probe.require(total.abs() <= 1 + 1e-4, promise, before)


def _check_metrics(probe: Probe, seen: Positions) -> None:
    """A number by name for each finished state."""
    finished = take(seen, seen.done)
    metrics = probe.ask("metrics", finished)
    require_type("metrics: its answer", metrics, dict)
    for name, metric in metrics.items():
        require_type("metrics: a name", name, str)
        require_type(f"metrics: `{name}`", metric, Tensor)
        require_tensor(f"metrics: `{name}`", metric, (len(finished.done),), metric.dtype, finished)


def _check_symmetries(probe: Probe, plies: list[Ply]) -> None:
    for number, symmetry in enumerate(probe.call("symmetries")):
        _check_symmetry(probe, plies, symmetry, f"symmetries: symmetry {number}")


def _check_symmetry(probe: Probe, plies: list[Ply], symmetry: Symmetry, name: str) -> None:
    """Plays each game again with mapped actions: at every ply the mapped game must be the game mapped.

    States cannot be mapped, so a game takes part where some start looks like its own start mapped.
    """
    if not probe.game.discrete:
        raise ConformanceError(f"{name} has continuous actions to permute, which cannot be")
    if sorted(symmetry.actions) != list(range(num_actions(probe.game))):
        raise ConformanceError(f"{name} must permute the actions (has {symmetry.actions})")

    def mapped_observation(positions: Positions) -> Tensor:
        kept = probe.query("observe", positions)
        mapped = symmetry.observation(given := kept.clone())
        probe.require(same_rows(given, kept), f"{name} must not change its input in place", positions)
        return require_tensor(f"{name}: a mapped observation", mapped, tuple(kept.shape), kept.dtype, positions)

    def require_same(mapped: Tensor, expected: Tensor, promise: str, unless: Tensor | bool = False) -> None:
        probe.require(same_rows(mapped, expected, rounding=True) | unless, f"{name} must {promise}", original)

    start = plies[0].before
    observation, mapped = probe.query("observe", start), mapped_observation(start)
    alike = (mapped.flatten(1)[:, None] == observation.flatten(1)).all(-1)
    starts_vary = (observation != observation[0]).any()
    probe.require(alike.any(1) | starts_vary, f"{name} must map the start of the game to itself", start)
    matched = alike.any(1).nonzero()[:, 0]
    image = take(start, alike[matched].to(torch.int8).argmax(1))
    permutation = torch.tensor(symmetry.actions, device=matched.device)
    for before, action, reward, after in plies:
        original = take(before, matched)
        require_same(probe.query("observe", image), mapped_observation(original), "map observations as it maps actions")
        legal = probe.query("legal", original)[:, permutation]
        require_same(probe.query("legal", image), legal, "map legal actions to legal actions", original.done)
        player = probe.query("to_play", original)
        require_same(probe.query("to_play", image), player, "keep the player to move", original.done)
        successor, mapped_reward, done = probe.step(image, permutation.argsort()[action[matched]])
        require_same(mapped_reward, reward[matched], "keep rewards")
        require_same(done, after.done[matched], "keep the end of the game")
        image = Positions(successor, image.game, image.ply + 1, done)


def _check_key(probe: Probe, seen: Positions, actions: Tensor) -> None:
    """States with the same key must look the same, and the same move must lead to the same."""

    def require_agreement(aspect: str, answer: Tensor, unless: Tensor | bool = False) -> None:
        same = same_rows(answer, answer[first], rounding=True) | unless
        probe.require(same, f"key: states with one key must agree in {aspect}", seen)

    if not probe.game.has_key:
        return
    _, group = probe.query("key", seen).unique(return_inverse=True)
    index = torch.arange(len(group), device=group.device)
    first = torch.zeros_like(index).scatter_reduce(0, group, index, "amin", include_self=False)[group]
    require_agreement("whether they are finished", seen.done)
    require_agreement("to_play", probe.query("to_play", seen), seen.done)
    require_agreement("legal", probe.query("legal", seen), seen.done)
    require_agreement("observe", probe.query("observe", seen))
    successor, reward, done = probe.step(seen, actions[first])
    require_agreement("the reward of a move", reward)
    require_agreement("whether a move ends the game", done)
    require_agreement("what a move leads to", probe.query("observe", seen._replace(state=successor)))


def _check_render(probe: Probe, seen: Positions) -> None:
    for index in torch.linspace(0, len(seen.done) - 1, MOST_SINGLES).long().to(seen.done.device):
        require_type("render: its answer", probe.ask("render", take(seen, index[None])), str)


def _check_boards(probe: Probe, seen: Positions) -> None:
    """The board that `render` shows of an unfinished position must be read back as the same."""
    if not probe.game.has_boards:
        return
    running = (~seen.done).nonzero()[:, 0]
    for index in running[torch.linspace(0, len(running) - 1, MOST_SINGLES).long().to(running.device)].split(1):
        one = take(seen, index)
        read = read_board(probe.ask("render", one))
        if read is None:
            raise ConformanceError("from_board: the game has it, so `render` must show a board of x, o and .")
        found = probe.call("from_board", read[0], int(probe.query("to_play", one)), positions=one)
        again = one._replace(state=map_states(partial(torch.Tensor.to, device=running.device), found))
        for function in ("to_play", "legal", "observe"):
            same = same_rows(probe.query(function, again), probe.query(function, one), rounding=True)
            probe.require(same, f"from_board: what it makes of the board of `render` must agree in {function}", one)
