"""Measures everything on one GPU, in at most eight minutes: its tests, speeds, peers, overlap and a training.

    benchmarks/gpu.py [tests] [overlap] [training] [search] [profile] [options]      all but profile by default

    tests      those that need a GPU
    overlap    self-play and learning alone and at the same time
    training   configs/connect_four_gpu.toml for four minutes, and the mistakes of what it has learned
    search     search and self-play in connect-four beside mctx with pgx on the same GPU, by network and batch
    profile    where the time of a search goes on the GPU, by kernel

Each part runs in a process of its own, within a limit of time; if one fails, the others run all the same, and the exit
code is 1. All together take no longer than eight minutes. Figures are shown and written as they are measured: gpu.json
and gpu.txt in the folder --out.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple, TextIO

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from alphazero.shell import cli

# isort: split
import torch
from torch import Tensor

from alphazero.arena.solved import ErrorRate, SolvedPositions, load_positions
from alphazero.config import Config, NetworkConfig, SearchConfig, SelfPlayConfig
from alphazero.game import State, map_states
from alphazero.learner import Learner
from alphazero.mcts import cuda_graph
from alphazero.mcts.evaluator import Evaluator, UniformEvaluator
from alphazero.mcts.planning import likeliest
from alphazero.mcts.search import search
from alphazero.network.architectures import InferenceModule, inference_module, make_network
from alphazero.network.engines import best_engine
from alphazero.network.inference import NetworkEvaluators
from alphazero.network.streams import URGENT, own_stream
from alphazero.replay import Samples
from alphazero.runs.configuration import load_config
from alphazero.runs.metrics import read_history
from alphazero.selfplay import SelfPlay, fresh_starts, stream_generator
from alphazero.trainer.session import open_session
from benchmarks.harness import Report, Speed, Work, cpu_seconds, in_turns, machine, one_of, seconds, side_by_side, whole
from games.connect_four import ConnectFour

ROOT = Path(__file__).resolve().parents[1]
GAME = ConnectFour()
RECIPE = ROOT / "configs" / "connect_four_gpu.toml"
POSITIONS = ROOT / "games" / "data" / "connect_four" / "positions.csv"
PROMISED, ALLOWED_MISTAKES = 1.5, 0.016  # times mctx's speed; AlphaZero.jl's mistakes with 600 simulations, about
LIMITS = {"tests": 100, "overlap": 40, "training": 80, "search": 300, "profile": 60}  # seconds, besides --minutes
LIMIT = 475  # of all


class Size(NamedTuple):
    """A network's: blocks and channels."""

    blocks: int
    width: int

    def __str__(self) -> str:
        return f"{self.blocks} x {self.width}"


@cli.option
def size(text: str) -> Size:
    """A network's size, as an option's `type`."""
    blocks, _, width = text.partition("x")
    if not (blocks.isdecimal() and width.isdecimal() and int(blocks) and int(width)):
        raise ValueError(f"{text!r} is no size of a network, such as 4x32: blocks and channels")
    return Size(int(blocks), int(width))


def main() -> int:
    return cli.run(measure)


def measure() -> int:
    parts: dict[str, Part] = {
        "tests": tests, "overlap": overlap, "training": training, "search": searches, "profile": profile,
    }  # fmt: skip
    parser = cli.Parser(description=__doc__)
    parser.add_argument(
        "parts", nargs="*", metavar="part", type=one_of(list(parts), "part"), default=list(parts)[:-1],
        help="any of tests, overlap, training, search, profile",
    )  # fmt: skip
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help="cpu: only to try this script (cuda)")
    parser.add_argument("--out", type=Path, default=Path("gpu"), help="folder of the results (gpu)")
    parser.add_argument("--networks", type=size, nargs="+", default=[Size(4, 32), Size(5, 64), Size(8, 128)],
                        help="blocks x channels (4x32 5x64 8x128)")  # fmt: skip
    parser.add_argument("--batches", type=whole, nargs="+", default=[256, 2048, 16384],
                        help="games at once (256 2048 16384)")  # fmt: skip
    parser.add_argument("--simulations", type=whole,
                        help="simulations a move (32; overlap, training: as configured)")  # fmt: skip
    parser.add_argument("--seconds", type=seconds, default=0.25, help="length of a measurement in each round (0.25)")
    parser.add_argument("--rounds", type=whole, default=3, help="rounds, of which the median is shown (3)")
    parser.add_argument("--minutes", type=seconds, default=4.0, help="training: how long, all in all (4)")
    parser.add_argument("--games", type=whole, help="overlap, training: games at once (as configured)")
    parser.add_argument("--network", type=size, help="overlap, training: blocks x channels (as configured)")
    parser.add_argument("--search", type=whole, default=600, help="training: simulations of the measured agent (600)")
    parser.add_argument("--alone", metavar="PART", help=argparse.SUPPRESS)  # this part alone, in this process
    options = parser.parse_args()
    if options.device == "cuda" and not torch.cuda.is_available():
        parser.error("there is no CUDA GPU here; --device cpu tries this script without one")
    options.out.mkdir(parents=True, exist_ok=True)
    if options.alone:
        parts[options.alone](options, Result(options.out / f"{options.alone}.json", options.alone, options.device))
        return 0
    return run_parts(options)


