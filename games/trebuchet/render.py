"""Drawings of a shot: a figure, an animation in real time, a window, and a sketch in plain text.

    draw(5.0, 45.0, 70.0, target=90.0).savefig("shot.png")
    save_animation("shot.gif", 5.0, 45.0, 70.0, target=90.0)
    print(sketch(5.0, 45.0, 70.0, target=90.0))

They all take the wind in m/s, the angle of release in degrees and the counterweight in kg, and fire. A `shot` is drawn
instead if there is one already; it must be a single one with its trajectory. Without an angle and a
counterweight nothing is fired, and the trebuchet stands loaded. The target is in m from the pivot; `earlier` are the
distances of shots that have been fired at it before. ValueError if these cannot be drawn or fired.
"""

from __future__ import annotations

import math
import time as clock
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.registry import BackendFilter, backend_registry
from matplotlib.figure import Figure
from matplotlib.patches import Polygon, Rectangle
from numpy.typing import NDArray
from PIL import Image

from games.trebuchet.physics import DEFAULT, Shot, Trebuchet
from games.trebuchet.scene import Motion, Scene, at_rest, machine, scene_of
from games.trebuchet.sketch import sketch  # noqa: F401  (it is asked for here)

BLUE, AMBER, GREEN, RED, GREY = "#2f6690", "#d98324", "#4c8c5e", "#b8433c", "#8a9299"
INK, FAINT, WOOD, EARTH, SKY = "#2b3036", "#e3e7ea", "#7a5230", "#cdbf9f", "#f4f8fb"
SIZE, DPI = (10.0, 4.4), 90  # inches; 900 x 396 pixels
RATE = 25  # frames a second
HOLD = 2.0  # s that an animation stays on the last frame
GOOD = 1.0  # m: a miss below is shown in green
STROBE = 0.5  # s between the dots on the path
COLOURS = 128  # of an animation


