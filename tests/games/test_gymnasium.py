"""Environments of Gymnasium: copies go on as originals, and what cannot be searched is refused with the reason."""

from __future__ import annotations

import pickle
import sys
from dataclasses import replace
from pathlib import Path
from threading import Lock
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch

from alphazero.game import as_game, check_game, load_game
from games.gymnasium import Gymnasium
from tests.training_runs import SMALL, assert_same, run

LAKE = "games.gymnasium:Gymnasium('FrozenLake-v1', options={'is_slippery': False})"
SOUND: list[tuple[str, float, dict[str, Any]]] = [
    ("CartPole-v1", 500, {}),
    ("MountainCar-v0", 200, {"max_moves": 20}),
    ("MountainCarContinuous-v0", 100, {"max_moves": 20}),
    ("Pendulum-v1", 3300, {"max_moves": 20}),
    ("Acrobot-v1", 500, {"max_moves": 20}),
    ("FrozenLake-v1", 1, {"options": {"is_slippery": False}}),
    ("CliffWalking-v1", 20_000, {"max_moves": 20}),
    ("Taxi-v4", 2000, {"max_moves": 20}),
]


@pytest.mark.parametrize(("env", "most", "options"), SOUND)
def test_environments_keep_every_promise(env: str, most: float, options: dict[str, Any]) -> None:
    check_game(Gymnasium(env, most, **options), games=2)


@pytest.mark.parametrize(("env", "most", "options"), SOUND)
def test_a_game_goes_on_as_the_environment_does(env: str, most: float, options: dict[str, Any]) -> None:
    """The reference is the environment as Gymnasium makes it. Moves that are tried on the way change nothing."""
    game, rng = Gymnasium(env, most, **options), np.random.default_rng(5)
    theirs = gymnasium.make(env, **options.get("options", {}))
    position, total, returned, ended = game.random_initial(np.random.default_rng(0)), 0.0, 0.0, False
    start = int(np.random.default_rng(0).integers(1 << 31))
    observation, _ = theirs.reset(seed=start)
    theirs.action_space.seed(0)
    space = theirs.observation_space
    while not ended and position.moves < game.max_moves:
        seen = game.observe(position)
        assert seen[:-1].tolist() == gymnasium.spaces.flatten(space, observation).astype(np.float32).tolist()
        assert seen[-1] == np.float32(position.moves / game.max_moves)
        action, other = theirs.action_space.sample(), rng.uniform(-1, 1, 1) if "Cont" in env or "Pen" in env else 0
        game.play(position, other)
        successor = game.play(position, action)
        returned += game.reward(position, action, successor)
        observation, reward, terminated, truncated, _ = theirs.step(action)
        total, ended, position = total + float(reward), terminated or truncated, successor
        assert game.finished(position) == (terminated or (truncated and position.moves < game.max_moves) or False)
    assert returned == pytest.approx(total / most)
    assert position.moves > 1


def test_starts_are_drawn_and_the_length_is_the_makers() -> None:
    game = as_game(Gymnasium("CartPole-v1", 500))
    starts = game.observe(game.initial(50, generator=torch.Generator().manual_seed(0)))
    assert len(starts.unique(dim=0)) == 50
    assert game.initial(1).moves.shape == (1, 500)
    assert Gymnasium("CartPole-v1", max_moves=7).max_moves == 7


def test_the_place_of_the_player_is_seen_without_colours() -> None:
    rules = Gymnasium("FrozenLake-v1", options={"is_slippery": False})
    after = rules.play(rules.play(rules.initial(), 1), 1)  # down
    assert rules.render(after).splitlines()[1:] == ["SFFF", "FHFH", "[F]FFH", "HFFG"]


