"""The game as Gymnasium environments: `Trebuchet-v0`, one free shot, and `TrebuchetSiege-v0`, four at one target.

    import games.trebuchet.env                     # registers them
    env = gymnasium.make("Trebuchet-v0")           # or, without the import, "games.trebuchet.env:Trebuchet-v0"
    envs = gymnasium.make_vec("Trebuchet-v0", num_envs=64)

Observation, action, rules and reward are those of `game.Aiming` and `game.Siege`, which take the steps:

    observation  Box(-1, 1): of the shot, wind / 10 m/s, and the target, -1 at 20 m and 1 at 100 m. Of the siege, the
                 winds of the shots to come (4), 1 for each that comes (4), the target, and the trebuchet's setting
    action       Box(-1, 1, (2,)): angle of release, from 0 to 90 degrees, and counterweight, from 20 to 120 kg; in the
                 siege, by what part of 5 degrees and 8 kg they change. Values beyond count as the nearest bound
    reward       -ln(1 + miss / 1 cm) / ln(1 + 100 m / 1 cm) / shots, from -1 / shots to 0; -1 / shots for a shot that
                 does not land, and for a miss of 100 m or more
    terminated   after the last shot; nothing is ever truncated

Options of `reset`, all of them optional: wind, from -10 to 10 m/s (of the siege, also a sequence of four), and target,
from 20 to 100 m; of the siege also angle and counterweight, the setting before the first shot. Other values are drawn,
targets from those within reach. A target that is given may be out of reach.

Info: wind (m/s, that of the shot fired, or of the first to come), target (m) and reachable: whether in all winds of the
episode some setting, reachable between shots or not, throws as far as the target. After a shot also angle
(degrees), counterweight (kg), distance and miss (m, at least 0), and whether it landed, its sling went slack, and it
was thrown backwards.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import gymnasium
import numpy as np
import torch
from gymnasium.error import ResetNeeded
from gymnasium.spaces import Box, Space
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray
from torch import Tensor

from alphazero.game import take, where
from games.trebuchet.game import (
    ANGLES,
    COUNTERWEIGHTS,
    FARTHEST,
    NEAREST,
    WINDS,
    Aiming,
    Siege,
    TrebuchetState,
    farthest,
)
from games.trebuchet.physics import DEFAULT, Trebuchet
from games.trebuchet.sketch import sketch

if TYPE_CHECKING:
    from games.trebuchet.render import Window

BOUNDS = {"wind": (-WINDS, WINDS), "target": (NEAREST, FARTHEST), "angle": ANGLES, "counterweight": COUNTERWEIGHTS}
UNITS = {"wind": "m/s", "target": "m", "angle": "degrees", "counterweight": "kg"}
RENDER_MODES = ["ansi", "rgb_array", "human"]
RENDER_FPS = 25
UNREACHABLE = "WARNING: no setting throws as far as the target in this wind"

Observations = NDArray[np.float32]
Actions = NDArray[np.float32]
Info = dict[str, Any]


class _Episodes:
    """A batch of episodes: the part that one environment and many share."""

    def __init__(self, game: Siege) -> None:
        self.game = game
        self.options = ("wind", "target") if isinstance(game, Aiming) else tuple(BOUNDS)

    def observation_space(self) -> Space[Any]:
        return Box(-1.0, 1.0, self.game.observation_shape, np.float32)

    def action_space(self) -> Space[Any]:
        return Box(-1.0, 1.0, (2,), np.float32)

    def initial(self, batch: int, random: np.random.Generator, options: Mapping[str, Any]) -> TrebuchetState:
        """Draws what the options leave open. Each option: a number, or one an episode; winds also [batch, shots]."""
        given = {name: self._option(name, value, batch) for name, value in options.items()}
        seed = int(random.integers(2**63))
        state: TrebuchetState = self.game.initial(batch, generator=torch.Generator().manual_seed(seed))
        if "wind" in given and "target" not in given:
            # The same share of the reach in these winds, instead of in those that were drawn.
            share = (state.target - NEAREST) / (self._reach(state.winds) - NEAREST)
            given["target"] = NEAREST + (self._reach(given["wind"]) - NEAREST) * share
        return state._replace(**{("winds" if name == "wind" else name): value for name, value in given.items()})

    def fire(
        self, state: TrebuchetState, action: Any
    ) -> tuple[TrebuchetState, Observations, NDArray[np.float32], Info]:
        """After the shots: state, observations, rewards, and info of [B] arrays. ValueError for no actions [B, 2]."""
        try:
            actions = np.asarray(action, dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise ValueError(f"an action is two numbers, for angle and counterweight, not {action!r}") from error
        if actions.shape != (len(state.fired), 2):
            raise ValueError(
                f"an action is two numbers, for angle and counterweight; of {len(state.fired)} they have the shape "
                f"{(len(state.fired), 2)}, not {actions.shape}"
            )
        if not np.isfinite(actions).all():
            raise ValueError(f"an action is two finite numbers, not {actions.tolist()}")
        shot, (after, reward, _) = self.game.fire(state, torch.from_numpy(actions))
        info = self.info(after) | {
            "wind": self.game.wind(state).numpy(),
            "angle": after.angle.numpy(),
            "counterweight": after.counterweight.numpy(),
            "distance": after.distance.numpy(),
            "miss": (after.distance - after.target).abs().numpy(),
            "landed": shot.landed.numpy(),
            "slack": shot.slack.numpy(),
            "backwards": shot.backwards.numpy(),
        }
        return after, self.game.observe(after).numpy(), reward.numpy(), info

    def info(self, state: TrebuchetState) -> Info:
        reachable = state.target <= self._farthest(state.winds)
        return {
            "wind": self.game.wind(state).numpy(),
            "target": state.target.numpy().copy(),
            "reachable": reachable.numpy(),
        }

    def _farthest(self, winds: Tensor) -> Tensor:
        return farthest(winds, self.game.trebuchet).amin(1)

    def _reach(self, winds: Tensor) -> Tensor:
        """The farthest targets that are drawn."""
        return self._farthest(winds).clamp(max=FARTHEST)

    def _option(self, name: str, value: Any, batch: int) -> Tensor:
        if name not in self.options:
            raise ValueError(f"unknown option {name!r} of reset; there are {', '.join(self.options)}")
        low, high = BOUNDS[name]
        try:
            values = np.asarray(value, dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise ValueError(f"option {name!r} of reset must be a number, not {value!r}") from error
        if not ((low <= values) & (values <= high)).all():  # nor if it is no number
            raise ValueError(f"option {name!r} of reset must be from {low:g} to {high:g} {UNITS[name]}, not {value}")
        shapes: list[tuple[int, ...]] = [(), (batch,)]
        if name == "wind":
            shapes += [(batch, self.game.shots)] + [(self.game.shots,)] * (batch == 1)
        if values.shape not in shapes:
            raise ValueError(
                f"option {name!r} of reset must have one of the shapes {', '.join(map(str, shapes))}, "
                f"not {values.shape}"
            )
        if name != "wind":
            return torch.from_numpy(np.broadcast_to(values, (batch,)).copy())
        rows = values[:, None] if values.shape == (batch,) and batch > 1 else values
        return torch.from_numpy(np.broadcast_to(rows, (batch, self.game.shots)).copy())


def _first(info: Info) -> Info:
    """The info of a batch of one."""
    return {name: value[0].item() for name, value in info.items()}


def _masked(info: Info, mask: NDArray[np.bool_]) -> Info:
    """Info as Gymnasium wants it: 0 where it has no meaning, and beside each array a mask of where it has."""
    if not mask.any():
        return {}
    return {name: np.where(mask, value, np.zeros_like(value)) for name, value in info.items()} | {
        f"_{name}": mask.copy() for name in info
    }


def _scene(info: Info, trebuchet: Trebuchet, earlier: list[float]) -> dict[str, Any]:
    """The arguments of `render`, by one episode's info of the last shot, or of its start."""
    shown = ("wind", "angle", "counterweight", "target")
    return {name: info[name] for name in shown if name in info} | {"trebuchet": trebuchet, "earlier": earlier}


