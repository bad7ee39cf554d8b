"""The replay buffer: its window grows, old samples go, and merging averages equal positions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from alphazero.config import ReplayConfig
from alphazero.game import concatenate, named_fields
from alphazero.replay import Replay, Samples, no_actions
from alphazero.runs.files import save_arrays
from games.tic_tac_toe import TicTacToe
from tests.stubs import Again, AgainState, Drift

GAME = Again()


def samples(piles: list[int], *, first: int = 0) -> Samples:
    """A sample for each pile; `plies_left` numbers them from `first`."""
    count = len(piles)
    number = torch.arange(first, first + count)
    policy = torch.nn.functional.one_hot(number % 3, 3).float()
    return Samples(
        state=AgainState(torch.tensor(piles, dtype=torch.int64), torch.zeros(count, dtype=torch.int8)),
        end=AgainState(torch.zeros(count, dtype=torch.int64), torch.ones(count, dtype=torch.int8)),
        policy=policy,
        value=number / 100,
        outcome=torch.where(number % 2 == 0, 1.0, -1.0),
        drawn=torch.where(number % 4 == 0, 1.0, 0.0),
        root_value=-number / 100,
        plies_left=number.int(),
        iteration=(number // 10).int(),
        weight=torch.ones(count),
        sampled=no_actions(count),
        played_out=torch.ones(count),
    )


@given(st.lists(st.integers(0, 30), max_size=20))
def test_it_keeps_the_newest_within_a_window_that_grows(sizes: list[int]) -> None:
    config = ReplayConfig(window=100, start=20, growth=0.25)
    replay, seen = Replay(GAME, config), 0
    for size in sizes:
        replay.extend(samples([5] * size, first=seen))
        before, seen = seen, seen + size
        window = min(100, int(20 + 0.25 * seen))
        assert replay.window == window
        assert len(replay) <= window
        assert replay.samples is not None
        kept = replay.samples.plies_left.tolist()
        # The newest, in order. A window that grew cannot bring back what was dropped.
        assert kept == list(range(seen - len(kept), seen))
        if before <= 20:
            assert len(kept) == min(seen, window)


def test_the_window_stops_at_its_limit() -> None:
    replay = Replay(GAME, ReplayConfig(window=10, start=4, growth=1.0))
    sizes = []
    for number in range(5):
        replay.extend(samples([5] * 3, first=3 * number))
        sizes.append(len(replay))
    assert sizes == [3, 6, 9, 10, 10]
    assert replay.seen == 15


def test_merging_averages_the_samples_of_a_position() -> None:
    replay = Replay(GAME, ReplayConfig(merge="linear"))
    replay.extend(samples([4, 9, 4, 4]))  # numbers 0, 2 and 3 are of one position
    merged = replay.training_set()
    place = {pile: index for index, pile in enumerate(merged.state.pile.tolist())}
    assert sorted(place) == [4, 9]
    four, nine = place[4], place[9]
    torch.testing.assert_close(merged.policy[four], torch.tensor([2 / 3, 0.0, 1 / 3]))
    torch.testing.assert_close(merged.policy[nine], torch.tensor([0.0, 1.0, 0.0]))
    assert float(merged.value[four]) == pytest.approx((0.00 + 0.02 + 0.03) / 3)
    assert float(merged.outcome[four]) == pytest.approx((1 + 1 - 1) / 3)
    assert float(merged.drawn[four]) == pytest.approx(1 / 3)
    assert float(merged.root_value[nine]) == pytest.approx(-0.01)
    assert (merged.plies_left.dtype, merged.iteration.dtype) == (torch.int32, torch.int32)


@pytest.mark.parametrize(
    ("merge", "weights"), [("linear", [1.0, 3.0]), ("log", [1.0, 1 + np.log2(3)]), ("constant", [1.0, 1.0])]
)
def test_a_merged_samples_weight_grows_as_configured_about_a_mean_of_one(merge: str, weights: list[float]) -> None:
    replay = Replay(GAME, ReplayConfig(merge=merge))  # type: ignore[arg-type]
    replay.extend(samples([4, 9, 4, 4]))
    weight = replay.training_set().weight.double().sort().values
    np.testing.assert_allclose(weight, np.array(weights) / np.mean(weights), rtol=1e-6)


def test_weights_that_samples_have_are_averaged_as_well() -> None:
    replay = Replay(GAME, ReplayConfig(merge="linear"))
    replay.extend(samples([4, 9, 4])._replace(weight=torch.tensor([0.5, 3.0, 1.5])))
    # The mean weight of one position is 1, of the other 3; they are two and one of three samples.
    assert sorted(replay.training_set().weight.tolist()) == pytest.approx([1 * 2 / 1.5, 3 * 1 / 1.5])


def test_of_merged_samples_the_end_is_one_that_was_played_out() -> None:
    """An end by resignation is none that the head for it could learn."""
    replay = Replay(GAME, ReplayConfig(merge="linear"))
    made = samples([4, 9, 4, 4, 9])
    ends = AgainState(torch.arange(5), torch.zeros(5, dtype=torch.int8))
    replay.extend(made._replace(end=ends, played_out=torch.tensor([1.0, 0.0, 1.0, 0.0, 0.0])))
    merged = replay.training_set()
    found = {
        int(pile): (int(end), float(out))
        for pile, end, out in zip(merged.state.pile, merged.end.pile, merged.played_out, strict=True)
    }
    assert found == {4: (2, 1.0), 9: (4, 0.0)}


def test_without_merging_all_samples_are_learned_from() -> None:
    replay = Replay(GAME, ReplayConfig())
    replay.extend(samples([4, 4, 4]))
    assert replay.training_set().size == 3


def test_positions_with_one_pile_and_another_mover_are_not_merged() -> None:
    both = samples([4, 4])
    both = both._replace(state=AgainState(both.state.pile, torch.tensor([0, 1], dtype=torch.int8)))
    replay = Replay(GAME, ReplayConfig(merge="linear"))
    replay.extend(both)
    assert replay.training_set().size == 2


def test_distinct_counts_positions() -> None:
    replay = Replay(GAME, ReplayConfig())
    assert replay.distinct() is None
    replay.extend(samples([4, 9, 4, 4, 10]))
    assert replay.distinct() == 3


def test_arrays_round_trip_through_a_file(tmp_path: Path) -> None:
    replay, other = Replay(GAME, ReplayConfig()), Replay(GAME, ReplayConfig())
    replay.extend(samples([4, 9, 4]))
    save_arrays(tmp_path / "replay.npz", replay.arrays())
    with np.load(tmp_path / "replay.npz", allow_pickle=False) as archive:
        other.load(dict(archive))
    assert other.seen == 3
    assert replay.samples is not None
    assert other.samples is not None
    for mine, theirs in zip(
        (*replay.samples.state, *replay.samples[1:]), (*other.samples.state, *other.samples[1:]), strict=True
    ):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=0)
    other.extend(samples([7], first=3))
    assert len(other) == 4


def test_the_arrays_of_earlier_versions_are_read() -> None:
    """They call plies turns, know no resignation, and the oldest have no sampled actions."""
    replay, other = Replay(GAME, ReplayConfig()), Replay(GAME, ReplayConfig())
    replay.extend(samples([4, 9, 4]))
    arrays = replay.arrays()
    arrays["turns_left"] = arrays.pop("plies_left")
    del arrays["sampled"], arrays["played_out"]
    other.load(arrays)
    assert replay.samples is not None
    assert other.samples is not None
    for name, field in named_fields(other.samples).items():
        assert torch.equal(field, named_fields(replay.samples)[name]), name
    del arrays["turns_left"]
    with pytest.raises(KeyError, match="plies_left"):
        other.load(arrays)


def test_an_empty_buffer_round_trips_and_is_no_training_set() -> None:
    replay = Replay(GAME, ReplayConfig())
    replay.load(Replay(GAME, ReplayConfig()).arrays())
    assert (len(replay), replay.seen) == (0, 0)
    with pytest.raises(ValueError, match="the replay buffer is empty; play before learning"):
        replay.training_set()


def test_another_games_arrays_are_refused() -> None:
    replay = Replay(GAME, ReplayConfig())
    replay.extend(samples([4]))
    with pytest.raises(KeyError, match=r"state\.mine"):
        Replay(TicTacToe(), ReplayConfig()).load(replay.arrays())


def test_merging_a_game_without_keys_names_the_setting() -> None:
    game = Drift()
    one = samples([4])._replace(state=game.initial(1))
    replay = Replay(game, ReplayConfig(merge="log"))
    replay.extend(one)
    assert replay.distinct() is None
    with pytest.raises(ValueError, match=r'drift has no `key`.*set replay\.merge = "none"'):
        replay.training_set()


def test_join_keeps_the_order() -> None:
    joined = concatenate([samples([1, 2]), samples([3], first=2)])
    assert joined.state.pile.tolist() == [1, 2, 3]
    assert joined.plies_left.tolist() == [0, 1, 2]
    assert joined.at(torch.tensor([2, 0])).state.pile.tolist() == [3, 1]


def test_dropped_samples_do_not_stay_in_memory() -> None:
    replay = Replay(GAME, ReplayConfig(window=10, start=10))
    replay.extend(samples([5] * 10_000))
    assert replay.samples is not None
    assert replay.samples.policy.untyped_storage().nbytes() == 15 * 3 * 4  # half as much again is room for more


def test_samples_that_were_read_stay_as_they_were() -> None:
    """So learning and adding may go on together; slow and fast growth, to the window and beyond."""
    replay = Replay(GAME, ReplayConfig(window=40, start=40))
    generator = torch.Generator().manual_seed(1)
    read: list[tuple[Samples, list[int]]] = []
    expected: list[int] = []
    for first in range(0, 3000, 100):
        count = int(torch.randint(1, 50, (), generator=generator))
        replay.extend(samples([first + number for number in range(count)]))
        expected = (expected + [first + number for number in range(count)])[-40:]
        assert replay.samples is not None
        assert replay.samples.state.pile.tolist() == expected
        read.append((replay.samples, expected))
    for kept, values in read:
        assert kept.state.pile.tolist() == values
