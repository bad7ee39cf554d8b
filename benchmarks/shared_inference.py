"""One process that evaluates for several self-play processes: an experiment of benchmarks/cluster.py.

It waits for all of them at most WAIT, so that they share a batch when they can and do not hold one another up.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from functools import cache, partial
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait

import numpy as np
import onnxruntime
import torch

from alphazero.config import Config, NetworkConfig
from alphazero.game import State
from alphazero.mcts.evaluator import Evaluation
from alphazero.network.architectures import inference_module, make_network, to_onnx
from alphazero.network.inference import OnnxEvaluator
from alphazero.selfplay import SelfPlay
from benchmarks.harness import Report, in_turns, side_by_side
from games.connect_four import ConnectFour

GAME = ConnectFour()
NETWORKS = {"4x32": NetworkConfig(blocks=4, width=32), "5x64": NetworkConfig(blocks=5, width=64)}
BATCHES = (8, 32, 128)
WAIT = 0.001  # seconds that an evaluation waits for a second process to ask


def shared(config: Config, options: argparse.Namespace, report: Report) -> None:
    """Two processes of self-play that ask a third for evaluations, against two that evaluate for themselves."""
    models = {name: exported(network) for name, network in NETWORKS.items()}
    context = get_context("spawn")
    pipes = [context.Pipe() for _ in range(2)]
    context.Process(target=evaluate_for, args=([there for _, there in pipes], models), daemon=True).start()
    play = side_by_side(
        [partial(Streams, config, options, number, models, here) for number, (here, _) in enumerate(pipes)]
    )
    for network in NETWORKS:
        for batch in BATCHES:
            what = f"{network}, {batch} games a worker"
            kinds = {"own": 0, "shared, one thread": 1, "shared, two threads": 2}
            works = {kind: partial(play, network, batch, threads) for kind, threads in kinds.items()}
            speeds = in_turns(works, options.rounds, options.seconds)
            for kind, speed in speeds.items():
                report.speed("shared", f"{what}: {kind}", speed, "samples/s")
            own, *others = (speed.rate for speed in speeds.values())
            report.ratio("shared", f"{what}: the better of shared / own", max(others) / own)


def exported(config: NetworkConfig) -> bytes:
    torch.manual_seed(0)
    return to_onnx(inference_module(make_network(GAME, config)), GAME.observation_shape).SerializeToString()


class Streams:
    """The streams of self-play of one process, for each network, batch and way to evaluate.

    evaluator: the way to the process that evaluates for all.
    """

    def __init__(
        self,
        config: Config,
        options: argparse.Namespace,
        number: int,
        models: dict[str, bytes],
        evaluator: Connection,
    ) -> None:
        self.search = replace(config.search, simulations=options.simulations)
        self.self_play = replace(config.self_play, moves=options.moves)
        self.number, self.evaluator = number, evaluator
        self.own = {network: OnnxEvaluator(GAME, model) for network, model in models.items()}
        self.streams: dict[tuple[str, int, int], SelfPlay] = {}

    def __call__(self, network: str, batch: int, threads: int) -> int:
        """Plays a segment; returns the moves made. threads: of the process that evaluates for all; 0: none does."""
        key = network, batch, threads
        if key not in self.streams:
            self_play = replace(self.self_play, parallel_games=batch)
            self.streams[key] = SelfPlay(GAME, self.search, self_play, seed=0, stream=self.number)
        stream = self.streams[key]
        evaluator = partial(self.ask, network, threads) if threads else self.own[network]
        return stream.play(evaluator, stream.segments).statistics.moves

    def ask(self, network: str, threads: int, states: State, generator: torch.Generator) -> Evaluation:
        self.evaluator.send((network, threads, GAME.observe(states).numpy()))
        return Evaluation(*map(torch.from_numpy, self.evaluator.recv()))


def evaluate_for(askers: list[Connection], models: dict[str, bytes]) -> None:
    """Evaluates what the processes ask, in one batch if several ask within WAIT of one another."""

    @cache
    def session(network: str, threads: int) -> onnxruntime.InferenceSession:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # self-play needs the cores
        return onnxruntime.InferenceSession(models[network], options, providers=["CPUExecutionProvider"])

    while True:
        asking = wait(askers)
        if others := [asker for asker in askers if asker not in asking]:
            asking += wait(others, WAIT)
        asked = [asker.recv() for asker in asking]
        network, threads, _ = asked[0]  # the same for all: contenders take turns
        observations = [observation for *_, observation in asked]
        found = session(network, threads).run(["logits", "value"], {"observation": np.concatenate(observations)})
        places = np.cumsum([len(observation) for observation in observations])[:-1]
        for asker, *answer in zip(asking, *(np.split(part, places) for part in found), strict=True):
            asker.send(answer)
