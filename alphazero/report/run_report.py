"""A report on a training run, from its files: tables, figures and a game of its self-play.

The report says what a run lacks; a damaged file is named and spoils nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

from matplotlib.figure import Figure

from alphazero.config import Config
from alphazero.game import Game, map_states
from alphazero.learner import Learner
from alphazero.report.annotated_game import AnnotatedGame
from alphazero.report.buffer_analysis import MOST_MEASURED, analyse, density_figure, parts_figure
from alphazero.report.curves import learning_figure, metrics_alone, strength_curves, strength_figure
from alphazero.report.metrics_table import ALL_METRICS
from alphazero.report.position_figures import png
from alphazero.report.terminal import measured
from alphazero.runs.checkpoint import checkpoints, kept_games, load_games, load_samples, load_weights, read_config
from alphazero.runs.files import CONFIG, METRICS, RunError, clear_errors, write_file
from alphazero.runs.metrics import read_history
from alphazero.runs.trust import allow_network, load_game_of

MOST_ROWS = 12  # of a table over the run
# Columns of the buffer's table, by field of a part.
MEASURES = {
    "total": "loss", "policy_loss": "policy", "value_loss": "value", "divergence": "KL",
    "target_entropy": "H target", "network_entropy": "H network",
}  # fmt: skip
OF_CHOICES = ("divergence", "target_entropy")  # of the choice among sampled actions, where these are continuous
DENSITIES = (
    "Actions are continuous: the policy's loss and H, the entropy of the network's policy, are those of a density, "
    "and can be below 0."
)


class Table(NamedTuple):
    """Rows of text under the columns' names; with `numbers` all columns but the first are flush right."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    numbers: bool = True

    def markdown(self) -> str:
        rule = ["---", *["---:" if self.numbers else "---"] * (len(self.columns) - 1)]
        rows = ([cell.replace("|", r"\|") for cell in cells] for cells in (self.columns, rule, *self.rows))
        return "\n".join("| " + " | ".join(cells) + " |" for cells in rows)


class Section(NamedTuple):
    """A part of the report.

    words:   a paragraph.
    figure:  written as `<name>.png`.
    text:    a longer text in fixed width.
    missing: why the section is empty, if it is.
    damaged: whether that is because a file cannot be read.
    """

    title: str
    name: str
    words: str = ""
    table: Table | None = None
    figure: Figure | None = None
    text: str = ""
    missing: str = ""
    damaged: bool = False

    def markdown(self, *, with_figure: bool) -> str:
        parts = [f"## {self.title}", f"Not in this report: {self.missing}." if self.missing else "", self.words]
        if self.figure is not None and with_figure:
            parts.append(f"![{self.title}]({self.name}.png)")
        if self.table:
            parts.append(self.table.markdown())
        if self.text:
            parts += ["<details><summary>Move by move</summary>", f"```\n{self.text}\n```", "</details>"]
        return "\n\n".join(filter(None, parts))


def report_sections(
    folder: Path,
    *,
    iteration: int | None = None,
    game_iteration: int | None = None,
    stream: int | None = None,
    named: str | None = None,
    network: str | None = None,
) -> list[Section]:
    """The sections of a run's report: what it is, strength, learning, buffer, a game.

    iteration: of the checkpoint whose network is measured; None: the last.
    game_iteration, stream: of the game; None: the last, and the first that there is.
    named, network: the import paths of the run's game and network, where they must be named: see `load_agent`.
    RunError if the folder is no run, one of these must be named, or what is asked for by number is not there.
    """
    config = read_config(folder)
    game = load_game_of(folder / CONFIG, config.game, named=named)
    allow_network(folder / CONFIG, config.network, named=network)
    learner = Learner(game, replace(config.learner, device="cpu"), config.network, seed=0)
    asked_for = {"buffer": iteration is not None, "game": game_iteration is not None or stream is not None}
    sections: list[Section] = []
    for empty, fill in (
        (Section("The run", "run"), partial(run_section, folder, config, learner)),
        (Section("Strength", "strength"), partial(strength_section, folder, learner.game)),
        (Section("Learning and self-play", "learning"), partial(learning_section, folder, learner.game)),
        (Section("Buffer analysis", "buffer"), partial(buffer_section, folder, config, learner, iteration)),
        (Section("A game of self-play", "game"), partial(game_section, folder, learner.game, game_iteration, stream)),
    ):
        try:
            sections.append(fill(empty))
        except RunError as error:
            if asked_for.get(empty.name):
                raise
            sections.append(empty._replace(missing=str(error), damaged=True))
    return sections


def write_report(folder: Path, sections: Sequence[Section], out: Path, *, figures: bool = True) -> Path:
    """Writes report.md and its figures into `out`; returns the path of the former. RunError if it cannot."""
    with clear_errors(out):
        out.mkdir(parents=True, exist_ok=True)
        for section in sections:
            if section.figure is not None and figures:
                write_file(out / f"{section.name}.png", png(section.figure))
        parts = [f"# Report on {folder.resolve().name}", *(each.markdown(with_figure=figures) for each in sections)]
        write_file(out / "report.md", ("\n\n".join(parts) + "\n").encode())
    return out / "report.md"