# Running the parts


def run_parts(options: argparse.Namespace) -> int:
    """Runs each part in a process of its own, and joins what they have written."""
    joined: dict[str, Any] = {"parts": {}}
    limits = LIMITS | {"training": LIMITS["training"] + 60 * options.minutes}
    failed, began = False, time.monotonic()
    with (options.out / "gpu.txt").open("w", encoding="utf-8") as log:
        for part in options.parts:
            say(log, f"\n--- {part}")
            written, started = options.out / f"{part}.json", time.monotonic()
            written.unlink(missing_ok=True)
            status = run_part(part, min(limits[part], LIMIT - (started - began)), log)
            taken = time.monotonic() - started
            failed |= status != "done"
            report = json.loads(written.read_text()) if written.exists() else {}
            written.unlink(missing_ok=True)
            joined["parts"][part] = {"status": status, "seconds": round(taken, 1), **report}
            (options.out / "gpu.json").write_text(json.dumps(joined, indent=2) + "\n")
            say(log, f"--- {part}: {status} after {taken:.0f} s")
    return int(failed)


def run_part(part: str, limit: float, log: TextIO) -> str:
    """Runs this script for one part, passes its output on, and returns how it ended: "done" if all went well."""
    command = [sys.executable, str(Path(__file__).resolve()), *sys.argv[1:], "--alone", part]
    # So that what a peer takes of the GPU's memory is no more than it needs.
    environment = os.environ | {"PYTHONUNBUFFERED": "1", "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
        start_new_session=True,
    )  # fmt: skip
    late = threading.Event()

    def end() -> None:
        late.set()
        os.killpg(process.pid, signal.SIGKILL)  # with the processes that it has started

    timer = threading.Timer(max(0, limit), end)
    timer.start()
    assert process.stdout is not None
    with process.stdout:
        for line in process.stdout:
            say(log, line.rstrip("\n"))
    code = process.wait()
    timer.cancel()
    if late.is_set():
        return f"stopped at its limit of {limit:.0f} s"
    return "done" if code == 0 else f"failed with exit code {code}"


def say(log: TextIO, line: str) -> None:
    print(line, flush=True)
    log.write(f"{line}\n")
    log.flush()


class Result:
    """A part's report, which is shown and written with each measurement."""

    def __init__(self, path: Path, section: str, device: str) -> None:
        here = machine()
        if device == "cuda":
            properties = torch.cuda.get_device_properties(0)
            memory = f"{properties.total_memory / 2**30:.0f} GiB"
            here |= {"gpu": f"{properties.name}, {memory}", "cuda": torch.version.cuda}
            here |= {"cudnn": torch.backends.cudnn.version()}
        self.path, self.section, self.report = path, section, Report(here)
        self.more: dict[str, Any] = {}
        print(", ".join(f"{name} {value}" for name, value in here.items()))
        self.write()

    def speed(self, what: str, speed: Speed, unit: str) -> None:
        self.report.speed(self.section, what, speed, unit)
        self.say(f"{what:44}  {speed.rate:14,.0f} {unit}   {speed.cores:5.1f} cores")

    def ratio(self, what: str, ratio: float, *, promised: float | None = None) -> None:
        self.report.ratio(self.section, what, ratio, promised=promised)
        kept = "" if promised is None else f"   (at least {promised:g}: {'kept' if ratio >= promised else 'not kept'})"
        self.say(f"{what:44}  {ratio:14.2f} times{kept}")

    def note(self, text: str) -> None:
        self.report.notes.append(text)
        self.say(text)

    def add(self, **more: Any) -> None:
        """Figures of other kinds."""
        self.more |= more
        self.write()

    def say(self, text: str) -> None:
        print(text, flush=True)
        self.write()

    def write(self) -> None:
        self.path.write_text(json.dumps(asdict(self.report) | self.more, indent=2) + "\n")


