"""The table of a run's metrics: what each is called, and how TensorBoard, figures, reports and the terminal show it.

A new metric needs one row here. In tags and labels {opponent} stands for the name of an opponent.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping
from itertools import groupby
from typing import Any, NamedTuple

from alphazero.report.colours import AMBER, BLUE, GREEN, GREY, INK, PLUM
from alphazero.runs.metrics import opponents_of


class Curve(NamedTuple):
    """A metric's line in a panel of a figure; the panel is named by its title, a comma and the unit."""

    panel: str
    label: str = ""
    colour: str = BLUE
    style: str = "-"


class Metric(NamedTuple):
    """A row of the table; what is empty is not shown there.

    tag:      of the scalar that is recorded; a regular expression where there are several.
    meaning:  the scalar in words, with its unit.
    charts:   of TensorBoard.
    curves:   in the figure of learning and self-play.
    line:     in the terminal after an iteration; see `said`.
    column:   of the report's table: a name and a format.
    overview: in curves.png.
    """

    tag: str
    meaning: str
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
MEAN_POINTS = "strength/points"
OUTCOMES = ("win", "draw", "loss")
ENTROPIES, LENGTHS = "policy: loss and entropies", "length of games and depth of trees"

# fmt: off
GROUPS = {  # by the first part of a tag
    "loss": ("losses", "learning"), "loss_by_stage": ("losses", "learning"), "buffer": ("buffer", "learning"),
    "self_play": ("self-play", "self-play"), "cluster": ("cluster", "cluster"),
    "time": ("time", "iteration"), "memory": ("time", "iteration"),
}
ALL_METRICS = (
    Metric(MEAN_POINTS, "the agent's points when it was measured last, mean over its opponents: share of the points "
           "in a game for two, a draw as half a win; reward in a game for one",
           ("points, mean over opponents",)),
    Metric("strength/alone/points", "the agent's mean reward a game"),
    Metric("network/alone/points", "mean reward a game of the network alone, which plays its likeliest action"),
    Metric("strength/{opponent}/points", "the agent's share of the points against {opponent}; a draw is half a win",
           ("points against each opponent",), overview=Curve(STRENGTH, "against {opponent}")),
    Metric("network/{opponent}/points",
           "share of the points against {opponent} of the network alone: its likeliest action, no search",
           ("points of the network alone",), overview=Curve(STRENGTH, "network alone\nagainst {opponent}", style=":")),
    Metric("(strength|network)/alone/.*_(median|95)",
           "the game's own measure at the end of a game: the median, or the 95th percentile, over games",
           ("measures of a game for one",)),
    *(Metric(f"strength/{{opponent}}/{outcome}{seat}", f"share of games against {{opponent}} that the agent {did}",
             (f"games against {{opponent}}{by}",))
      for seat, by, moving in (("", "", ""), ("_first", ", by seat", " as the one who moves first"),
                               ("_second", ", by seat", " as the one who moves second"))
      for outcome, did in ((o, d + moving) for o, d in zip(OUTCOMES, ("won", "drew", "lost"), strict=True))),

    Metric("tuning/.*", "what a tuning compares its trials by, after each quarter of the trial",
           ("what the tuning compares",)),

    Metric("loss/total", "the loss that learning lowers: the policy's, learner.value_weight times the value's, and "
           "network.end_weight times the end's, network.soft_policy_weight times the soft policy's",
           ("loss",), (Curve(LOSS, "total", INK),), column="loss {:.3f}"),
    Metric("loss/policy",
           "cross-entropy of the search's improved policy and the network's, nats a sample; of continuous actions "
           "that of densities, which falls below 0 as the policy narrows",
           ("loss", ENTROPIES), (Curve(LOSS, "policy"), Curve(POLICY, "loss")),
           "policy loss {loss}", "policy {:.3f}", Curve(LOSS, "policy")),
    Metric("loss/target_entropy", "entropy of the improved policies, nats a sample: the policy's loss cannot be lower",
           (ENTROPIES,), (Curve(POLICY, "target's\nentropy", style=":"),),
           "at best {number}", "H target {:.3f}",
           Curve(LOSS, "target's entropy:\nthe policy's limit", style=":")),
    Metric("loss/value",
           "loss of the value head, nats a sample, or for `value_head = \"scalar\"` the squared error",
           ("loss",), (Curve(LOSS, "value", AMBER),), "value {number}", "value {:.3f}",
           Curve(LOSS, "value", AMBER)),
    Metric("loss/end", "mean squared error of the last position, as the network foresees it; with `network.end_weight`",
           ("loss",), (Curve(LOSS, "end", PLUM),), column="end {:.3f}"),
    Metric("loss/soft_policy",
           "cross-entropy of the policy at temperature 4 and its head; with `network.soft_policy_weight`",
           ("loss",), (Curve(LOSS, "soft policy", GREEN),), column="soft {:.3f}"),
    Metric("loss/policy_entropy", "entropy of the network's policies, nats a sample",
           (ENTROPIES,), (Curve(POLICY, "network's\nentropy", GREEN, "--"),), column="H network {:.3f}"),
    *(Metric(f"loss_by_stage/{stage}", f"total loss of samples from the {which} of games, nats; by moves left",
             ("loss by stage of the game",), (Curve(STAGES, stage, colour),))
      for stage, which, colour in (("opening", "first third", BLUE), ("middle", "second third", PLUM),
                                   ("end", "last third", AMBER))),
    Metric("loss/learning_rate", "the learning rate of the iteration's last step",
           ("learning rate",), (Curve("Learning rate, thousandths"),)),
    Metric("loss/gradient_norm", "mean norm of the gradient, before it is clipped to learner.max_grad_norm",
           ("gradient norm",), (Curve("Norm of the gradient, before it is clipped"),)),

    Metric("self_play/positions_per_second", "moves of self-play a second of the iteration, over all cores",
           ("speed: positions",), (Curve("Speed of self-play, positions/s"),), "{number} moves/s", "moves/s {:,.0f}"),
    Metric("self_play/game_length", "mean moves of a finished game, without those of its random opening",
           (LENGTHS,), (Curve("Length of games, moves after the opening"),), "{moves} a game", "length {:.1f}"),
    Metric("self_play/first_player_wins", "share of games of self-play that the first player won",
           ("results",), (Curve(RESULTS, "first\nplayer wins"),), "first wins {share}", "first wins {:.0%}"),
    Metric("self_play/draws", "share of games of self-play that were drawn",
           ("results",), (Curve(RESULTS, "draws", GREY),), "draws {share}", "draws {:.0%}"),
    Metric("self_play/decided", "share of moves in games of self-play whose root value was beyond 0.9 for a player",
           ("decided moves",), (Curve("Decided moves of self-play, %"),)),
    Metric("self_play/return", "mean sum of a game's rewards in self-play",
           ("return of a game for one",), line="reward {number} a game"),
    Metric("self_play/cut_off", "games of self-play that self_play.max_moves ended",
           ("games",), line="{number} cut off"),
    Metric("self_play/proven", "share of games of self-play that ended as their outcome was proven",
           ("results",), (Curve(RESULTS, "proven", style=":"),), line="proven {share}"),
    Metric("self_play/resigned", "share of games of self-play in which a player resigned",
           ("results",), (Curve(RESULTS, "resigned", style="--"),), line="resigned {share}"),
    Metric("self_play/wrong_resignations", "of games that self_play.resign_share let go on, share that came out better",
           ("wrong resignations",), (Curve("Wrong resignations, %"),)),
    Metric("self_play/tree_depth", "edges from the root to the deepest node of a search, mean over moves",
           (LENGTHS,), (Curve("Depth of the search, deepest edge, mean over moves"),), column="depth {:.2f}"),
    Metric("self_play/simulations", "simulations of the search for a move of self-play",
           (), (Curve("Simulations, a move of self-play"),)),
    Metric("self_play/cache_hits", "share of evaluations that self-play took from its cache",
           ("share of evaluations from the cache",),
           (Curve("Evaluations from the cache, % of all asked for"),), column="cached {:.0%}"),
    Metric("self_play/simulations_per_second", "simulations a second of the iteration, over all cores",
           ("speed: simulations",), (Curve("Speed of self-play, thousand simulations/s"),)),
    Metric("self_play/games", "games of self-play that ended in the iteration", ("games",)),

    # The window before the samples, which hide it once they fill it.
    Metric("buffer/window", "the most samples that the replay buffer keeps at this time of the run",
           ("samples",), (Curve(BUFFER, "window", GREY, ":"),), overview=Curve(BUFFER, "window", GREY, ":")),
    Metric("buffer/samples", "samples in the replay buffer: one a move of a finished game",
           ("samples",), (Curve(BUFFER, "samples"),), "{number} samples", overview=Curve(BUFFER, "samples")),
    Metric("buffer/distinct", "different positions among the samples",
           ("samples",), (Curve(BUFFER, "distinct", GREEN),), overview=Curve(BUFFER, "distinct positions", GREEN)),
    Metric("buffer/staleness", "mean age of the samples, in iterations", ("mean age in iterations",)),

    Metric("cluster/worker/[0-9]+_per_second", "moves a second of this worker", ("moves a second, by worker",)),
    Metric("cluster/workers", "workers that are alive", (TASKS,), line="{number} workers"),
    Metric("cluster/in_flight", "tasks that workers have at this moment", (TASKS,)),
    Metric("cluster/slowest_per_second", "moves a second of the slowest worker", line="the slowest {number} moves/s"),
    Metric("cluster/fastest_per_second", "moves a second of the fastest worker", line="the fastest {number}"),
    Metric("cluster/restarts", "workers started anew since this start", ("losses so far",), line="{number} restarts"),
    Metric("cluster/lost_tasks", "tasks that were lost with a worker since this start", ("losses so far",)),
    Metric("cluster/queued", "tasks that wait for a worker", (TASKS,), line="{number} tasks wait"),
    Metric("cluster/staleness", "age of the networks that played the newest samples, in iterations",
           ("age of the networks that played, in iterations",), line="networks {number} iterations old"),
    Metric("cluster/replay_ratio", "how often a sample was learned from so far, on average",
           ("replay ratio",), line="replay ratio {number}"),
    Metric("cluster/steps_owed", "steps by which learning is behind self-play", ("steps that learning owes",)),
    Metric("cluster/object_store_mb", "megabytes in Ray's object store",
           ("object store, MB",), line="object store {number} MB"),
    Metric("cluster/left_out_behind", "samples left out because learning was too far behind", ("samples left out",),
           line="left out {some} samples: learning cannot follow (more ranks, or a lower learner.replay_ratio)"),
    Metric("cluster/left_out_stale", "samples left out because an old network had played them", ("samples left out",),
           line="left out {some} samples: their network was too old (cluster.max_staleness)"),

    Metric("time/iteration", "seconds of the iteration, on the wall clock", ("seconds an iteration",),
           line="{number} s"),
    Metric("time/core_seconds", "CPU seconds of self-play and learning, over all cores, since the run's start"),
    *(Metric(f"time/{work}", f"share of the iteration's CPU time that {which} took",
             ("shares of CPU time",), (Curve(CPU_TIME, work, colour),), f"{name} {{share}}")
      for work, name, which, colour in (
          ("inference", "network", "the network in self-play", BLUE),
          ("rules", "rules", "the game's rules in self-play", PLUM),
          ("tree", "tree", "the search's trees", GREEN),
          ("learning", "learning", "learning", AMBER))),
    Metric("memory/resident_mb", "megabytes of memory that this process holds",
           ("resident memory, MB",), (Curve("Memory, MB resident"),)),
    Metric("memory/workers_mb", "megabytes of memory that all workers hold", ("resident memory, MB",)),
)
# fmt: on


