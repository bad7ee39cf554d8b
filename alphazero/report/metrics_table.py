"""The table of a run's metrics: what each is called, and how TensorBoard, figures, reports and the terminal show it.

A new metric needs one row here. In tags and labels {opponent} stands for the name of an opponent.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from alphazero.report.position_figures import AMBER, BLUE, GREEN, GREY, INK, PLUM


class Curve(NamedTuple):
    """A metric's line in a panel of a figure; the panel is named by its title, a comma and the unit."""

    panel: str
    label: str = ""
    colour: str = BLUE
    style: str = "-"


class Metric(NamedTuple):
    """A row of the table; what is empty is not shown there.

    tag:      of the scalar that is recorded; a regular expression where there are several.
    charts:   of TensorBoard, each behind its category.
    curves:   in the figure of learning and self-play.
    overview: in curves.png.
    line:     in the terminal after an iteration, behind its heading; see `said`.
    column:   of the report's table: a name and a format.
    """

    tag: str
    charts: tuple[str, ...] = ()
    curves: tuple[Curve, ...] = ()
    overview: Curve | None = None
    line: str = ""
    column: str = ""


LOSS, POLICY = "Loss on the replay buffer, nats a sample", "Policy, nats a sample"
STAGES = "Loss by stage of the game, nats a sample; thirds of the buffer by moves left"
BUFFER, CPU_TIME = "Replay buffer, thousand samples", "CPU time, % of self-play and learning"
RESULTS = "Results of self-play, % of games"
WINS, SEATS = "strength: games against {opponent}", "strength: games against {opponent}, by seat"
OUTCOMES = ("win", "draw", "loss")

