"""A sketch of a shot in plain text, for terminals."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from games.trebuchet.physics import DEFAULT, Shot, Trebuchet
from games.trebuchet.scene import Motion, scene_of

WIDTH, HEIGHT = 78, 16  # in characters
TALL = 2.0  # how many times as high as wide a character is
TICKS = [first * 10**power for power in range(9) for first in (1, 2, 5)]  # m, from one label to the next


def sketch(
    wind: float,
    angle: float | None = None,
    counterweight: float | None = None,
    *,
    target: float | None = None,
    trebuchet: Trebuchet = DEFAULT,
    shot: Shot | None = None,
    earlier: Sequence[float] = (),
) -> str:
    """The shot as 16 lines of 78 characters of ASCII: A the trebuchet, . the flight, X the landing, P the target.

    A row stands for as many metres as two columns. Earlier landings are x.
    """
    scene = scene_of(wind, angle, counterweight, target, trebuchet, shot, earlier)
    motion = None if scene.shot is None else Motion(scene.shot, trebuchet)
    path = np.empty((0, 2)) if motion is None else motion.ball(np.linspace(0.0, motion.end, 2000))
    rows = HEIGHT - 5  # above the ground
    xs = [-4.0, 24.0, *path[:, 0], *earlier, *([] if target is None else [target])]
    metres = float(max((max(xs) - min(xs)) / (WIDTH - 4), path[:, 1].max(initial=0.0) / (TALL * (rows - 0.5))))
    left = float(min(xs)) - metres
    sky = [[" "] * WIDTH for _ in range(rows)]  # upwards

    def column(x: float) -> int:
        return round(float(x - left) / metres)

    for x, y in path:
        sky[min(max(int(y / (TALL * metres)), 0), rows - 1)][column(x)] = "."
    ground = ["="] * WIDTH
    for x in earlier:
        ground[column(x)] = "x"
    if scene.shot is not None and scene.shot.landed:
        ground[column(float(scene.shot.distance))] = "X"
    if target is not None:
        sky[0][column(target)], sky[1][column(target)] = "|", "P"
    sky[0][column(0.0)] = "A"
    ruler = [" "] * WIDTH
    tick = next((tick for tick in TICKS if tick > 9 * metres), TICKS[-1])
    for metre in range(tick * math.ceil(left / tick), math.floor(left + metres * WIDTH) + 1, tick):
        label, at = f"{metre}", column(metre)
        start = at - (len(label) - 1) // 2 - (metre < 0)
        if start >= 0 and start + len(label) <= WIDTH and ground[at] == "=":
            ground[at] = "+"
        if start >= 0 and start + len(label) <= WIDTH:
            ruler[start : start + len(label)] = label
    shaft = "-" * math.ceil(min(abs(wind) / 2, 5))
    arrow = "" if not shaft else f"{shaft}>" if wind > 0 else f"<{shaft}"
    setting = scene.setting().replace("°", " deg").replace("   ", ", ")
    lines = [f"{arrow:<6} {setting}" if arrow else setting, *("".join(row) for row in reversed(sky))]
    return "\n".join(line.rstrip() for line in [*lines, "".join(ground), "".join(ruler), scene.outcome()])