def chart_layout(tags: Collection[str]) -> dict[str, dict[str, list[Any]]]:
    """TensorBoard's "custom scalars" for a run with these tags: charts by category, strength first.

    A chart has the tags, as regular expressions, of its lines; one that would be empty is left out.
    """
    layout: dict[str, dict[str, list[Any]]] = {}
    opponents = opponents_of({0: dict.fromkeys(tags, 0.0)})
    for category, name in dict.fromkeys((metric.group[0], name) for metric in ALL_METRICS for name in metric.charts):
        rows = [metric.tag for metric in ALL_METRICS if metric.group[0] == category and name in metric.charts]
        for opponent in opponents if "{opponent}" in name else [""]:
            lines = [f"{row.replace('{opponent}', re.escape(opponent) or '[^/]+')}$" for row in rows]
            if any(re.match(line, tag) for line in lines for tag in tags):
                layout.setdefault(category, {})[name.replace("{opponent}", opponent)] = ["Multiline", lines]
    return layout


def meaning_of(tag: str) -> str:
    """What a scalar is, in words; nothing if it has no row."""
    for metric in ALL_METRICS:
        row = metric.tag.replace("{opponent}", "(?P<opponent>[^/]+)")
        if found := re.fullmatch(rf"{row}(?P<bound>_low|_high)?", tag):
            bound = f"; the {found['bound'][1:]}er end of its 95 % interval" if found["bound"] else ""
            return metric.meaning.format_map(found.groupdict()) + bound
    return ""


