"""The table of a run's metrics: what each is called, and how TensorBoard, figures, reports and the terminal show it.

A new metric needs one row here. In tags and labels {opponent} stands for the name of an opponent.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from alphazero.report.colours import AMBER, BLUE, GREEN, GREY, INK, PLUM


class Curve(NamedTuple):
    """A metric's line in a panel of a figure; the panel is named by its title, a comma and the unit."""

    panel: str
    label: str = ""
    colour: str = BLUE
    style: str = "-"


class Metric(NamedTuple):
    """A row of the table; what is empty is not shown there.

    tag:      of the scalar that is recorded; a regular expression where there are several.
    charts:   of TensorBoard.
    curves:   in the figure of learning and self-play.
    line:     in the terminal after an iteration; see `said`.
    column:   of the report's table: a name and a format.
    overview: in curves.png.
    """

    tag: str
    charts: tuple[str, ...] = ()
    curves: tuple[Curve, ...] = ()
    line: str = ""
    column: str = ""
    overview: Curve | None = None

    @property
    def group(self) -> tuple[str, str]:
        """TensorBoard's category of its charts, and the heading of its line in the terminal."""
        return GROUPS.get(self.tag.partition("/")[0], ("strength", "strength"))


STRENGTH = "Points won against fixed opponents, share of points: 1 for a win, ½ for a draw"
LOSS, POLICY = "Loss on the replay buffer, nats a sample", "Policy, nats a sample"
STAGES = "Loss by stage of the game, nats a sample; thirds of the buffer by moves left"
BUFFER, CPU_TIME = "Replay buffer, thousand samples", "CPU time, % of self-play and learning"
RESULTS, TASKS = "Results of self-play, % of games", "workers, and tasks that run and wait"
OUTCOMES = ("win", "draw", "loss")
ENTROPIES, LENGTHS = "policy: loss and entropies", "length of games and depth of trees"

