"""The Gymnasium environments: the game's own episodes, and Gymnasium's own checks."""

from __future__ import annotations

import math
import warnings
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.error import ResetNeeded
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode

from games.trebuchet import shoot
from games.trebuchet.env import TrebuchetEnv
from games.trebuchet.game import COUNTERWEIGHTS, Siege, TrebuchetState

BOTH = pytest.mark.parametrize("name", ["Trebuchet-v0", "TrebuchetSiege-v0"])


def make(name: str, **options: Any) -> Any:
    return gymnasium.make(f"games.trebuchet.env:{name}", **options)


def make_vec(name: str, num_envs: int, **options: Any) -> Any:
    return gymnasium.make_vec(
        f"games.trebuchet.env:{name}", num_envs=num_envs, vectorization_mode="vector_entry_point", **options
    )


@BOTH
def test_gymnasium_finds_nothing_wrong(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(make(name).unwrapped)


@pytest.mark.parametrize(("wind", "target"), [(-7.5, 95.0), (0.0, 55.0), (5.0, 55.0)])
def test_the_reward_is_the_logarithm_of_the_miss(wind: float, target: float) -> None:
    env = make("Trebuchet-v0")
    env.reset(options={"wind": wind, "target": target})
    observation, reward, terminated, truncated, info = env.step(np.array([-0.2, 0.1], np.float32))
    distance = shoot(wind, 36.0, 75.0).distance
    assert info["distance"] == pytest.approx(distance, abs=1e-4)  # the action has seven digits
    assert info["miss"] == pytest.approx(abs(distance - target), abs=1e-4)
    assert reward == pytest.approx(-math.log(1 + abs(distance - target) / 0.01) / math.log(1 + 100 / 0.01), abs=1e-5)
    assert (terminated, truncated) == (True, False)
    assert observation.tolist() == pytest.approx([wind / 10, (target - 60) / 40])
    assert (info["angle"], info["counterweight"]) == (pytest.approx(36, abs=1e-5), pytest.approx(75, abs=1e-5))
    assert [info[flag] for flag in ("landed", "slack", "backwards", "reachable")] == [True, False, False, target < 90]


def test_a_siege_is_that_of_the_game() -> None:
    env, game = make("TrebuchetSiege-v0"), Siege()
    winds, actions = (3.0, -2.0, 9.0, -9.5), np.random.default_rng(5).uniform(-1, 1, (4, 2)).astype(np.float32)
    observation, _ = env.reset(options={"wind": winds, "target": 60.0, "angle": 40.0, "counterweight": 66.0})
    numbers = (torch.tensor([number], dtype=torch.float64) for number in (60.0, 40.0, 66.0))
    zero = torch.zeros(1, dtype=torch.int64)
    state = TrebuchetState(torch.tensor([winds], dtype=torch.float64), *numbers, zero, zero.double())
    for shot in range(4):
        assert observation.tolist() == game.observe(state)[0].tolist()
        state, reward, done = game.step(state, torch.from_numpy(actions[shot : shot + 1]))
        observation, rewarded, terminated, _, info = env.step(actions[shot])
        assert (rewarded, terminated) == (reward.item(), done.item()) == (reward.item(), shot == 3)
        assert info["wind"] == winds[shot]
        assert info["distance"] == state.distance.item()


@BOTH
def test_a_seed_is_an_episode(name: str) -> None:
    def episode(seed: int) -> list[float]:
        env = make(name)
        first, _ = env.reset(seed=seed)
        second, _ = env.reset()
        return [*first.tolist(), *second.tolist()]

    assert episode(3) == episode(3)
    assert episode(3) != episode(4)


def test_drawn_targets_are_within_reach_of_a_given_wind() -> None:
    envs = make_vec("Trebuchet-v0", 4000)
    angles = torch.linspace(20, 60, 401, dtype=torch.float64)
    farthest = shoot(-9.0, angles, COUNTERWEIGHTS[1]).distance.max().item()
    _, infos = envs.reset(seed=1, options={"wind": -9.0})
    assert infos["reachable"].all()
    assert (infos["wind"] == -9).all()
    shares = (infos["target"] - 20) / (farthest - 20)
    assert shares.min() >= 0
    assert shares.max() <= 1.001
    assert shares.mean() == pytest.approx(0.5, abs=4 * math.sqrt(1 / 12 / 4000))


def test_a_target_out_of_reach_is_accepted_and_flagged() -> None:
    env = make("Trebuchet-v0", render_mode="ansi")
    for target, reachable in ((63.0, True), (64.5, False)):  # -9 m/s: it throws 64.06 m
        _, info = env.reset(options={"wind": -9.0, "target": target})
        assert info["reachable"] is reachable
        *_, info = env.step(np.zeros(2, np.float32))
        assert info["reachable"] is reachable
    assert env.render().endswith("WARNING: no setting throws as far as the target in this wind")


def test_flags_say_what_went_wrong() -> None:
    env = make("Trebuchet-v0")
    for wind, action in ((-10.0, (1.0, -0.8)), (0.0, (0.0, 0.0))):
        env.reset(options={"wind": wind, "target": 50.0})
        *_, info = env.step(np.array(action))
        shot = shoot(wind, info["angle"], info["counterweight"])
        assert [info[flag] for flag in ("landed", "slack", "backwards")] == [shot.landed, shot.slack, shot.backwards]
        assert info["backwards"] is (wind == -10)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("Trebuchet-v0", {"winds": 1.0}, "unknown option 'winds' of reset; there are wind, target"),
        ("Trebuchet-v0", {"angle": 1.0}, "unknown option 'angle'"),
        ("Trebuchet-v0", {"wind": 10.5}, "'wind' of reset must be from -10 to 10 m/s, not 10.5"),
        ("Trebuchet-v0", {"target": math.nan}, "'target' of reset must be from 20 to 100 m, not nan"),
        ("Trebuchet-v0", {"target": "far"}, "'target' of reset must be a number, not 'far'"),
        ("TrebuchetSiege-v0", {"counterweight": 10}, "'counterweight' of reset must be from 20 to 120 kg"),
        ("TrebuchetSiege-v0", {"wind": [1, 2, 3]}, r"not \(3,\)"),
    ],
)
def test_wrong_options_are_named(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(name).reset(options=options)


@pytest.mark.parametrize("action", [[0.0], [0.0, math.nan], [0.0, math.inf], 0.5, [[0.0, 0.0]], ["up", "down"], None])
def test_wrong_actions_are_refused(action: Any) -> None:
    env = make("TrebuchetSiege-v0").unwrapped
    env.reset()
    with pytest.raises(ValueError, match="an action is two"):
        env.step(action)


def test_steps_need_an_episode() -> None:
    env = make("Trebuchet-v0").unwrapped
    for call in (lambda: env.step(np.zeros(2)), env.render):
        with pytest.raises(ResetNeeded):
            call()
    env.reset()
    env.step(np.zeros(2))
    with pytest.raises(ResetNeeded, match="over"):
        env.step(np.zeros(2))


@BOTH
def test_many_are_as_many_single_ones(name: str) -> None:
    envs, generator = make_vec(name, 5), np.random.default_rng(8)
    winds = generator.uniform(-9, 9, (5, envs.unwrapped._episodes.game.shots))
    options: dict[str, Any] = {"wind": winds, "target": generator.uniform(20, 100, 5)}
    if name == "TrebuchetSiege-v0":
        options |= {"angle": generator.uniform(0, 90, 5), "counterweight": generator.uniform(20, 120, 5)}
    observations, infos = envs.reset(options=options)
    singles = [make(name) for _ in range(5)]
    for row, single in enumerate(singles):
        seen, info = single.reset(options={key: value[row] for key, value in options.items()})
        assert observations[row].tolist() == seen.tolist()
        assert {key: infos[key][row] for key in info} == info
    for _ in range(winds.shape[1]):
        actions = generator.uniform(-1, 1, (5, 2)).astype(np.float32)
        observations, rewards, terminated, truncated, infos = envs.step(actions)
        for row, single in enumerate(singles):
            seen, reward, over, cut, info = single.step(actions[row])
            assert observations[row].tolist() == seen.tolist()
            assert (rewards[row], terminated[row], truncated[row]) == (pytest.approx(reward, abs=1e-6), over, cut)
            assert {key: infos[key][row] for key in info} == pytest.approx(info, rel=1e-9)
            assert all(infos[f"_{key}"][row] for key in info)
    assert terminated.all()


def test_the_next_step_begins_the_next_episode() -> None:
    envs = make_vec("TrebuchetSiege-v0", 2)
    assert envs.metadata["autoreset_mode"] is AutoresetMode.NEXT_STEP
    envs.reset(seed=1)
    envs.step(np.zeros((2, 2)))
    first, _ = envs.reset(options={"reset_mask": np.array([False, True])})
    assert first[:, 4:8].sum(1).tolist() == [3, 4]
    for _ in range(2):
        envs.step(np.zeros((2, 2)))
    observations, _, terminated, _, infos = envs.step(np.zeros((2, 2)))
    assert terminated.tolist() == [True, False]
    observations, rewards, terminated, _, infos = envs.step(np.zeros((2, 2)))
    assert terminated.tolist() == [False, True]
    assert observations[:, 4:8].sum(1).tolist() == [4, 0]
    assert rewards[0] == 0 > rewards[1]
    assert (infos["_miss"].tolist(), infos["_target"].tolist()) == ([False, True], [True, True])
    assert observations[0, 8] == pytest.approx((infos["target"][0] - 60) / 40)


def test_the_same_step_begins_the_next_episode() -> None:
    envs = make_vec("Trebuchet-v0", 3, autoreset_mode="SameStep")
    assert envs.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP
    before, _ = envs.reset(seed=1)
    observations, rewards, terminated, _, infos = envs.step(np.zeros((3, 2)))
    assert terminated.all()
    assert np.stack(infos["final_obs"]).tolist() == before.tolist()
    assert (observations != before).all()
    assert observations[:, 1].tolist() == pytest.approx(((infos["target"] - 60) / 40).tolist())
    misses = infos["final_info"]["miss"]
    assert rewards.tolist() == pytest.approx((-np.log1p(misses / 0.01) / np.log1p(1e4)).tolist(), abs=1e-6)
    assert "miss" not in infos


def test_without_autoreset_the_caller_resets() -> None:
    envs = make_vec("Trebuchet-v0", 2, autoreset_mode="Disabled")
    with pytest.raises(ResetNeeded):
        envs.step(np.zeros((2, 2)))
    envs.reset(seed=1)
    envs.step(np.zeros((2, 2)))
    with pytest.raises(ResetNeeded, match=r"episodes \[0, 1\] are over"):
        envs.step(np.zeros((2, 2)))
    envs.reset()
    with pytest.raises(ValueError, match="an action is two"):
        envs.step(np.zeros((3, 2)))


def test_seeds_of_many() -> None:
    def episodes(seed: int) -> list[Any]:
        envs = make_vec("Trebuchet-v0", 4)
        first, _ = envs.reset(seed=seed)
        envs.step(np.zeros((4, 2)))
        return [first.tolist(), envs.step(np.zeros((4, 2)))[0].tolist()]

    assert episodes(6) == episodes(6)
    assert episodes(6) != episodes(7)
    (first, second) = episodes(6)
    assert len({tuple(row) for row in first + second}) == 8


def test_pictures_come_in_their_modes() -> None:
    env = make("TrebuchetSiege-v0", render_mode="rgb_array")
    env.reset(seed=1)
    still = env.render()
    env.step(np.zeros(2))
    picture = env.render()
    assert picture.shape == still.shape == (396, 900, 3)
    assert picture.dtype == np.uint8
    assert (picture != still).any()
    texts = make_vec("Trebuchet-v0", 2, render_mode="ansi")
    texts.reset(options={"wind": [1.0, -2.0]})
    assert ["wind +1.0" in texts.render()[0], "wind -2.0" in texts.render()[1]] == [True, True]
    with pytest.raises(ValueError, match="unknown render_mode 'gif'"):
        TrebuchetEnv(render_mode="gif")
