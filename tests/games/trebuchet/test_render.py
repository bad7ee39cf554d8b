"""Pictures of shots show things in their places."""

from __future__ import annotations

import math
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

from games.trebuchet import Trebuchet, shoot
from games.trebuchet.physics import DEFAULT
from games.trebuchet.render import Window, draw, frames, pixels, save_animation, sketch
from games.trebuchet.scene import Motion

SHOT = shoot(5.0, 45.0, 70.0, trajectory=True)  # lands at 91.95 m


def columns(text: str) -> dict[int, int]:
    """Where the ruler's marks are, by the metres that stand under them."""
    ground, ruler = text.splitlines()[12:14]
    marks = [column for column, letter in enumerate(ground) if letter in "+X"]
    labels = {}
    for label in ruler.split():
        middle = ruler.index(label) + (len(label) - 1) // 2 + (label[0] == "-")
        labels[int(label)] = min(marks, key=lambda mark: abs(mark - middle))
    return labels


@pytest.mark.parametrize(("target", "wind"), [(85.0, 5.0), (40.0, -6.0)])
def test_a_sketch_has_everything_in_its_column(target: float, wind: float) -> None:
    shot = shoot(wind, 45.0, 70.0, trajectory=True)
    text = sketch(wind, 45.0, 70.0, target=target, shot=shot)
    lines = text.splitlines()
    assert len(lines) <= 16
    assert max(map(len, lines)) <= 78
    assert text.isascii()
    labels = columns(text)
    metres = (max(labels) - 0) / (labels[max(labels)] - labels[0])
    distance = float(shot.distance)
    assert lines[12].index("X") == pytest.approx(labels[0] + distance / metres, abs=1.1)
    assert lines[11].index("|") == pytest.approx(labels[0] + target / metres, abs=1.1)
    assert lines[10].index("P") == lines[11].index("|")
    assert lines[11].index("A") == labels[0]
    assert lines[0].startswith({5.0: "--->", -6.0: "<---"}[wind])
    assert f"{abs(distance - target):.2f} m {'short' if distance < target else 'too far'}" in lines[-1]
    heights = [row for row in range(1, 12) if "." in lines[row]]
    top = (12 - heights[0]) * 2 * metres  # what the highest row reaches up to
    height = Motion(shot, DEFAULT).ball(np.linspace(0, 9, 900))[:, 1].max()
    assert top - 2 * metres * 1.1 <= height <= top * 1.02


def test_a_sketch_of_a_failed_shot() -> None:
    assert sketch(0.0, -60.0, 60.0).splitlines()[-1].endswith("(thrown backwards)")
    assert sketch(2.0, target=50.0).splitlines()[-1] == "loaded"
    stuck = Trebuchet(gravity=1e-3, short_arm=0.01, beam_mass=500.0)
    shot = shoot(0.0, 45.0, 20.0, trebuchet=stuck, trajectory=True)
    assert not shot.released
    assert "the sling never let go" in sketch(0.0, 45.0, 20.0, trebuchet=stuck, shot=shot)
    assert pixels(draw(0.0, 45.0, 20.0, trebuchet=stuck, target=50.0, shot=shot)).shape == (396, 900, 3)


def test_a_figure_is_in_metres_and_shows_the_shot() -> None:
    figure = draw(5.0, 45.0, 70.0, target=98.0, earlier=[60.0])
    near, wide = figure.axes
    for axes in (near, wide):
        box = axes.get_window_extent()
        across, up = (np.ptp(limits) for limits in (axes.get_xlim(), axes.get_ylim()))
        assert box.width / across == pytest.approx(box.height / up, rel=1e-6)  # equal aspect
    paths = [line.get_xydata() for line in wide.lines if len(line.get_xydata()) > 100]
    assert paths[0][-1] == pytest.approx([float(SHOT.distance), 0.0], abs=1e-6)
    texts = [text.get_text() for text in [*figure.texts, *wide.texts]]
    assert any(text.startswith("landed at 92.0 m, 6.05 m short") for text in texts)
    assert "wind +5.0 m/s   angle 45.0°   counterweight 70.0 kg   target 98.0 m" in texts
    assert "6.05 m" in texts
    assert pixels(figure).shape == (396, 900, 3)
    early = draw(5.0, 45.0, 70.0, target=98.0, time=1.0, shot=SHOT)
    assert not any("landed" in text.get_text() for text in early.texts)