Part = Callable[[argparse.Namespace, Result], None]


# --- tests


def tests(options: argparse.Namespace, result: Result) -> None:
    """The tests that need a GPU; without one they are skipped."""
    names = [
        "tests/mcts/test_cuda_graph.py", "tests/mcts/test_cuda_kernels.py::test_on_a_gpu_they_agree_as_well",
        "tests/network/test_cudnn.py", "tests/network/test_streams.py", "tests/test_selfplay.py::test_a_gpu_plays_too",
        "tests/test_learner.py", "tests/test_recorded_steps.py",
        "tests/game/test_conformance.py::test_sound_games_pass_on_a_gpu",
    ]  # fmt: skip
    how = ["-q", "-rfE", "--tb=short", "--durations=5", "-p", "no:cacheprovider", "-W", "default"]
    done = subprocess.run([sys.executable, "-m", "pytest", *how, *names], cwd=ROOT, check=False)
    result.add(exit_code=done.returncode)
    if done.returncode:
        raise SystemExit(1)


# --- search


def searches(options: argparse.Namespace, result: Result) -> None:
    """Ours beside mctx's, with each network and batch."""
    sizes = [(network, batch) for network in options.networks for batch in options.batches]
    missing = [name for name in ("jax", "mctx", "pgx") if importlib.util.find_spec(name) is None]
    if missing:
        result.note(f"search: without mctx and pgx, since {', '.join(missing)} is missing (extra `peers`)")
    # They compile at the same time, each in its process, before anything is measured.
    peers = {
        key: side_by_side([partial(peer_work, *key, simulations(options), options.device)])
        for key in sizes
        if not missing
    }
    broken: dict[Any, str] = {}
    for key, peer in peers.items():
        try:
            peer()
        except (EOFError, OSError) as error:
            broken[key] = type(error).__name__
            result.note(f"search: mctx with {key[0]}, batch {key[1]} ended ({type(error).__name__}); see above")
    for key in sizes:
        network, batch = key
        cuda_graph.forget()
        evaluator = evaluator_of(module_of(network), options.device)
        contenders: dict[str, Work] = {
            "search": search_work(evaluator, batch, options),
            "self-play": self_play_work(evaluator, batch, options),
            "network alone": network_work(evaluator, batch, options),
        }
        if network == options.networks[0]:
            contenders["search, not recorded"] = search_work(evaluator, batch, options, recorded=False)
            contenders["search, in tensor operations"] = search_work(evaluator, batch, options, compiled=False)
        if key in peers and key not in broken:
            contenders["mctx"] = peers[key]
        speeds = in_turns(contenders, options.rounds, options.seconds)
        for what, speed in speeds.items():
            unit = "evaluations/s" if what == "network alone" else "simulations/s"
            result.speed(f"{network}, batch {batch}: {what}", speed, unit)
        for what in ("search", "self-play") if "mctx" in speeds else ():
            ratio = speeds[what].rate / speeds["mctx"].rate
            result.ratio(f"{network}, batch {batch}: {what} / mctx", ratio, promised=PROMISED)


def simulations(options: argparse.Namespace) -> int:
    return options.simulations or 32


def peer_work(network: Size, batch: int, simulations: int, device: str) -> Work:
    """mctx's, ready to go; runs in a process of its own."""
    import jax

    from benchmarks.peers.mctx_pgx import mctx_work

    found = jax.default_backend()
    if (found == "gpu") != (device == "cuda"):
        raise RuntimeError(f"jax runs on {found}, not on {device}")
    dtype = "bfloat16" if device == "cuda" else "float32"
    work = mctx_work(batch, simulations, module_of(network), dtype)
    work()  # compiles
    return work