class Picture:
    """The scene on a figure, of which `at` draws a moment. moving: the artists that it changes."""

    def __init__(self, figure: Figure, scene: Scene) -> None:
        self.scene = scene
        self.motion = None if scene.shot is None else Motion(scene.shot, scene.trebuchet)
        self.end = 0.0 if self.motion is None else self.motion.end
        self.moments = np.zeros(1) if self.motion is None else self.motion.moments
        self.path = np.empty((0, 2)) if self.motion is None else self.motion.ball(self.moments)
        self.moving: list[Any] = []
        of = scene.trebuchet.constants
        figure.set_facecolor("white")
        figure.text(0.02, 0.835, scene.setting(), color=INK, fontsize=11)
        self.headline = self._moves(figure.text(0.02, 0.91, "", color=INK, fontsize=15, fontweight="bold"))
        near = figure.add_axes((0.045, 0.13, 0.265, 0.65))
        reach = 1.08 * (of.l + of.e)
        self._view(near, -reach, reach, of.h + reach)
        wide = figure.add_axes((0.35, 0.13, 0.635, 0.65))
        right = max(self.path[:, 0].max(initial=20.0), scene.target or 0.0, *scene.earlier, 20.0)
        left = min(self.path[:, 0].min(initial=-reach), *scene.earlier, -reach)
        margin = 0.06 * (right - left)
        self._view(wide, left - margin, right + margin, 1.15 * self.path[:, 1].max(initial=10.0))
        for axes, label in ((near, "the machine, m"), (wide, "the flight, m from the pivot")):
            axes.set_xlabel(label, color=GREY, fontsize=9)
        self.high = wide.get_ylim()[1]
        for distance in scene.earlier:
            wide.plot(distance, 0.0, "x", color=GREY, markersize=7, markeredgewidth=1.5, zorder=4)
        if scene.target is not None:
            self._flag(wide, scene.target)
        self._wind(wide)
        for axes in (near, wide):
            axes.plot([-0.35 * of.h, 0.0, 0.35 * of.h], [0.0, of.h, 0.0], color=WOOD, linewidth=2, zorder=3)
        loaded = machine(at_rest(scene.trebuchet), scene.trebuchet)
        if self.motion is not None:
            near.plot(*zip(loaded.tip, loaded.short_tip, strict=True), color=WOOD, linewidth=3, alpha=0.2)
            near.plot(*zip(loaded.short_tip, loaded.weight, strict=True), color=INK, linewidth=1.5, alpha=0.2)
        self.machines = [self._machine(axes, width) for axes, width in ((near, 4.0), (wide, 2.0))]
        self.paths = [self._moves(axes.plot([], [], color=AMBER, linewidth=1.8, zorder=5)[0]) for axes in (near, wide)]
        self.dots = self._moves(wide.plot([], [], "o", color=AMBER, markersize=3.5, zorder=5)[0])
        self.balls = [
            self._moves(axes.plot([], [], "o", color=INK, markersize=size, zorder=7)[0])
            for axes, size in ((near, 7), (wide, 6))
        ]
        self.clock = self._moves(
            wide.text(0.015, 0.95, "", transform=wide.transAxes, va="top", color=GREY, fontsize=10)
        )
        self.miss = [self._moves(artist) for artist in self._miss(wide)]

    def at(self, time: float) -> None:
        """Moves everything to that moment, in s."""
        scene, over = self.scene, time >= self.end
        now = np.array([time])
        turned = at_rest(scene.trebuchet) if self.motion is None else self.motion.turned(now)[0]
        points = machine(turned, scene.trebuchet)
        ball = points.pouch if self.motion is None else self.motion.ball(now)[0]
        flown = scene.shot is not None and bool(scene.shot.released) and time > float(scene.shot.release_time)
        for beam, rope, sling, weight in self.machines:
            beam.set_data(*zip(points.tip, points.short_tip, strict=True))
            rope.set_data(*zip(points.short_tip, points.weight, strict=True))
            sling.set_data(*zip(points.tip, points.pouch, strict=True))
            sling.set_linestyle(":" if flown else "-")
            weight.set_xy(points.weight - np.array([weight.get_width(), weight.get_height()]) / 2)
        path = self.path if over else np.vstack([self.path[self.moments <= time], ball[None]])
        if self.motion is not None:
            dots = self.motion.ball(np.arange(STROBE, min(time, self.end), STROBE))
            self.dots.set_data(dots[:, 0], dots[:, 1])
            self.clock.set_text(f"{min(time, self.end):.2f} s   {ball[0]:.1f} m")
            for line in self.paths:
                line.set_data(path[:, 0], path[:, 1])
        for marker in self.balls:
            marker.set_data([ball[0]], [ball[1]])
        self.headline.set_text(scene.outcome() if over else "")
        for artist in self.miss:
            artist.set_visible(over)

    def _moves(self, artist: Any) -> Any:
        self.moving.append(artist)
        return artist

    def _view(self, axes: Axes, left: float, right: float, top: float) -> None:
        """Sets limits that are at least these, with a metre as long upwards as sideways, and some ground below."""
        box = axes.get_position()
        ratio = box.width * SIZE[0] / (box.height * SIZE[1])
        height = max(top / 0.88, (right - left) / ratio)
        spare = height * ratio - (right - left)
        # Spare width goes to both sides of the machine, and mostly to the right of a flight.
        share = 0.5 if left == -right else 0.15
        left, right = left - share * spare, right + (1 - share) * spare
        axes.set(xlim=(left, right), ylim=(-0.12 * height, 0.88 * height), facecolor=SKY)
        axes.set_aspect("equal")
        axes.fill_between([left, right], -0.12 * height, 0.0, color=EARTH, linewidth=0, zorder=1)
        axes.axhline(0.0, color=WOOD, linewidth=1, zorder=2)
        axes.tick_params(colors=GREY, labelsize=8, length=3)
        axes.locator_params(nbins=7)
        axes.grid(color=FAINT, linewidth=0.6, zorder=0)
        axes.set_axisbelow(True)
        for side in axes.spines.values():
            side.set_color(FAINT)

    def _machine(self, axes: Axes, width: float) -> tuple[Any, Any, Any, Any]:
        side = 0.55 * ((self.scene.counterweight or 50.0) / 100.0) ** (1 / 3) * self.scene.trebuchet.constants.h / 1.5
        return (
            self._moves(axes.plot([], [], color=WOOD, linewidth=width, solid_capstyle="round", zorder=5)[0]),
            self._moves(axes.plot([], [], color=INK, linewidth=width / 3, zorder=5)[0]),
            self._moves(axes.plot([], [], color=INK, linewidth=width / 4, zorder=4)[0]),
            self._moves(axes.add_patch(Rectangle((0, 0), side, side, color=BLUE, zorder=6))),
        )

    def _flag(self, axes: Axes, target: float) -> None:
        pole = 0.13 * self.high
        axes.plot([target, target], [0.0, pole], color=INK, linewidth=1.5, zorder=4)
        corners = [(target, pole), (target + 0.6 * pole, 0.78 * pole), (target, 0.56 * pole)]
        axes.add_patch(Polygon(corners, color=RED, linewidth=0, zorder=4))
        axes.plot(target, 0.0, "o", color=RED, markersize=5, zorder=4)

    def _wind(self, axes: Axes) -> None:
        """An arrow as long as the wind is strong, above the middle of the panel's right half."""
        half = 0.5 * min(abs(self.scene.wind) / 10, 1.5) * 0.2 * math.copysign(1, self.scene.wind)
        axes.text(0.83, 0.95, f"wind {abs(self.scene.wind):.1f} m/s", transform=axes.transAxes, ha="center", va="top",
                  color=BLUE, fontsize=10)  # fmt: skip
        if half:
            style = {"arrowstyle": "-|>", "color": BLUE, "linewidth": 2, "mutation_scale": 14}
            axes.annotate("", (0.83 + half, 0.83), (0.83 - half, 0.83), xycoords="axes fraction", arrowprops=style)

    def _miss(self, axes: Axes) -> list[Any]:
        """A line from the landing to the target, and its length."""
        shot, target = self.scene.shot, self.scene.target
        if shot is None or not shot.landed or target is None:
            return []
        distance, depth = float(shot.distance), -0.035 * self.high
        colour = GREEN if abs(distance - target) < GOOD else RED
        return [
            *axes.plot([distance, target], [depth, depth], color=colour, linewidth=3, zorder=5),
            axes.text((distance + target) / 2, 1.6 * depth, f"{abs(distance - target):.2f} m", ha="center", va="top",
                      color=colour, fontsize=9, fontweight="bold", zorder=6),
        ]  # fmt: skip


