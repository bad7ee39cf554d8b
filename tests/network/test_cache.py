"""The cache: its answers, when it forgets them, and how many evaluations that costs."""

from __future__ import annotations

from collections import deque

import psutil
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from alphazero.config import SearchConfig
from alphazero.game import Discrete, concatenate, take
from alphazero.mcts.evaluator import UniformEvaluator
from alphazero.mcts.search import search
from alphazero.network.cache import CachedEvaluator, with_cache
from games.connect_four import ConnectFour, ConnectFourState
from tests.evaluators import CountingEvaluator, ScrambledEvaluator
from tests.positions import played, random_positions
from tests.stubs import Drift

GAME = ConnectFour()
RANDOM = torch.Generator()


def cached(capacity: int = 4096, salt: int = 0) -> tuple[CachedEvaluator, CountingEvaluator]:
    counting = CountingEvaluator(ScrambledEvaluator(GAME, salt=salt))
    return CachedEvaluator(GAME, counting, capacity=capacity), counting


def different(count: int) -> ConnectFourState:
    """That many different positions."""
    positions = random_positions(GAME, 4 * count, plies=11, seed=0)
    first = {key: index for index, key in reversed(list(enumerate(GAME.key(positions).tolist())))}
    return take(positions, torch.tensor(sorted(first.values())[-count:]))


def test_a_hit_returns_what_the_evaluator_said_and_costs_no_evaluation() -> None:
    cache, counting = cached()
    positions = different(50)
    expected = ScrambledEvaluator(GAME)(positions)
    for _ in range(2):
        said = cache(positions, RANDOM)
        assert torch.equal(said.logits, expected.logits)
        assert torch.equal(said.value, expected.value)
    assert counting.batches == [50]
    assert (cache.asked, cache.found) == (100, 50)


def test_known_and_new_positions_may_come_mixed() -> None:
    cache, counting = cached()
    positions = different(50)
    cache(take(positions, slice(0, 20)), RANDOM)
    order = torch.randperm(50, generator=torch.Generator().manual_seed(0))
    said, expected = cache(take(positions, order), RANDOM), ScrambledEvaluator(GAME)(take(positions, order))
    assert torch.equal(said.logits, expected.logits)
    assert torch.equal(said.value, expected.value)
    assert counting.batches == [20, 30]


class Wide(ConnectFour):
    """Connect-four, for a network of 1300 outputs."""

    actions = Discrete(1300)


def test_memory_is_bounded_in_bytes_and_taken_as_it_fills() -> None:
    whole, positions = CachedEvaluator(GAME, UniformEvaluator(GAME), capacity=262_144), different(100)
    assert whole.keys.size == 262_144
    whole(positions, RANDOM)  # loads what is compiled
    before = psutil.Process().memory_info().rss
    wide = CachedEvaluator(Wide(), UniformEvaluator(Wide()), capacity=262_144, memory=16 << 20)
    wide(positions, RANDOM)
    assert len(wide.logits) == 1024  # 5 MB
    assert psutil.Process().memory_info().rss - before < 8 << 20
    many = random_positions(GAME, 4096, plies=30, seed=1)  # more than go into so many bytes
    for start in range(0, 4096, 100):
        wide(take(many, slice(start, start + 100)), RANDOM)
    arrays = (wide.keys, wide.versions, wide.clock, wide.rows, wide.logits, wide.values)
    assert 15 << 20 < sum(array.nbytes for array in arrays) <= 16 << 20
    assert wide.used <= len(wide.logits) == wide.keys.size


def test_the_same_position_twice_in_a_batch_gets_one_answer() -> None:
    cache, _ = cached()
    positions = concatenate([played("44"), played("1"), played("44")])
    said, expected = cache(positions, RANDOM), ScrambledEvaluator(GAME)(positions)
    assert torch.equal(said.logits, expected.logits)


def test_new_weights_forget_the_answers_of_the_old_ones() -> None:
    cache, counting = cached()
    positions = different(30)
    cache(positions, RANDOM)
    cache.renew(ScrambledEvaluator(GAME, salt=1))
    said = cache(positions, RANDOM)
    assert torch.equal(said.logits, ScrambledEvaluator(GAME, salt=1)(positions).logits)
    assert counting.evaluations == 30
    assert cache.found == 0