def module_of(network: Size) -> InferenceModule:
    torch.manual_seed(0)
    # The head of configs/connect_four_gpu.toml.
    config = NetworkConfig(blocks=network.blocks, width=network.width, head_channels=16, value_width=128)
    return inference_module(make_network(GAME, config))


def evaluator_of(module: InferenceModule, device: str) -> Evaluator:
    """With the engine that self-play takes on the device; on the CPU the one that needs no examples."""
    engine = "torch" if device == "cpu" else best_engine(GAME, NetworkConfig(), device)
    return NetworkEvaluators(GAME, engine=engine, device=device)(module)


def positions(batch: int, device: str) -> State:
    return fresh_starts(GAME, batch, SelfPlayConfig(), stream_generator(0, device=device))


def search_work(evaluator: Evaluator, batch: int, options: argparse.Namespace, **how: Any) -> Work:
    config, roots = SearchConfig(simulations=simulations(options)), positions(batch, options.device)
    generator = stream_generator(0, device=options.device)

    def work() -> int:
        found = search(evaluator, GAME, roots, config, generator, **how)
        assert int(found.visits.sum()) == batch * config.simulations  # waits for the GPU
        return batch * config.simulations

    return work


def self_play_work(evaluator: Evaluator, batch: int, options: argparse.Namespace) -> Work:
    """A few moves in every game: search, play, harvest, restart."""
    moves = max(1, min(16, 32768 // batch))  # those of configs/connect_four_gpu.toml, but no longer than measured
    config = SelfPlayConfig(parallel_games=batch, moves=moves, cache=0, device=options.device)
    stream = SelfPlay(GAME, SearchConfig(simulations=simulations(options)), config, seed=0, stream=0)

    def work() -> int:
        return stream.play(evaluator, stream.segments).statistics.simulations

    return work


def network_work(evaluator: Evaluator, batch: int, options: argparse.Namespace) -> Work:
    states, generator = positions(batch, options.device), stream_generator(0, device=options.device)

    def work() -> int:
        with torch.inference_mode():
            values = [evaluator(states, generator).value for _ in range(8)]
        assert float(values[-1].sum()) > -batch
        return 8 * batch

    return work


# --- overlap


def recipe(options: argparse.Namespace) -> Config:
    """configs/connect_four_gpu.toml on this device, without matches."""
    config = load_config(RECIPE)
    games = options.games or config.self_play.parallel_games
    network = options.network or Size(config.network.blocks, config.network.width)
    play = replace(config.self_play, device=options.device, parallel_games=games)
    if options.simulations:
        config = replace(config, search=replace(config.search, simulations=options.simulations))
        play = replace(play, first_simulations=0)
    return replace(
        config,
        self_play=play,
        network=replace(config.network, blocks=network.blocks, width=network.width),
        learner=replace(config.learner, device=options.device),
        evaluation=replace(config.evaluation, opponents=(), every=0),
    )


def overlap(options: argparse.Namespace, result: Result) -> None:
    """Self-play of one stream and learning: each alone, and both in threads of this process."""
    config = recipe(options)
    learner = Learner(GAME, config.learner, config.network, seed=0)
    evaluator = evaluator_of(learner.weights(), options.device)
    samples = some_samples(config)
    stream = SelfPlay(GAME, config.search, replace(config.self_play, moves=4), seed=0, stream=0)

    def play() -> int:
        with own_stream(options.device):
            return stream.play(evaluator, stream.segments).statistics.moves

    def learn() -> int:
        with own_stream(options.device, URGENT):
            learner.learn(samples, [1e-3] * 16, stream_generator(0))
        return 16

    length = 10 * options.seconds
    alone = [rate([work], length)[0] for work in (play, learn)]
    both = rate([play, learn], length)
    for title, (moves, steps) in (("alone", alone), ("at the same time", both)):
        result.speed(f"self-play, {title}", moves, "positions/s")
        result.speed(f"learning, {title}", steps, "steps/s")
    shares = [there.rate / here.rate for there, here in zip(both, alone, strict=True)]
    result.ratio("self-play at the same time / alone", shares[0])
    result.ratio("learning at the same time / alone", shares[1])
    result.ratio("both: sum of the shares (1: in turns)", sum(shares))


def some_samples(config: Config) -> Samples:
    """What some quick games leave."""
    play = replace(config.self_play, moves=44)  # so many end every game
    stream = SelfPlay(GAME, replace(config.search, simulations=2), play, seed=0, stream=0)
    return stream.play(UniformEvaluator(GAME), 0).samples


def rate(works: list[Work], length: float) -> list[Speed]:
    """The speeds of works that run at the same time in threads, for so many seconds."""
    for work in works:
        work()  # compiles
    speeds: dict[int, Speed] = {}

    def run(number: int, work: Work) -> None:
        units, started, used = 0, time.perf_counter(), cpu_seconds()
        while units == 0 or time.perf_counter() - started < length:
            units += work()
        elapsed = time.perf_counter() - started
        speeds[number] = Speed(units / elapsed, (cpu_seconds() - used) / elapsed)

    threads = [threading.Thread(target=run, args=both) for both in enumerate(works)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [speeds[number] for number in range(len(works))]


# --- training


def training(options: argparse.Namespace, result: Result) -> None:
    """Trains for the minutes, and counts the mistakes in solved positions."""
    config = replace(recipe(options), minutes=options.minutes)
    with TemporaryDirectory() as folder:
        runs = Path(folder)
        started = time.monotonic()
        with open_session(GAME, config, runs / "run") as session:
            session.train()
            weights = session.run.learner.weights()
        trained = time.monotonic() - started
        for name in ("metrics.csv", "agent.onnx", "agent.json"):
            shutil.copy(runs / "run" / name, options.out / name)
    history = read_history(options.out / "metrics.csv")
    last = history[max(history)]
    result.add(iterations=len(history), training_seconds=trained, last=last)
    chosen = ("simulations", "positions_per_second", "learner/steps", "buffer/samples", "left_out", "loss/")
    result.note(f"training: {len(history)} iterations in {trained:.0f} s; in the last one:")
    for tag in [tag for tag in last if any(part in tag for part in chosen)]:
        result.say(f"  {tag:40}  {last[tag]:14,.3f}")
    evaluator = evaluator_of(weights, options.device)
    solved = load_positions(POSITIONS, GAME)
    for budget in (0, 64, options.search):
        started = time.perf_counter()
        found = mistakes(evaluator, solved, replace(config.search, max_depth=42), budget, options.device)
        name = f"{budget} simulations" if budget else "network alone"
        result.add(**{f"mistakes, {name}": {"rate": found.rate, "interval": found.interval}})
        result.note(f"training: {name}: {found}, measured in {time.perf_counter() - started:.1f} s")
    result.ratio(
        f"{ALLOWED_MISTAKES:.1%} / mistakes, {options.search} simulations",
        ALLOWED_MISTAKES / max(1e-9, found.rate),
        promised=1.0,
    )


def mistakes(
    evaluator: Evaluator, solved: SolvedPositions, config: SearchConfig, simulations: int, device: str
) -> ErrorRate:
    """As `solved.mistakes`, of all positions at once on the device. simulations: 0: the network alone."""
    states, generator = map_states(lambda field: field.to(device), solved.states), stream_generator(0, device=device)
    with torch.inference_mode():
        if simulations:
            config = replace(config.without_noise(), simulations=simulations)
            chosen: Tensor = search(evaluator, GAME, states, config, generator).action
        else:
            chosen = likeliest(GAME, states, evaluator(states, generator))
    outcome = solved.outcomes.gather(1, chosen.cpu()[:, None])[:, 0]
    return ErrorRate(len(outcome), int((outcome < solved.outcomes.amax(1)).sum()))


# --- profile


def profile(options: argparse.Namespace, result: Result) -> None:
    """The kernels of a search that take longest, with each network at one batch."""
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as recorded

    batch = options.batches[len(options.batches) // 2]
    kind = "cuda" if options.device == "cuda" else "cpu"
    for network in options.networks:
        evaluator = evaluator_of(module_of(network), options.device)
        work = search_work(evaluator, batch, options)
        work()
        with recorded(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA][: 1 + (kind == "cuda")]) as profiler:
            work()
        table = profiler.key_averages().table(sort_by=f"self_{kind}_time_total", row_limit=25, max_name_column_width=60)
        result.note(f"profile: {network}, batch {batch}\n{table}")


if __name__ == "__main__":
    sys.exit(main())