# ----------------------------------------------------------------------------------- sections


def run_section(folder: Path, config: Config, learner: Learner, section: Section) -> Section:
    """The game, the network and the settings, and how far the run has come."""
    saved = checkpoints(folder)
    parameters = sum(parameter.numel() for parameter in learner.network.parameters())
    network, search, play, learning = config.network, config.search, config.self_play, config.learner
    last: Mapping[str, float] = {}
    with suppress(RunError):  # said where the curves are
        last = next(reversed(read_history(folder / METRICS).values()), last)
    growing = f"{play.first_simulations} growing to " if play.first_simulations else ""
    kind = f"{network.blocks} {'residual blocks' if network.kind == 'residual' else 'dense layers'} of {network.width}"
    if network.own:
        options = ", ".join(f"{name} = {value!r}" for name, value in network.options.items())
        kind = f"`{network.kind}`" + f" ({options})" * bool(options)
    rows = [
        ("game", f"{learner.game.name} (`{config.game}`)"),
        ("iterations", f"{int(saved[-1].name) if saved else 0} of {config.iterations}"),
        *([("budget", f"{config.minutes:g} minutes")] if config.minutes else []),
        ("core-seconds", f"{last['time/core_seconds']:,.0f}" if "time/core_seconds" in last else "not recorded"),
        ("network", f"{kind}, {parameters:,} parameters"),
        ("search", f"{search.algorithm}, {growing}{search.simulations} simulations a move"),
        ("self-play", f"{play.streams} x {play.parallel_games} games at once, {play.moves} moves an iteration"),
        ("openings", f"{play.opening_share:.0%} of games, up to {play.opening_moves} random moves"),
        ("value target", f"TD({play.td_lambda:g})"),
        ("replay buffer", f"up to {config.replay.window:,} samples, merged: {config.replay.merge}"),
        ("learner", f"{learning.optimizer}, batch {learning.batch_size}, learning rate {learning.learning_rate:g}, "
                    f"replay ratio {learning.replay_ratio:g}"),
        ("seed", str(config.seed)),
    ]  # fmt: skip
    return section._replace(table=Table(("", folder.resolve().name), rows, numbers=False))


def strength_section(folder: Path, game: Game, section: Section) -> Section:
    """Points against each opponent; in a game for one rewards, and the game's own metrics."""
    history = read_history(folder / METRICS)
    figure = strength_figure(history, game.metric_units)
    if figure is None:
        return section._replace(missing="metrics.csv has no games against opponents")
    alone, recorded = game.num_players == 1, set().union(*history.values())
    curves = {tag: curve for tag, curve in strength_curves(history).items() if tag in recorded}
    own, show = metrics_alone(history), _reward if alone else _points
    columns, cells = ["iter."], list[Callable[[Mapping[str, float]], str]]()
    for tag, curve in curves.items():
        label, role = curve.label.replace("\n", " "), tag.removesuffix("points")
        columns += [label, *(f"{label}: {name}" for name in own)]
        cells += [partial(show, tag=tag)]
        cells += [partial(_quantiles, tag=role + name, unit=game.metric_units.get(name, "")) for name in own]
    rows = [
        [str(iteration), *(cell(scalars) for cell in cells)]
        for iteration, scalars in history.items()
        if not curves.keys().isdisjoint(scalars)
    ]
    words = "Share of points in %, where a draw is half a win, with its 95 % interval."
    if alone:
        words = "Mean reward of a game, with its 95 % interval."
        words += f" Of {' and '.join(own)}: median, and 95th percentile." if own else ""
    return section._replace(words=words, table=Table(columns, rows), figure=figure)