def test_after_new_weights_it_behaves_as_if_it_were_new() -> None:
    """Otherwise a resumed run, whose caches are new, would evaluate in other batches than one that went on."""
    used, _ = cached(capacity=16)
    used(different(21), RANDOM)
    counted = []
    fresh, _ = cached(capacity=16)
    for cache in (used, fresh):
        counting = CountingEvaluator(ScrambledEvaluator(GAME))
        cache.renew(counting)
        for start in range(0, 200, 10):
            cache(take(different(60), torch.arange(start, start + 10) % 37), RANDOM)
        counted.append(counting.batches)
    assert counted[0] == counted[1]


@given(st.lists(st.integers(0, 6), max_size=60))
def test_a_full_bucket_forgets_its_oldest(asked: list[int]) -> None:
    """With room for four, all in one bucket, it is a queue of four; whatever is asked, it holds no more."""
    cache, counting = cached(capacity=4)
    positions, model, misses = different(7), deque[int](maxlen=4), 0
    for number in asked:
        cache(take(positions, slice(number, number + 1)), RANDOM)
        if number not in model:
            misses += 1
            model.append(number)
        assert counting.evaluations == misses
    assert cache.keys.size == 4


@pytest.mark.parametrize("capacity", [1, 4, 64, 1000])
def test_it_never_holds_more_than_its_capacity_or_a_bucket(capacity: int) -> None:
    cache, counting = cached(capacity=capacity)
    positions = different(300)
    cache(positions, RANDOM)
    before = counting.evaluations
    for number in range(299, -1, -1):  # the newest first: a hit moves nothing
        if counting.evaluations == before:
            cache(take(positions, slice(number, number + 1)), RANDOM)
    assert cache.keys.size <= max(capacity, cache.WAYS)
    assert cache.found <= max(capacity, cache.WAYS)


def test_a_large_enough_cache_spreads_positions_well() -> None:
    """n keys in m buckets at random: a bucket's count is Poisson(n / m), and what is over four is lost."""
    cache, counting = cached(capacity=4 * 1024)
    positions = different(2048)
    cache(positions, RANDOM)
    cache(positions, RANDOM)
    # Poisson(2): E[(X - 4)+] = 0.0842 a bucket, so 86 of 1,024 buckets' keys lost, and a bucket that lost one
    # misses all its keys the second time round (each evicts the next): E[X; X > 4] = 0.2865, or 293 keys.
    # Its standard deviation is below sqrt(1024 * E[X^2; X > 4]) = sqrt(1024 * 1.63) = 41.
    missed = counting.evaluations - 2048
    assert missed < 293 + 5 * 41


def test_a_search_finds_the_same_with_a_cache() -> None:
    cache, counting = cached()
    config = SearchConfig(simulations=64)
    roots = random_positions(GAME, 60, plies=19, seed=1)
    plain = ScrambledEvaluator(GAME)
    cached_search = search(cache, GAME, roots, config, torch.Generator().manual_seed(2))
    without = search(plain, GAME, roots, config, torch.Generator().manual_seed(2))
    assert torch.equal(cached_search.visits, without.visits)
    assert torch.equal(cached_search.policy, without.policy)
    assert counting.evaluations == plain.evaluations - cache.found
    assert cache.found > 0


def test_a_game_without_keys_is_refused() -> None:
    with pytest.raises(ValueError, match=r"drift has no `key`.*set self_play\.cache = 0"):
        CachedEvaluator(Drift(), ScrambledEvaluator(Drift()), capacity=10)


def test_there_is_one_cache_around_an_evaluator_however_often_one_is_asked_for() -> None:
    evaluator = ScrambledEvaluator(GAME)
    once = with_cache(GAME, evaluator)
    assert isinstance(once, CachedEvaluator)
    assert with_cache(GAME, once) is once
    assert with_cache(Drift(), evaluator) is evaluator  # has no keys