def test_an_animation_plays_in_real_time(tmp_path: Path) -> None:
    save_animation(tmp_path / "shot.gif", 5.0, 45.0, 70.0, target=98.0, shot=SHOT)
    assert [path.name for path in tmp_path.iterdir()] == ["shot.gif"]
    assert (tmp_path / "shot.gif").stat().st_size < 1_000_000
    landing = float(SHOT.landing_time)
    with Image.open(tmp_path / "shot.gif") as image:
        assert image.n_frames == math.ceil(25 * landing) + 1
        durations = []
        for frame in range(image.n_frames):
            image.seek(frame)
            durations.append(image.info["duration"])
        assert sum(durations) / 1000 == pytest.approx(landing + 2, abs=0.08)
        assert set(durations[:-1]) == {40}
        assert image.info["loop"] == 0
        last = np.asarray(image.convert("RGB")).astype(float)
    assert np.abs(last - pixels(draw(5.0, 45.0, 70.0, target=98.0, shot=SHOT))).mean() < 8


def test_frames_are_figures_at_their_times() -> None:
    shown = list(frames(5.0, 45.0, 70.0, shot=SHOT, target=98.0, rate=1))
    assert len(shown) == math.ceil(float(SHOT.landing_time)) + 1
    for number in (0, 3):
        whole = pixels(draw(5.0, 45.0, 70.0, shot=SHOT, target=98.0, time=float(number)))
        assert (np.abs(shown[number].astype(int) - whole).max(2) > 30).mean() < 0.002  # the order of drawing differs


def test_shots_that_cannot_be_drawn_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"must end in \.gif: .*shot\.mp4"):
        save_animation(tmp_path / "shot.mp4", 0.0, 45.0, 70.0)
    with pytest.raises(OSError, match=r"cannot be written to .*missing/shot\.gif: No such file"):
        save_animation(tmp_path / "missing" / "shot.gif", 0.0, 45.0, 70.0)
    with pytest.raises(ValueError, match="no trajectory"):
        draw(0.0, 45.0, 70.0, shot=shoot(0.0, 45.0, 70.0))
    with pytest.raises(ValueError, match=r"not a batch of \[2\]"):
        draw(0.0, shot=shoot(torch.zeros(2), 45.0, 70.0, trajectory=True))
    with pytest.raises(ValueError, match="one of the two is missing"):
        draw(0.0, 45.0)
    with pytest.raises(ValueError, match="the target must be a finite number"):
        sketch(0.0, target=math.nan)


def test_a_window_needs_a_backend_that_has_some(monkeypatch: pytest.MonkeyPatch) -> None:
    from matplotlib import pyplot

    pyplot.switch_backend("agg")
    with pytest.raises(RuntimeError, match="no window can be opened: matplotlib draws with 'agg'"):
        Window()

    drawn: list[str] = []

    class Canvas(FigureCanvasAgg):
        def start_event_loop(self, timeout: float = 0) -> None:
            self.draw()
            drawn.append(self.figure.texts[-1].get_text())

    screen: Any = types.ModuleType("screen")
    screen.FigureCanvas = Canvas
    monkeypatch.setitem(sys.modules, "screen", screen)
    pyplot.switch_backend("module://screen")
    try:
        window = Window()
        window.show(9.0, 0.0, 20.0, target=30.0)
        assert len(drawn) > 3
        assert (drawn[0], drawn[-1][:9]) == ("", "landed at")
        drawn.clear()
        window.show(0.0, target=30.0, still=True)
        assert drawn == ["loaded"]
        window.close()
        assert not pyplot.get_fignums()
    finally:
        pyplot.switch_backend("agg")