def _frame(mode: str, info: Info, trebuchet: Trebuchet, earlier: list[float]) -> str | NDArray[np.uint8]:
    scene = _scene(info, trebuchet, earlier)
    if mode == "rgb_array":
        from games.trebuchet import render  # matplotlib takes its time

        return render.pixels(render.draw(**scene))
    return sketch(**scene) + ("" if info["reachable"] else f"\n{UNREACHABLE}")


def _check_mode(mode: str | None, modes: list[str]) -> None:
    if mode is not None and mode not in modes:
        raise ValueError(f"unknown render_mode {mode!r}; there are {', '.join(modes)}")


def _has_display() -> bool:
    """Whether windows can be expected to open, as far as is known without loading a toolkit."""
    return sys.platform != "linux" or any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))


class TrebuchetEnv(gymnasium.Env[Observations, Actions]):
    """One episode at a time (see above).

    render_mode: None; "ansi", lines of text; "rgb_array", a picture; "human", a window in which each shot is played.
    ValueError for another, and RuntimeError where no window can be opened.
    """

    metadata: dict[str, Any] = {"render_modes": RENDER_MODES, "render_fps": RENDER_FPS}  # noqa: RUF012
    rules: ClassVar[type[Siege]] = Aiming

    def __init__(self, *, render_mode: str | None = None, trebuchet: Trebuchet = DEFAULT) -> None:
        _check_mode(render_mode, RENDER_MODES)
        self.render_mode = render_mode
        if render_mode != "human" and not _has_display():
            # So that `check_env`, which goes through the modes, finds those that work on this machine.
            self.metadata = {**self.metadata, "render_modes": [mode for mode in RENDER_MODES if mode != "human"]}
        self._episodes = _Episodes(self.rules(trebuchet))
        self.observation_space = self._episodes.observation_space()
        self.action_space = self._episodes.action_space()
        self._state: TrebuchetState | None = None
        self._info: Info = {}
        self._landings: list[float] = []
        self._window: Window | None = None
        if render_mode == "human":
            from games.trebuchet.render import Window

            self._window = Window()

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Observations, Info]:
        super().reset(seed=seed)
        self._state = self._episodes.initial(1, self.np_random, options or {})
        self._info, self._landings = _first(self._episodes.info(self._state)), []
        self._show(still=True)
        return self._episodes.game.observe(self._state)[0].numpy(), dict(self._info)

    def step(self, action: Any) -> tuple[Observations, float, bool, bool, Info]:
        """ValueError if the action is not two finite numbers, ResetNeeded before an episode and after its end."""
        game = self._episodes.game
        if self._state is None:
            raise ResetNeeded("call reset() before step()")
        if self._state.fired.item() >= game.shots:
            raise ResetNeeded("the episode is over; call reset() before the next step()")
        if np.shape(action) != (2,):
            raise ValueError(f"an action is two numbers, for angle and counterweight, not {action!r}")
        if "distance" in self._info:
            self._landings.append(self._info["distance"])
        self._state, observations, rewards, info = self._episodes.fire(self._state, [action])
        self._info = _first(info)
        self._show(still=False)
        return observations[0], float(rewards[0]), self._state.fired.item() >= game.shots, False, dict(self._info)

    def render(self) -> Any:
        """A str, an array [height, width, 3] uint8, or None. The last shot, or the target before it."""
        if self._state is None:
            raise ResetNeeded("call reset() before render()")
        if self.render_mode is None:
            gymnasium.logger.warn('no render mode was chosen; make it with render_mode="ansi", say')
        elif self.render_mode != "human":
            return _frame(self.render_mode, self._info, self._episodes.game.trebuchet, self._landings)
        self._show(still=True)
        return None

    def close(self) -> None:
        if self._window is not None:
            self._window.close()

    def _show(self, *, still: bool) -> None:
        if self._window is not None:
            scene = _scene(self._info, self._episodes.game.trebuchet, self._landings)
            self._window.show(**scene, still=still)