def said(heading: str, scalars: Mapping[str, float]) -> list[str]:
    """The terminal's words under a heading about the scalars that are there; of {some} only if it is not 0.

    Shares in a row become one item: `first wins 53, draws 21 %`.
    """
    lines = [(scalars[m.tag], m.line) for m in ALL_METRICS if m.line and m.group[1] == heading and m.tag in scalars]
    items: list[str] = []
    for shares, group in groupby(lines, lambda line: "{share}" in line[1]):
        words = [line.format_map(_words(scalar)) for scalar, line in group if scalar or "{some}" not in line]
        items += [", ".join(words) + " %"] if shares else words
    return items


def _words(scalar: float) -> dict[str, str]:
    """A scalar in the forms that a line may ask for."""
    short = number(scalar)
    return {
        "number": short,
        "some": short,
        "share": f"{100 * scalar:.0f}",
        "moves": f"{short} move{'' if scalar == 1 else 's'}",
        # Only a density can be above 1, and its loss below 0.
        "loss": f"{short} (a log density)" if scalar < 0 else short,
    }


def percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def number(value: float) -> str:
    """Three or four figures, with k or M for thousands and millions."""
    if not math.isfinite(value) or abs(value) < 999.5:
        return f"{value:.3g}"
    if abs(value) < 1e4:
        return f"{value:,.0f}"
    return f"{value / 1e3:.3g} k" if abs(value) < 999_500 else f"{value / 1e6:.3g} M"
