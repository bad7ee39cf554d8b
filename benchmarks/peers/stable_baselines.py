"""Aiming learned by trial and error: SAC and PPO of Stable-Baselines3. Importing it needs the extra `peers`."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3 import PPO, SAC
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import VecEnv
from torch import Tensor

from games.trebuchet.game import Aiming, TrebuchetState

GAME = Aiming()

Misses = Callable[[Callable[[TrebuchetState], Tensor]], Tensor]  # of a policy, in m


class Point(NamedTuple):
    """A point of a learning curve. shots: fired in training. median, most: the misses' median and 95th percentile, m.

    seconds: of training alone, without the measurements.
    """

    shots: int
    median: float
    most: float
    seconds: float


class Shots(VecEnv):
    """Trebuchet-v0 for Stable-Baselines3, a batch at a time: every step is an episode."""

    def __init__(self, batch: int, *, seed: int) -> None:
        self.generator = torch.Generator().manual_seed(seed)
        ones = np.ones(2, dtype=np.float32)
        super().__init__(batch, spaces.Box(-ones, ones), spaces.Box(-ones, ones))

    def reset(self) -> np.ndarray:
        self.states = GAME.initial(self.num_envs, generator=self.generator)
        return GAME.observe(self.states).numpy()

    def step_async(self, actions: np.ndarray) -> None:
        self.fired = torch.from_numpy(actions)

    def step_wait(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[dict[str, Any]]]:
        reward = GAME.step(self.states, self.fired).reward.numpy()
        return self.reset(), reward, np.ones(self.num_envs, dtype=bool), [{} for _ in range(self.num_envs)]

    def close(self) -> None:
        pass

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        return [getattr(self, attr_name, None)] * self.num_envs

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        raise NotImplementedError

    def env_method(self, method_name: str, *arguments: Any, indices: Any = None, **keywords: Any) -> list[Any]:
        raise NotImplementedError

    def env_is_wrapped(self, wrapper_class: type, indices: Any = None) -> list[bool]:
        return [False] * self.num_envs


class Curve(BaseCallback):
    """Measures the deterministic policy once so many shots have been fired and learned from, and at the end."""

    def __init__(self, misses: Misses, checkpoints: Sequence[int], show: Callable[[Point], None]) -> None:
        super().__init__()
        self.misses, self.checkpoints, self.show = misses, checkpoints, show
        self.points: list[Point] = []
        self.learning, self.since = 0.0, time.perf_counter()

    def _on_step(self) -> bool:
        return True

    def _on_rollout_start(self) -> None:
        before = self.points[-1].shots if self.points else 0
        if any(before < shots <= self.num_timesteps for shots in self.checkpoints):
            self._measure()

    def _on_training_end(self) -> None:
        self._measure()

    def _measure(self) -> None:
        self.learning += time.perf_counter() - self.since
        misses = self.misses(self._policy)
        self.points.append(
            Point(self.num_timesteps, misses.median().item(), misses.quantile(0.95).item(), self.learning)
        )
        self.show(self.points[-1])
        self.since = time.perf_counter()

    def _policy(self, states: TrebuchetState) -> Tensor:
        actions, _ = self.model.predict(GAME.observe(states).numpy(), deterministic=True)
        return torch.from_numpy(actions)


def learn(
    rival: str, shots: int, checkpoints: Sequence[int], misses: Misses, *, seed: int, show: Callable[[Point], None]
) -> list[Point]:
    """The learning curve, each point of which is shown when it is known. misses: of a policy, inf for failures."""
    model = {"sac": sac, "ppo": ppo}[rival](shots, seed)
    curve = Curve(misses, checkpoints, show)
    model.learn(shots, callback=curve)
    return curve.points


# Settings are the best of a few trials, of 6,000 to 10,000 shots (SAC) and of 100,000 (PPO), with other targets than
# those held out.


def sac(shots: int, seed: int) -> BaseAlgorithm:
    """SAC. Rewards are from -1 to 0: with the usual first temperature of 1, nothing was learned for 4,000 shots."""
    return SAC(
        "MlpPolicy",
        Shots(8, seed=seed),
        learning_rate=decaying(1e-3),
        buffer_size=min(shots, 1_000_000),
        learning_starts=500,
        batch_size=256,
        gradient_steps=8,
        ent_coef="auto_0.02",
        target_entropy=-6.0,
        policy_kwargs={"net_arch": [256, 256]},
        seed=seed,
        device="cpu",
    )


def ppo(shots: int, seed: int) -> BaseAlgorithm:
    """PPO. Its deviation shrinks to a thirtieth as it learns to aim; a step of Adam moves the mean as far as before.

    At a rate that falls in a straight line, an update came to change the policy by a KL divergence of 10 to 100, which
    clipping does not prevent, and the aim was lost. So the rate falls as a cube, and target_kl ends updates that go too
    far all the same, as in trainings of 200,000 shots.
    """
    return PPO(
        "MlpPolicy",
        Shots(32, seed=seed),
        learning_rate=decaying(2e-3, power=3),
        n_steps=16,
        batch_size=64,
        n_epochs=10,
        target_kl=0.2,
        policy_kwargs={"net_arch": [64, 64], "activation_fn": torch.nn.ReLU, "log_std_init": -1.5},
        seed=seed,
        device="cpu",
    )


def decaying(rate: float, power: int = 1) -> Callable[[float], float]:
    return lambda remaining: rate * max(remaining**power, 0.02)