def draw(
    wind: float,
    angle: float | None = None,
    counterweight: float | None = None,
    *,
    target: float | None = None,
    trebuchet: Trebuchet = DEFAULT,
    shot: Shot | None = None,
    earlier: Sequence[float] = (),
    time: float | None = None,
) -> Figure:
    """The shot at that time, in s; None: when it has landed. On the left the machine, on the right the flight, in m.

    Made without pyplot, so that no window opens and nothing outlives it.
    """
    figure = Figure(figsize=SIZE, dpi=DPI)
    FigureCanvasAgg(figure)
    picture = Picture(figure, scene_of(wind, angle, counterweight, target, trebuchet, shot, earlier))
    picture.at(picture.end if time is None else time)
    return figure


def pixels(figure: Figure) -> NDArray[np.uint8]:
    """The figure as [height, width, 3] uint8."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[:, :, :3].copy()


def frames(
    wind: float,
    angle: float | None = None,
    counterweight: float | None = None,
    *,
    target: float | None = None,
    trebuchet: Trebuchet = DEFAULT,
    shot: Shot | None = None,
    earlier: Sequence[float] = (),
    rate: int = RATE,
) -> Iterator[NDArray[np.uint8]]:
    """Frames of an animation in real time, [height, width, 3] each, `rate` a second; the last when it has landed."""
    picture = Picture(
        Figure(figsize=SIZE, dpi=DPI), scene_of(wind, angle, counterweight, target, trebuchet, shot, earlier)
    )
    return _frames(picture, rate)


def _frames(picture: Picture, rate: int) -> Iterator[NDArray[np.uint8]]:
    # Everything that does not move is drawn once, and then copied under the rest: ten times as fast.
    canvas = FigureCanvasAgg(picture.headline.get_figure())
    for artist in picture.moving:
        artist.set_animated(True)
    canvas.draw()
    background = canvas.copy_from_bbox(canvas.figure.bbox)
    for time in [*np.arange(math.ceil(picture.end * rate - 1e-9)) / rate, picture.end]:
        canvas.restore_region(background)
        picture.at(time)
        for artist in picture.moving:
            canvas.figure.draw_artist(artist)
        yield np.asarray(canvas.buffer_rgba())[:, :, :3].copy()


def save_animation(
    path: str | Path,
    wind: float,
    angle: float | None = None,
    counterweight: float | None = None,
    *,
    target: float | None = None,
    trebuchet: Trebuchet = DEFAULT,
    shot: Shot | None = None,
    earlier: Sequence[float] = (),
) -> None:
    """Writes a GIF in real time, which stays on its last frame for a while and then begins again.

    ValueError if the name does not end in .gif; OSError if it cannot be written.
    """
    path = Path(path)
    if path.suffix.lower() != ".gif":
        raise ValueError(f"animations are written as GIF, so the name must end in .gif: {path}")
    shown = frames(wind, angle, counterweight, target=target, trebuchet=trebuchet, shot=shot, earlier=earlier)
    partial = path.with_name(path.name + ".partial")
    try:
        with partial.open("wb") as file:  # before the work of drawing: most of what fails, fails here
            images = [Image.fromarray(frame) for frame in shown]
            palette = images[-1].quantize(COLOURS)  # the last one shows everything
            first, *others = (image.quantize(palette=palette, dither=Image.Dither.NONE) for image in images)
            durations = [1000 // RATE] * len(others) + [1000 // RATE + round(1000 * HOLD)]
            first.save(file, "GIF", save_all=True, append_images=others, duration=durations, loop=0)
        partial.replace(path)
    except OSError as error:
        raise OSError(f"the animation cannot be written to {path}: {error.strerror or error}") from error
    finally:
        if partial.is_file():
            partial.unlink()


class Window:
    """A window on the screen. RuntimeError if none can be opened."""

    def __init__(self) -> None:
        backend = matplotlib.get_backend()
        if backend.lower() in backend_registry.list_builtin(BackendFilter.NON_INTERACTIVE):
            raise RuntimeError(
                f"no window can be opened: matplotlib draws with {backend!r}, which has none. Is there a display, a "
                "toolkit such as PyQt6, and no MPLBACKEND set? Otherwise use rgb_array, ansi or save_animation"
            )
        from matplotlib import pyplot

        self._pyplot = pyplot
        self._open()

    def _open(self) -> None:
        self._figure = self._pyplot.figure(figsize=SIZE, dpi=DPI)
        self._pyplot.show(block=False)

    def show(
        self,
        wind: float,
        angle: float | None = None,
        counterweight: float | None = None,
        *,
        target: float | None = None,
        trebuchet: Trebuchet = DEFAULT,
        shot: Shot | None = None,
        earlier: Sequence[float] = (),
        still: bool = False,
    ) -> None:
        """Plays the shot in real time, dropping frames on a slow machine; still: only its end."""
        if not self._pyplot.fignum_exists(self._figure.number):  # closed by hand
            self._open()
        self._figure.clear()
        picture = Picture(self._figure, scene_of(wind, angle, counterweight, target, trebuchet, shot, earlier))
        start = clock.monotonic()
        time = picture.end if still else 0.0
        while True:
            picture.at(time)
            self._figure.canvas.draw_idle()
            self._figure.canvas.start_event_loop(1 / (4 * RATE))
            if time >= picture.end or not self._pyplot.fignum_exists(self._figure.number):
                return
            time = min(clock.monotonic() - start, picture.end)

    def close(self) -> None:
        self._pyplot.close(self._figure)