# fmt: off
ALL_METRICS = (
    Metric("strength/{opponent}/points", ("strength: points against each opponent",),
           overview=Curve("strength", "against {opponent}")),
    Metric("network/{opponent}/points", ("strength: points of the network alone",),
           overview=Curve("strength", "network alone\nagainst {opponent}", style=":")),
    Metric("(strength|network)/alone/.*_(median|95)", ("strength: measures of a game for one",)),
    *(Metric(f"strength/{{opponent}}/{outcome}", (WINS,)) for outcome in OUTCOMES),
    *(Metric(f"strength/{{opponent}}/{outcome}_{s}", (SEATS,)) for s in ("first", "second") for outcome in OUTCOMES),

    Metric("loss/total", ("losses: loss",), (Curve(LOSS, "total", INK),),
           line="learning: loss {number}", column="loss {:.3f}"),
    Metric("loss/policy", ("losses: policy: loss and entropies", "losses: loss"),
           (Curve(LOSS, "policy"), Curve(POLICY, "loss")), Curve("losses", "policy"),
           "learning: policy {number}", "policy {:.3f}"),
    Metric("loss/value", ("losses: loss",), (Curve(LOSS, "value", AMBER),), Curve("losses", "value", AMBER),
           "learning: value {number}", "value {:.3f}"),
    Metric("loss/target_entropy", ("losses: policy: loss and entropies",),
           (Curve(POLICY, "target's\nentropy", style=":"),),
           Curve("losses", "target's entropy:\nthe policy's limit", style=":"),
           "learning: target's entropy {number}", "H target {:.3f}"),
    Metric("loss/policy_entropy", ("losses: policy: loss and entropies",),
           (Curve(POLICY, "network's\nentropy", GREEN, "--"),), column="H network {:.3f}"),
    *(Metric(f"loss_by_stage/{stage}", ("losses: loss by stage of the game",), (Curve(STAGES, stage, colour),))
      for stage, colour in (("opening", BLUE), ("middle", PLUM), ("end", AMBER))),
    Metric("loss/learning_rate", ("losses: learning rate",), (Curve("Learning rate, thousandths"),)),
    Metric("loss/gradient_norm", ("losses: gradient norm",), (Curve("Norm of the gradient, before it is clipped"),)),

    Metric("self_play/positions_per_second", ("self-play: speed: positions",),
           (Curve("Speed of self-play, positions/s"),),
           line="self-play: {number} positions/s", column="moves/s {:,.0f}"),
    Metric("self_play/game_length", ("self-play: length of games and depth of trees",),
           (Curve("Length of games, moves after the opening"),),
           line="self-play: {number} moves after the opening", column="length {:.1f}"),
    Metric("self_play/first_player_wins", ("self-play: results",), (Curve(RESULTS, "first\nplayer wins"),),
           line="self-play: first wins {percent}", column="first wins {:.0%}"),
    Metric("self_play/draws", ("self-play: results",), (Curve(RESULTS, "draws", GREY),),
           line="self-play: draws {percent}", column="draws {:.0%}"),
    Metric("self_play/return", ("self-play: return of a game for one",), line="self-play: {number} a game"),
    Metric("self_play/tree_depth", ("self-play: length of games and depth of trees",),
           (Curve("Depth of the search, deepest edge, mean over moves"),), column="depth {:.2f}"),
    Metric("self_play/simulations", (), (Curve("Simulations, a move of self-play"),)),
    Metric("self_play/cache_hits", ("self-play: share of evaluations from the cache",),
           (Curve("Evaluations from the cache, % of all asked for"),),
           line="self-play: cached {percent}", column="cached {:.0%}"),
    Metric("self_play/simulations_per_second", ("self-play: speed: simulations",),
           (Curve("Speed of self-play, thousand simulations/s"),)),
    Metric("self_play/games", ("self-play: games",)),

    Metric("buffer/window", ("buffer: samples",), (Curve(BUFFER, "window", GREY, ":"),),
           Curve("buffer", "window", GREY, ":")),  # before the samples, which hide it once they fill it
    Metric("buffer/samples", ("buffer: samples",), (Curve(BUFFER, "samples"),), Curve("buffer", "samples"),
           "learning: {number} samples"),
    Metric("buffer/distinct", ("buffer: samples",), (Curve(BUFFER, "distinct", GREEN),),
           Curve("buffer", "distinct positions", GREEN), "learning: {number} distinct"),
    Metric("buffer/staleness", ("buffer: mean age in iterations",)),

    Metric("cluster/worker/[0-9]+_per_second", ("cluster: moves a second, by worker",)),
    Metric("cluster/workers", ("cluster: workers, and tasks that run and wait",), line="cluster: {number} workers"),
    Metric("cluster/in_flight", ("cluster: workers, and tasks that run and wait",)),
    Metric("cluster/slowest_per_second", line="cluster: the slowest {number} moves/s"),
    Metric("cluster/fastest_per_second", line="cluster: the fastest {number}"),
    Metric("cluster/restarts", ("cluster: losses so far",), line="cluster: {number} restarts"),
    Metric("cluster/lost_tasks", ("cluster: losses so far",)),
    Metric("cluster/queued", ("cluster: workers, and tasks that run and wait",), line="cluster: {number} tasks wait"),
    Metric("cluster/staleness", ("cluster: age of the networks that played, in iterations",),
           line="cluster: networks {number} iterations old"),
    Metric("cluster/replay_ratio", ("cluster: replay ratio",), line="cluster: replay ratio {number}"),
    Metric("cluster/steps_owed", ("cluster: steps that learning owes",)),
    Metric("cluster/object_store_mb", ("cluster: object store, MB",), line="cluster: object store {number} MB"),
    Metric("cluster/left_out_behind", ("cluster: samples left out",), line="cluster: left out {some} samples: "
           "learning cannot follow (more ranks, or a lower learner.replay_ratio)"),
    Metric("cluster/left_out_stale", ("cluster: samples left out",), line="cluster: left out {some} samples: "
           "their network was too old (cluster.max_staleness)"),

    Metric("time/iteration", ("time: seconds an iteration",), line="iteration: {duration}"),
    Metric("time/core_seconds", line="iteration: CPU {duration} so far"),
    Metric("time/inference", ("time: shares of CPU time",), (Curve(CPU_TIME, "inference"),),
           line="iteration: inference {percent}"),
    Metric("time/tree", ("time: shares of CPU time",), (Curve(CPU_TIME, "tree", GREEN),),
           line="iteration: tree {percent}"),
    Metric("time/learning", ("time: shares of CPU time",), (Curve(CPU_TIME, "learning", AMBER),),
           line="iteration: learning {percent}"),
    Metric("memory/resident_mb", ("time: resident memory, MB",), (Curve("Memory, MB resident"),)),
    Metric("memory/workers_mb", ("time: resident memory, MB",)),
)
# fmt: on


def chart_layout(opponents: Sequence[str]) -> dict[str, dict[str, list[Any]]]:
    """TensorBoard's "custom scalars": charts by category, each with the tags, as regular expressions, of its lines."""
    layout: dict[str, dict[str, list[Any]]] = {}
    titles = dict.fromkeys(title for metric in ALL_METRICS for title in metric.charts)
    for title in titles:
        category, _, name = title.partition(": ")
        tags = [metric.tag for metric in ALL_METRICS if title in metric.charts]
        for opponent in opponents if "{opponent}" in name else [None]:
            one = "[^/]+" if opponent is None else re.escape(opponent)
            chart = ["Multiline", [f"{tag.replace('{opponent}', one)}$" for tag in tags]]
            layout.setdefault(category, {})[name.replace("{opponent}", opponent or "")] = chart
    return layout


def said(heading: str, scalars: Mapping[str, float]) -> list[str]:
    """What the terminal says under a heading of the scalars that are there; of {some} only if it is not 0."""
    lines = [(scalars[metric.tag], metric.line) for metric in ALL_METRICS if metric.tag in scalars]
    return [
        line.removeprefix(f"{heading}: ").format(
            number=number(scalar), some=number(scalar), percent=percent(scalar), duration=duration(scalar)
        )
        for scalar, line in lines
        if line.startswith(f"{heading}: ") and (scalar or "{some}" not in line)
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