def test_another_process_makes_the_environment_anew() -> None:
    rules = Gymnasium("FrozenLake-v1", 2.0, max_moves=9, options={"is_slippery": False})
    again = pickle.loads(pickle.dumps(rules))
    assert (again.most, again.max_moves) == (2.0, 9)
    assert again.render(again.initial()) == rules.render(rules.initial())


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: Gymnasium("FrozenLake-v1"),
            "FrozenLake-v1 has chance in its steps, which search would foresee",
        ),
        (lambda: Gymnasium("Blackjack-v1"), "Blackjack-v1 has chance in its steps"),
        (lambda: Gymnasium("CartPoll-v1"), "Gymnasium cannot make 'CartPoll-v1': .*CartPole"),
        (lambda: Gymnasium("CartPole-v1", options={"gravity": 1}), "cannot make 'CartPole-v1': .*unexpected keyword"),
        (lambda: Gymnasium("CartPole-v1", 0), "most must be a number over 0, not 0"),
        (lambda: Gymnasium("Lazy-v0"), "Lazy-v0 cannot be copied, as search needs it: copies go on in another way"),
        (lambda: Gymnasium("Stuck-v0"), "Stuck-v0 cannot be copied, as search needs it: TypeError"),
        (lambda: Gymnasium("Many-v0"), r"Many-v0 has actions MultiDiscrete.*; only Discrete and a bounded Box"),
        (lambda: Gymnasium("Endless-v0"), r"Endless-v0 has actions Box.*; only Discrete and a bounded Box"),
    ],
)
def test_what_cannot_be_searched_is_refused_with_the_reason(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


class Counter(gymnasium.Env[Any, Any]):
    """Its only state is how often it was stepped."""

    observation_space = gymnasium.spaces.Box(0, 1000, (1,))
    action_space: Any = gymnasium.spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        self.count = 0
        return self.seen(), {}

    def seen(self) -> Any:
        return np.array([self.count], np.float32)

    def step(self, action: Any) -> Any:
        self.count += 1
        return self.seen(), 0.0, self.count == 20, False, {}


class Lazy(Counter):
    """Keeps its state where no copy reaches it, as a simulator in another language does."""

    counts: dict[str, int] = {}  # noqa: RUF012
    count = property(lambda self: self.counts["now"], lambda self, count: self.counts.update(now=count))  # type: ignore[assignment]


class Stuck(Counter):
    def __init__(self) -> None:
        self.simulator = Lock()  # neither can be copied


for _name, _kind, _actions in (
    ("Lazy-v0", Lazy, gymnasium.spaces.Discrete(2)),
    ("Stuck-v0", Stuck, gymnasium.spaces.Discrete(2)),
    ("Many-v0", Counter, gymnasium.spaces.MultiDiscrete([2, 2])),
    ("Endless-v0", Counter, gymnasium.spaces.Box(-np.inf, np.inf, (1,))),
):
    gymnasium.register(_name, type(_name[:-3], (_kind,), {"action_space": _actions}), disable_env_checker=True)


def test_no_name_has_a_module_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Gymnasium imports `module` for `module:Env-v0`; a run's file, which may be a stranger's, has such names too."""
    (tmp_path / "unheard_of.py").write_text(f"open({str(tmp_path / 'mark')!r}, 'w')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ValueError, match=r"^game .*'unheard_of:CartPole-v1' names a module, "):
        load_game("games.gymnasium:Gymnasium('unheard_of:CartPole-v1')")
    assert not (tmp_path / "mark").exists()


def test_without_the_package_it_is_said_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gymnasium", None)
    with pytest.raises(ValueError, match=r'pip install "alphazero-engine\[gymnasium\]"'):
        Gymnasium("CartPole-v1")


def test_a_run_of_one_trains_and_goes_on(tmp_path: Path) -> None:
    config = replace(
        SMALL, game=LAKE, iterations=2, network=replace(SMALL.network, value_head="scalar"),
        self_play=replace(SMALL.self_play, max_moves=20), evaluation=replace(SMALL.evaluation, opponents=(), every=0),
    )  # fmt: skip
    whole, _ = run(config, tmp_path / "whole", game=load_game(LAKE))
    run(config, tmp_path / "parts", game=load_game(LAKE), stop_after=0)
    assert_same(run(config, tmp_path / "parts", game=load_game(LAKE), resume=True)[0], whole)