class TrebuchetVectorEnv(VectorEnv[Observations, Actions, NDArray[Any]]):
    """`num_envs` episodes in one batch. They share a stream of random numbers, which `seed` starts.

    Options of `reset` may be given for each, [num_envs], winds also as [num_envs, shots]; with them may come
    reset_mask, [num_envs] bool, which says for which they are. An array of `info` without meaning at an index is marked
    so in that of the same name with an underscore, as Gymnasium does.

    autoreset_mode: an `AutoresetMode` or its value. NextStep: the step after the last begins the next episode, whatever
    its action, with reward 0. SameStep: the last step does, and what it has led to is in info as final_obs and
    final_info; where an episode is one shot this is twice as fast. Disabled: the caller resets.
    """

    metadata: dict[str, Any] = {  # noqa: RUF012
        "render_modes": ["ansi", "rgb_array"],
        "render_fps": RENDER_FPS,
        "autoreset_mode": AutoresetMode.NEXT_STEP,
    }
    rules: ClassVar[type[Siege]] = Aiming

    def __init__(
        self,
        num_envs: int = 1,
        *,
        render_mode: str | None = None,
        trebuchet: Trebuchet = DEFAULT,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
    ) -> None:
        if num_envs < 1:
            raise ValueError(f"num_envs must be at least 1, not {num_envs}")
        _check_mode(render_mode, self.metadata["render_modes"])
        self.num_envs, self.render_mode, self._mode = num_envs, render_mode, AutoresetMode(autoreset_mode)
        self.metadata = {**self.metadata, "autoreset_mode": self._mode}
        self._episodes = _Episodes(self.rules(trebuchet))
        self.single_observation_space = self._episodes.observation_space()
        self.single_action_space = self._episodes.action_space()
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._state: TrebuchetState | None = None
        self._info: Info = {}

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Observations, Info]:
        super().reset(seed=seed)
        options = dict(options or {})
        mask = np.asarray(options.pop("reset_mask", np.ones(self.num_envs, np.bool_)))
        if mask.shape != (self.num_envs,) or mask.dtype != np.bool_:
            raise ValueError(f"reset_mask must be [{self.num_envs}] bool, not {list(mask.shape)} {mask.dtype}")
        if self._state is None and not mask.all():
            raise ResetNeeded("call reset() without a reset_mask first")
        fresh = self._episodes.initial(self.num_envs, self.np_random, options)
        self._state = fresh if self._state is None else where(torch.from_numpy(mask), fresh, self._state)
        info = self._episodes.info(self._state)
        # Episodes that are not reset are drawn as they stand, though reset does not report them.
        self._info = _masked(info, np.ones_like(mask))
        return self._episodes.game.observe(self._state).numpy(), _masked(info, mask)

    def step(
        self, actions: Any
    ) -> tuple[Observations, NDArray[np.float32], NDArray[np.bool_], NDArray[np.bool_], Info]:
        """ValueError if the actions are not [num_envs, 2] finite numbers, ResetNeeded as `autoreset_mode` says."""
        if self._state is None:
            raise ResetNeeded("call reset() before step()")
        over = self._over(self._state)
        if self._mode == AutoresetMode.DISABLED and over.any():
            raise ResetNeeded(f"the episodes {over.nonzero()[0].tolist()} are over; call reset() with a reset_mask")
        after, observations, rewards, shots = self._episodes.fire(self._state, actions)
        ended, fired = self._over(after) & ~over, ~over
        begin, info = over, Info()
        if self._mode == AutoresetMode.SAME_STEP and ended.any():
            last = np.full(self.num_envs, None, dtype=object)
            for row in np.flatnonzero(ended):
                last[row] = observations[row]
            info |= {"final_obs": last, "_final_obs": ended.copy()}
            info |= {"final_info": _masked(shots, ended), "_final_info": ended.copy()}
            begin, fired = ended, ~ended
        info |= _masked(shots, fired)
        if begin.any():
            fresh = self._episodes.initial(int(begin.sum()), self.np_random, {})
            rows = torch.from_numpy((begin.cumsum() - 1).clip(0))
            after = where(torch.from_numpy(begin), take(fresh, rows), after)
            for name, value in self._episodes.info(after).items():
                info[name] = np.where(begin, value, info.get(name, value))
                info[f"_{name}"] = begin | fired
        self._state, self._info = after, info
        return self._episodes.game.observe(after).numpy(), rewards, ended, np.zeros_like(ended), dict(info)

    def render(self) -> tuple[Any, ...] | None:
        """A str or an array [height, width, 3] uint8 of each: the last shot, or the target before it."""
        if self._state is None:
            raise ResetNeeded("call reset() before render()")
        if self.render_mode is None:
            gymnasium.logger.warn('no render mode was chosen; make it with render_mode="ansi", say')
            return None
        frames = []
        for row in range(self.num_envs):
            known = [name for name in (*BOUNDS, "reachable") if name in self._info and self._info[f"_{name}"][row]]
            info = {name: self._info[name][row].item() for name in known}
            frames.append(_frame(self.render_mode, info, self._episodes.game.trebuchet, []))
        return tuple(frames)

    def _over(self, state: TrebuchetState) -> NDArray[np.bool_]:
        over: NDArray[np.bool_] = (state.fired >= self._episodes.game.shots).numpy()
        return over


class TrebuchetSiegeEnv(TrebuchetEnv):
    """`TrebuchetSiege-v0`."""

    rules = Siege


class TrebuchetSiegeVectorEnv(TrebuchetVectorEnv):
    """`TrebuchetSiege-v0`."""

    rules = Siege


for _name, _env in (("Trebuchet-v0", "TrebuchetEnv"), ("TrebuchetSiege-v0", "TrebuchetSiegeEnv")):
    gymnasium.register(
        _name,
        entry_point=f"{__name__}:{_env}",
        vector_entry_point=f"{__name__}:{_env.removesuffix('Env')}VectorEnv",
    )
