"""Self-play gives the same samples from the same seeds, however it is run and resumed."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import torch

from alphazero.network.architectures import inference_module
from alphazero.network.inference import NetworkEvaluators
from alphazero.replay import Samples
from alphazero.selfplay import SelfPlay, stream_generator
from games.connect_four import ConnectFour
from tests.evaluators import ScrambledEvaluator
from tests.networks import trained
from tests.test_selfplay import QUIET, SEARCH, same


def stream_of(number: int, *, seed: int = 5, cache: int = 0) -> SelfPlay:
    config = replace(QUIET, opening_share=0.7, opening_moves=6, cache=cache, temperature_moves=4)
    return SelfPlay(ConnectFour(), SEARCH, config, seed=seed, stream=number)


def test_samples_depend_on_seed_stream_and_segment_alone() -> None:
    evaluator = ScrambledEvaluator(ConnectFour())
    plays = {
        (seed, stream, iteration): stream_of(stream, seed=seed).play(evaluator, iteration)[0]
        for seed, stream, iteration in ((5, 0, 0), (6, 0, 0), (5, 1, 0), (5, 0, 1))
    }
    assert same(plays[5, 0, 0], stream_of(0).play(evaluator, 0)[0])
    policies = [samples.policy for samples in plays.values()]
    assert all(not torch.equal(policies[i], policies[j]) for i in range(4) for j in range(i))


def test_samples_do_not_depend_on_the_number_of_threads() -> None:
    evaluators = NetworkEvaluators(ConnectFour(), engine="onnx")
    module = inference_module(trained("residual", 0))

    def played(threads: int) -> list[list[Samples]]:
        streams, iterations = [stream_of(number, cache=4096) for number in range(3)], []
        with ThreadPoolExecutor(threads) as pool:
            for iteration in range(2):
                tasks = [pool.submit(stream.play, evaluators(module), iteration) for stream in streams]
                iterations.append([task.result()[0] for task in tasks])
        return iterations

    for one, three in zip(played(1), played(3), strict=True):
        assert all(same(a, b) for a, b in zip(one, three, strict=True))


def test_a_resumed_stream_goes_on_as_if_it_had_never_stopped() -> None:
    evaluator = ScrambledEvaluator(ConnectFour())
    stream, resumed = stream_of(0, cache=64), stream_of(0, seed=99, cache=64)
    stream.play(evaluator, 0)
    resumed.load({name: array.copy() for name, array in stream.arrays().items()})
    resumed.seed = stream.seed
    assert same(stream.play(evaluator, 1)[0], resumed.play(evaluator, 1)[0])


def test_a_stream_may_start_from_arrays_also_of_the_version_before(monkeypatch: pytest.MonkeyPatch) -> None:
    evaluator = ScrambledEvaluator(ConnectFour())
    stream = stream_of(0)
    stream.play(evaluator, 0)
    arrays = stream.arrays()
    arrays["turns"] = arrays.pop("segments")
    with monkeypatch.context() as patch:
        patch.setattr(ConnectFour, "initial", lambda *_, **__: pytest.fail("games that are thrown away were started"))
        copy = SelfPlay(ConnectFour(), SEARCH, stream.config, seed=5, stream=0, arrays=arrays)
    assert copy.segments == stream.segments == 1
    copy.skip_to(7)
    assert copy.segments == 7
    assert same(stream.play(evaluator, 1)[0], copy.play(evaluator, 1)[0])


def test_a_cache_changes_no_samples_and_its_hits_are_counted() -> None:
    evaluator = ScrambledEvaluator(ConnectFour())
    plain, plain_counts, _ = stream_of(0).play(evaluator, 0)
    cached, counts, _ = stream_of(0, cache=100_000).play(evaluator, 0)
    assert same(plain, cached)
    assert counts.cache_asked == plain_counts.evaluations
    assert counts.evaluations == counts.cache_asked - counts.cache_found
    assert counts.cache_found > 0
    assert plain_counts.cache_asked == 0


def test_games_of_another_number_are_refused() -> None:
    arrays = stream_of(0).arrays()
    other = SelfPlay(ConnectFour(), SEARCH, replace(QUIET, parallel_games=8), seed=5, stream=0)
    with pytest.raises(ValueError, match="16 games under way, not 8"):
        other.load(arrays)


def test_streams_of_random_numbers_differ_in_every_part_of_their_seed() -> None:
    seeds = [(1,), (1, 0), (0, 1), (1, 0, 0), (1, 0, 1), (1, 1, 0), (2, 0, 0)]
    # SeedSequence pads short seeds with zeros, so sequences of one length are what has to differ.
    drawn = [float(torch.rand((), generator=stream_generator(*seed))) for seed in seeds if len(seed) == 3]
    assert len(set(drawn)) == 4