def learning_section(folder: Path, game: Game, section: Section) -> Section:
    """Losses and self-play over the run, at evenly spaced iterations up to the last."""
    history = read_history(folder / METRICS)
    figure = learning_figure(history)
    if figure is None:
        return section._replace(missing="metrics.csv is not there or has no measures of learning")
    recorded = set().union(*history.values())
    if not game.discrete:
        recorded.discard("loss/target_entropy")
    known = [(m.tag, *m.column.rsplit(" ", 1)) for m in ALL_METRICS if m.column and m.tag in recorded]
    iterations = sorted(history, reverse=True)
    rows = [
        [str(i), *(form.format(history[i][tag]) if tag in history[i] else "–" for tag, _, form in known)]
        for i in reversed(iterations[:: -(-len(iterations) // MOST_ROWS)])
    ]
    words = "Losses and entropies H in nats a sample, means over an iteration; games' length without random openings."
    if not game.discrete:
        words += f" {DENSITIES}"
    return section._replace(words=words, table=Table(("iter.", *(name for _, name, _ in known)), rows), figure=figure)


def buffer_section(folder: Path, config: Config, learner: Learner, iteration: int | None, section: Section) -> Section:
    """The losses of a checkpoint's network on the run's last replay buffer."""
    game, saved = learner.game, {int(path.name): path for path in checkpoints(folder)}
    if iteration is not None and iteration not in saved:
        raise RunError(f"{folder} has no checkpoint {iteration}; it has {', '.join(map(str, saved)) or 'none'}")
    if not any((path / "replay.npz").is_file() for path in saved.values()):
        return section._replace(missing="no checkpoint of the run holds its replay buffer")
    chosen = max(saved) if iteration is None else iteration
    load_weights(saved[chosen], game, learner)
    samples = load_samples(folder, game)
    if samples is None or samples.size == 0:
        return section._replace(missing="the replay buffer is empty")
    parts = analyse(learner, samples, config.replay)
    first, last = int(samples.iteration.min()), int(samples.iteration.max())
    words = f"The averaged network after {chosen} iterations on the samples of iterations {first} to {last}, in nats. "
    words += "KL is the policy's loss less H, the entropy, of its target." if game.discrete else DENSITIES
    if len(parts) > 2:
        words += " The classes by turns left hold about equally many samples."
    if any(part.measured < part.samples for part in parts):
        words += (
            f" The network evaluated at most {MOST_MEASURED:,} samples of each part, drawn at random: "
            f"the standard errors of the losses are at most {max(part.error for part in parts):.3f}."
        )
    measures = {name: title for name, title in MEASURES.items() if game.discrete or name not in OF_CHOICES}
    columns = ["part", "samples", *["positions"] * game.has_key, *measures.values()]
    rows = [
        [part.name, f"{part.samples:,}", *([] if part.positions is None else [f"{part.positions:,}"])]
        + [f"{getattr(part, name):.3f}" for name in measures]
        for part in parts
    ]
    table = Table(columns, rows)
    title = f"{game.name}: the replay buffer, seen by the network of iteration {chosen}"
    figure = (parts_figure if game.discrete else density_figure)(parts, title=title)
    return section._replace(words=words, table=table, figure=figure)


def game_section(folder: Path, game: Game, iteration: int | None, stream: int | None, section: Section) -> Section:
    """A game that the run kept from an iteration's self-play."""
    kept = kept_games(folder)
    if iteration is None and not kept:
        return section._replace(missing="the run kept no games")
    iteration = kept[-1] if iteration is None else iteration
    games = load_games(folder, iteration, game)
    stream = min(games) if stream is None else stream
    if stream not in games:
        there = ", ".join(map(str, games))
        raise RunError(f"{folder} has no game of stream {stream} in iteration {iteration}; there is {there}")
    heading = f"{game.name}, self-play: a game that ended in iteration {iteration}, stream {stream}"
    played, section = games[stream], section._replace(name=f"game_{iteration:06d}_{stream}")
    if game.discrete:
        annotated = AnnotatedGame(game, played, heading)
        return section._replace(words=f"{annotated.summary}.", figure=annotated.figure(), text=annotated.text())
    # Continuous actions have no names to write down, but the game may draw them.
    last = int(played.length[0]) - 1
    state = map_states(lambda field: field[0, last : last + 1], played.states)
    action = played.sampled[0, last, played.action[0, last]]
    text = f"{game.render(state)}\naction {action.tolist()}: reward {float(played.reward[0, last]):.4g}"
    found = [f"a reward of {float(played.reward[0, : last + 1].sum()):.4g} in all"]
    for name, value in game.metrics(game.step(state, action[None]).state).items():
        found.append(f"{name} {measured(float(value), game.metric_units.get(name, ''))}")
    words = f"{heading}: {', '.join(found)}. The figure shows its last move."
    return section._replace(words=words, figure=game.figure(state, action[None]), text=text)


def _points(scalars: Mapping[str, float], tag: str) -> str:
    points = f"{100 * scalars[tag]:.1f}" if tag in scalars else "–"
    interval = [f"{100 * scalars[bound]:.0f}" for bound in (f"{tag}_low", f"{tag}_high") if bound in scalars]
    return f"{points} ({'–'.join(interval)})" if len(interval) == 2 else points


def _reward(scalars: Mapping[str, float], tag: str) -> str:
    """The mean, with its interval where it was recorded."""
    mean = f"{scalars[tag]:.3g}" if tag in scalars else "–"
    interval = [f"{scalars[bound]:.3g}" for bound in (f"{tag}_low", f"{tag}_high") if bound in scalars]
    return f"{mean} ({' to '.join(interval)})" if len(interval) == 2 else mean


def _quantiles(scalars: Mapping[str, float], tag: str, unit: str) -> str:
    return ", ".join(measured(scalars[t], unit) for t in (f"{tag}_median", f"{tag}_95") if t in scalars) or "–"
