"""One process that evaluates for several: each gets the answers to its own questions, in a shared batch if it can."""

from __future__ import annotations

import threading
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch

from alphazero.config import NetworkConfig
from alphazero.network.inference import OnnxEvaluator
from benchmarks import shared_inference
from benchmarks.shared_inference import GAME, evaluate_for, exported
from tests.positions import random_positions


def test_answers_are_those_of_an_evaluator_of_its_own_in_one_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    model = exported(NetworkConfig(kind="dense", blocks=1, width=8))
    batches: list[int] = []

    class Counted(onnxruntime.InferenceSession):
        def run(self, names: list[str], inputs: dict[str, np.ndarray], *more: Any) -> Any:
            batches.append(len(inputs["observation"]))
            return super().run(names, inputs, *more)

    def one_at_first(askers: list[Connection], timeout: float | None = None) -> list[Any]:
        """As if the second asked a little later."""
        ready = wait(askers, timeout)
        return ready[:1] if timeout is None else ready

    own = OnnxEvaluator(GAME, model)
    monkeypatch.setattr(shared_inference, "wait", one_at_first)
    monkeypatch.setattr(onnxruntime, "InferenceSession", Counted)
    pipes = [Pipe() for _ in range(2)]
    states = [random_positions(GAME, count, plies=12, seed=count) for count in (3, 5)]

    def ask(number: int) -> None:
        pipes[number][0].send(("dense", 1, GAME.observe(states[number]).numpy()))

    def serve() -> None:
        with pytest.raises(EOFError):  # it ends with those it works for
            evaluate_for([there for _, there in pipes], {"dense": model})

    ask(0)
    ask(1)
    server = threading.Thread(target=serve, daemon=True)
    server.start()
    for asking in ((0, 1), (1,)):  # together, then one alone, who does not wait for the other for long
        for number in asking:
            answer = pipes[number][0].recv()
            expected = own(states[number], torch.Generator())
            for found, wanted in zip(answer, expected[:2], strict=True):
                np.testing.assert_allclose(found, wanted, atol=1e-5)
        if len(asking) == 2:
            ask(1)
    assert batches == [3 + 5, 5]
    for here, _ in pipes:
        here.close()
    server.join(timeout=60)
    assert not server.is_alive()
    for _, there in pipes:
        there.close()