# fmt: off
GROUPS = {  # by the first part of a tag
    "loss": ("losses", "learning"), "loss_by_stage": ("losses", "learning"), "buffer": ("buffer", "learning"),
    "self_play": ("self-play", "self-play"), "cluster": ("cluster", "cluster"),
    "time": ("time", "iteration"), "memory": ("time", "iteration"),
}
ALL_METRICS = (
    Metric("strength/{opponent}/points", ("points against each opponent",),
           overview=Curve(STRENGTH, "against {opponent}")),
    Metric("network/{opponent}/points", ("points of the network alone",),
           overview=Curve(STRENGTH, "network alone\nagainst {opponent}", style=":")),
    Metric("(strength|network)/alone/.*_(median|95)", ("measures of a game for one",)),
    *(Metric(f"strength/{{opponent}}/{outcome}{seat}", (f"games against {{opponent}}{by}",))
      for seat, by in (("", ""), ("_first", ", by seat"), ("_second", ", by seat")) for outcome in OUTCOMES),

    Metric("loss/total", ("loss",), (Curve(LOSS, "total", INK),), "loss {number}", "loss {:.3f}"),
    Metric("loss/policy", ("loss", ENTROPIES), (Curve(LOSS, "policy"), Curve(POLICY, "loss")),
           "policy {number}", "policy {:.3f}", Curve(LOSS, "policy")),
    Metric("loss/value", ("loss",), (Curve(LOSS, "value", AMBER),),
           "value {number}", "value {:.3f}", Curve(LOSS, "value", AMBER)),
    Metric("loss/target_entropy", (ENTROPIES,), (Curve(POLICY, "target's\nentropy", style=":"),),
           "target's entropy {number}", "H target {:.3f}",
           Curve(LOSS, "target's entropy:\nthe policy's limit", style=":")),
    Metric("loss/policy_entropy", (ENTROPIES,), (Curve(POLICY, "network's\nentropy", GREEN, "--"),),
           column="H network {:.3f}"),
    *(Metric(f"loss_by_stage/{stage}", ("loss by stage of the game",), (Curve(STAGES, stage, colour),))
      for stage, colour in (("opening", BLUE), ("middle", PLUM), ("end", AMBER))),
    Metric("loss/learning_rate", ("learning rate",), (Curve("Learning rate, thousandths"),)),
    Metric("loss/gradient_norm", ("gradient norm",), (Curve("Norm of the gradient, before it is clipped"),)),

    Metric("self_play/positions_per_second", ("speed: positions",), (Curve("Speed of self-play, positions/s"),),
           "{number} positions/s", "moves/s {:,.0f}"),
    Metric("self_play/game_length", (LENGTHS,), (Curve("Length of games, moves after the opening"),),
           "{number} moves after the opening", "length {:.1f}"),
    Metric("self_play/first_player_wins", ("results",), (Curve(RESULTS, "first\nplayer wins"),),
           "first wins {percent}", "first wins {:.0%}"),
    Metric("self_play/draws", ("results",), (Curve(RESULTS, "draws", GREY),), "draws {percent}", "draws {:.0%}"),
    Metric("self_play/return", ("return of a game for one",), line="{number} a game"),
    Metric("self_play/tree_depth", (LENGTHS,), (Curve("Depth of the search, deepest edge, mean over moves"),),
           column="depth {:.2f}"),
    Metric("self_play/simulations", (), (Curve("Simulations, a move of self-play"),)),
    Metric("self_play/cache_hits", ("share of evaluations from the cache",),
           (Curve("Evaluations from the cache, % of all asked for"),), "cached {percent}", "cached {:.0%}"),
    Metric("self_play/simulations_per_second", ("speed: simulations",),
           (Curve("Speed of self-play, thousand simulations/s"),)),
    Metric("self_play/games", ("games",)),

    Metric("buffer/window", ("samples",), (Curve(BUFFER, "window", GREY, ":"),),
           overview=Curve(BUFFER, "window", GREY, ":")),  # before the samples, which hide it once they fill it
    Metric("buffer/samples", ("samples",), (Curve(BUFFER, "samples"),), "{number} samples",
           overview=Curve(BUFFER, "samples")),
    Metric("buffer/distinct", ("samples",), (Curve(BUFFER, "distinct", GREEN),), "{number} distinct",
           overview=Curve(BUFFER, "distinct positions", GREEN)),
    Metric("buffer/staleness", ("mean age in iterations",)),

    Metric("cluster/worker/[0-9]+_per_second", ("moves a second, by worker",)),
    Metric("cluster/workers", (TASKS,), line="{number} workers"),
    Metric("cluster/in_flight", (TASKS,)),
    Metric("cluster/slowest_per_second", line="the slowest {number} moves/s"),
    Metric("cluster/fastest_per_second", line="the fastest {number}"),
    Metric("cluster/restarts", ("losses so far",), line="{number} restarts"),
    Metric("cluster/lost_tasks", ("losses so far",)),
    Metric("cluster/queued", (TASKS,), line="{number} tasks wait"),
    Metric("cluster/staleness", ("age of the networks that played, in iterations",),
           line="networks {number} iterations old"),
    Metric("cluster/replay_ratio", ("replay ratio",), line="replay ratio {number}"),
    Metric("cluster/steps_owed", ("steps that learning owes",)),
    Metric("cluster/object_store_mb", ("object store, MB",), line="object store {number} MB"),
    Metric("cluster/left_out_behind", ("samples left out",),
           line="left out {some} samples: learning cannot follow (more ranks, or a lower learner.replay_ratio)"),
    Metric("cluster/left_out_stale", ("samples left out",),
           line="left out {some} samples: their network was too old (cluster.max_staleness)"),

    Metric("time/iteration", ("seconds an iteration",), line="{duration}"),
    Metric("time/core_seconds", line="CPU {duration} so far"),
    *(Metric(f"time/{work}", ("shares of CPU time",), (Curve(CPU_TIME, work, colour),), f"{work} {{percent}}")
      for work, colour in (("inference", BLUE), ("rules", PLUM), ("tree", GREEN), ("learning", AMBER))),
    Metric("memory/resident_mb", ("resident memory, MB",), (Curve("Memory, MB resident"),)),
    Metric("memory/workers_mb", ("resident memory, MB",)),
)
# fmt: on


def chart_layout(opponents: Sequence[str]) -> dict[str, dict[str, list[Any]]]:
    """TensorBoard's "custom scalars": charts by category, each with the tags, as regular expressions, of its lines."""
    layout: dict[str, dict[str, list[Any]]] = {}
    for category, name in dict.fromkeys((metric.group[0], name) for metric in ALL_METRICS for name in metric.charts):
        tags = [metric.tag for metric in ALL_METRICS if metric.group[0] == category and name in metric.charts]
        for opponent in opponents if "{opponent}" in name else [""]:
            chart = ["Multiline", [f"{tag.replace('{opponent}', re.escape(opponent) or '[^/]+')}$" for tag in tags]]
            layout.setdefault(category, {})[name.replace("{opponent}", opponent)] = chart
    return layout


def said(heading: str, scalars: Mapping[str, float]) -> list[str]:
    """The terminal's words under a heading about the scalars that are there; of {some} only if it is not 0."""
    lines = [(scalars[m.tag], m.line) for m in ALL_METRICS if m.line and m.group[1] == heading and m.tag in scalars]
    return [
        line.format(number=number(scalar), some=number(scalar), percent=percent(scalar), duration=duration(scalar))
        for scalar, line in lines
        if scalar or "{some}" not in line
    ]


def percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def number(value: float) -> str:
    """Three or four figures, with k or M for thousands and millions."""
    if not math.isfinite(value) or abs(value) < 999.5:
        return f"{value:.3g}"
    if abs(value) < 1e4:
        return f"{value:,.0f}"
    return f"{value / 1e3:.3g} k" if abs(value) < 999_500 else f"{value / 1e6:.3g} M"


def duration(seconds: float) -> str:
    if not math.isfinite(seconds) or seconds < 60:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} min"
