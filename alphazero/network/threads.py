"""The network for one player at a terminal, who has all cores: on one thread or on several."""

from __future__ import annotations

import statistics
import time
from collections import deque
from typing import Generic

import torch
from torch import Tensor

from alphazero.game import S
from alphazero.mcts.evaluator import Evaluation, Evaluator
from alphazero.network.inference import OnnxEvaluator

MOST_THREADS = 4  # a position is too little work for more
TRIED = 5  # answers of either choice that are timed, of which the median counts
EVERY = 128  # answers from one trial of the other choice to the next
GAIN = 0.9  # of the time: the other choice takes over below that
# Of the first answers: on one thread (0) or on several (1), and whether they are timed. Threads have to wake up first.
FIRST = [(choice, trial > 0) for choice in (0, 1) for trial in range(1 + TRIED)]


class ThreadsEvaluator(Generic[S]):
    """An evaluator in ONNX Runtime, on one thread or on several. Its answers are the same on any number.

    On an idle machine several threads answer a single position sooner. On a busy one they wait for one another, and
    take twice as long as one. That changes while a game is played, so the other choice is tried now and again.
    """

    def __init__(self, evaluator: OnnxEvaluator[S], threads: int) -> None:
        several = OnnxEvaluator(evaluator.game, evaluator.serialized, module=evaluator.module, threads=threads)
        self.game, self.choices = evaluator.game, (evaluator, several)
        self.times: tuple[deque[float], ...] = tuple(deque(maxlen=TRIED) for _ in self.choices)
        self.taken = 0  # of the two choices
        self.answers = 0

    def __call__(self, states: S, generator: torch.Generator) -> Evaluation:
        return self.predictions(self.game.observe(states))

    def predictions(self, observation: Tensor) -> Evaluation:
        """The network's answers about observations [B, *observation_shape]."""
        place = (self.answers - len(FIRST)) % EVERY
        if self.answers < len(FIRST):
            choice, timed = FIRST[self.answers]
        else:
            choice = 1 - self.taken if place >= EVERY - 2 else self.taken
            timed = place in (EVERY - 3, EVERY - 1)
        started = time.perf_counter()
        evaluation = self.choices[choice].predictions(observation)
        if timed:
            self.times[choice].append(time.perf_counter() - started)
        self.answers += 1
        if self.answers >= len(FIRST) and (self.answers - len(FIRST)) % EVERY == 0:
            here, there = (statistics.median(self.times[one]) for one in (self.taken, 1 - self.taken))
            self.taken = 1 - self.taken if there < GAIN * here else self.taken
        return evaluation


def on_all_cores(evaluator: Evaluator[S], cores: int) -> Evaluator[S]:
    """The evaluator on one or more threads, where ONNX Runtime runs it and there is more than one core."""
    if cores < 2 or not isinstance(evaluator, OnnxEvaluator):
        return evaluator
    return ThreadsEvaluator(evaluator, min(cores, MOST_THREADS))
