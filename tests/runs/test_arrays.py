"""Arrays are checked before they are believed: sizes, types, shapes, ranges, and positions that the game must know."""

from __future__ import annotations

import io
import random
import shutil
import tracemalloc
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from alphazero.config import ReplayConfig
from alphazero.replay import Arrays, Replay, to_arrays
from alphazero.runs.arrays import Form, numbered, read_arrays, read_policies, read_samples
from alphazero.runs.checkpoint import create_run, load_games, load_samples, save_games
from alphazero.runs.files import RunError
from alphazero.selfplay import first_game
from games.tic_tac_toe import TicTacToe
from tests.small_checkpoints import CONFIG, alter, parts, resume, save, sign
from tests.stubs import Drift
from tests.training_runs import CONTINUOUS, run

ONE = {"numbers": Form(np.dtype(np.float32), ("N", 2), 0, 1)}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with a checkpoint of two iterations and a game, to copy."""
    folder, played = tmp_path_factory.mktemp("made") / "run", parts(iterations=2)
    create_run(folder, CONFIG)
    save(folder, played, 2)
    game = first_game(played.streams[0].games_under_way)
    save_games(folder, 1, {0: game, 1: game})
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "run"))


def rewritten(path: Path, change: Callable[[Arrays], object]) -> None:
    """Changes a file's arrays, and writes it as the engine does."""
    with np.load(path, allow_pickle=False) as archive:
        arrays = dict(archive)
    change(arrays)
    np.savez(path, allow_pickle=False, **arrays)


def put(name: str, value: object) -> Callable[[Arrays], None]:
    """Another number at the first place of an array, and of its namesakes in other parts."""

    def change(arrays: Arrays) -> None:
        for one in [one for one in arrays if one == name or one.endswith(f"/{name}")]:
            arrays[one].reshape(-1)[0] = value

    return change


def cast(name: str, dtype: str) -> Callable[[Arrays], None]:
    def change(arrays: Arrays) -> None:
        for one in [one for one in arrays if one == name or one.endswith(f"/{name}")]:
            arrays[one] = arrays[one].astype(dtype)

    return change


def shorten(name: str) -> Callable[[Arrays], None]:
    def change(arrays: Arrays) -> None:
        for one in [one for one in arrays if one == name or one.endswith(f"/{name}")]:
            arrays[one] = arrays[one][:-1]

    return change


def widen(arrays: Arrays) -> None:
    for name in [name for name in arrays if name.endswith("policy")]:
        arrays[name] = np.concatenate([arrays[name], arrays[name]], -1)


FAULTS: list[tuple[Callable[[Arrays], object], str]] = [
    (put("policy", np.nan), "policy in .* has values other than float32 numbers from 0 to"),
    (put("policy", -0.5), "policy in .* has values other"),
    (put("root_value", np.inf), "root_value in .* has values other"),
    (cast("root_value", "float64"), r"root_value in .* is float64 \[.*\], not float32"),
    (cast("policy", "float16"), "policy in .* is float16"),
    (cast("root_value", "complex64"), "root_value in .* is complex64"),
    (shorten("policy"), r"is float32 \[.*\], not float32 \["),
    (widen, r"policy in .* is float32 \[\d+.*, 18\], not float32 \["),
]
OF_SAMPLES = [
    *FAULTS,
    (put("value", np.nan), "value in replay.npz has values"),
    (put("drawn", 2.0), "drawn in replay.npz has values"),
    (put("weight", -1.0), "weight in replay.npz has values"),
    (put("plies_left", -1), "plies_left in replay.npz has values"),
    (put("seen", 1), "seen in replay.npz is less than the"),
    (put("state.turn", 5), "replay.npz holds positions that tic_tac_toe does not know"),
    (put("end.turn", 5), "replay.npz holds positions that tic_tac_toe does not know"),
    (lambda arrays: arrays.pop("weight"), "replay.npz lacks 'weight'"),
    (lambda arrays: arrays.update(more=np.zeros(1)), "replay.npz also holds 'more'"),
]
OF_GAMES = [
    *FAULTS,
    (put("action", 9), "action in .* has values other than int64 numbers from 0 to 8"),
    (put("mover", 2), "mover in .* has values"),
    (put("mover", 1), "has moves of the player whose turn it is not, in stream 0"),
    (put("length", 10**6), "has games of more moves or choices than it holds, in stream 0"),
    (lambda arrays: arrays.pop("0/reward"), "lacks '0/reward'"),
    (lambda arrays: arrays.update({"one/reward": arrays["0/reward"]}), "'one' is no number of a stream"),
]


@pytest.mark.parametrize(("change", "said"), OF_SAMPLES)
def test_samples_that_cannot_be_are_refused(change: Callable[[Arrays], object], said: str, folder: Path) -> None:
    path = folder / "checkpoints" / "000002"
    rewritten(path / "replay.npz", change)
    sign(path)
    with pytest.raises(RunError, match=f"{path} does not fit .*{said}.*; name another checkpoint, or move"):
        load_samples(folder, TicTacToe())
    with pytest.raises(RunError, match=said):
        resume(folder, parts())


@pytest.mark.parametrize(("change", "said"), OF_GAMES)
def test_games_under_way_that_cannot_be_are_refused(
    change: Callable[[Arrays], object], said: str, folder: Path
) -> None:
    """They were given up without a word about the reason, or taken as they were."""
    path = folder / "checkpoints" / "000002"
    rewritten(path / "streams.npz", change)
    sign(path)
    with pytest.raises(RunError, match=f"{path} does not fit .*{said}"):
        resume(folder, parts())


@pytest.mark.parametrize(("change", "said"), [*OF_GAMES, (put("length", 0), "holds no game, or one without a move")])
def test_kept_games_that_cannot_be_are_refused(change: Callable[[Arrays], object], said: str, folder: Path) -> None:
    path = folder / "games" / "000001.npz"
    rewritten(path, change)
    with pytest.raises(RunError, match=f"{path} does not fit .*{said}.*; name another iteration, or move the file"):
        load_games(folder, 1, TicTacToe())


def test_a_flipped_bit_in_kept_games_is_noticed(folder: Path) -> None:
    assert set(load_games(folder, 1, TicTacToe())) == {0, 1}
    alter(folder / "games" / "000001.npz")
    with pytest.raises(RunError, match=r"000001\.npz does not fit"):
        load_games(folder, 1, TicTacToe())


def test_samples_of_before_there_was_resignation_are_read(folder: Path) -> None:
    rewritten(folder / "checkpoints" / "000002" / "replay.npz", lambda arrays: arrays.pop("played_out"))
    found = read_samples(folder / "checkpoints" / "000002" / "replay.npz", TicTacToe())
    replay = Replay(TicTacToe(), ReplayConfig())
    replay.load(found)
    assert replay.samples is not None
    assert torch.equal(replay.samples.played_out, torch.ones(replay.samples.size))


def test_continuous_actions_round_trip(tmp_path: Path) -> None:
    """Their sizes K are those of the file."""
    evaluation = replace(CONTINUOUS.evaluation, games=2)
    run(replace(CONTINUOUS, iterations=1, evaluation=evaluation), tmp_path / "run", game=Drift())
    assert load_samples(tmp_path / "run", Drift()) is not None
    rewritten(tmp_path / "run" / "games" / "000000.npz", shorten("sampled"))
    with pytest.raises(RunError, match=r"sampled in 000000\.npz is float32"):
        load_games(tmp_path / "run", 0, Drift())


def test_policies_of_another_width_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "policies.npz"
    policies = np.full((4, 9), 1 / 9, np.float32)
    np.savez(path, **{"1": policies, "3": policies})
    assert list(read_policies(path, TicTacToe(), 4)) == ["1", "3"]
    for change, said in (
        (lambda arrays: arrays.update({"3": policies[:, :8]}), r"3 in policies.npz is float32 \[4, 8\], not"),
        (put("3", np.nan), "3 in policies.npz has values"),
        (lambda arrays: arrays.update({"03": policies}), "03"),
        (lambda arrays: arrays.update({"last": policies}), "'last' is no number of a stream or an iteration"),
    ):
        rewritten(path, change)
        with pytest.raises(ValueError, match=said):
            read_policies(path, TicTacToe(), 4)
        np.savez(path, **{"1": policies, "3": policies})


# --- Sizes


def member(header: str, data: bytes = b"") -> bytes:
    text = header.encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + data


def archive_of(path: Path, content: bytes, *, compressed: bool = False) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED if compressed else zipfile.ZIP_STORED) as archive:
        archive.writestr("numbers.npy", content)
    return path


@pytest.mark.parametrize(
    ("header", "said"),
    [
        ("{'descr': '<f4', 'fortran_order': False, 'shape': (17592186044416, 2), }", "its size is another"),
        ("{'descr': '<f4', 'fortran_order': False, 'shape': (-1, 2), }", "holds no array numbers"),
        ("{'descr': '|O', 'fortran_order': False, 'shape': (1, 2), }", "holds no array numbers|is object"),
        ("{'descr': '<f4', 'shape': (1, 2), }", "holds no array numbers"),
        ("[" * 100, "holds no array numbers"),
    ],
)
def test_a_header_that_promises_more_is_refused_before_anything_is_allocated(
    header: str, said: str, tmp_path: Path
) -> None:
    path = archive_of(tmp_path / "one.npz", member(header, b"\0" * 8))
    tracemalloc.start()
    with pytest.raises(ValueError, match=said):
        read_arrays(path, lambda names: ONE)
    assert tracemalloc.get_traced_memory()[1] < 1e6
    tracemalloc.stop()


def test_an_archive_that_promises_more_is_refused_before_anything_is_allocated(tmp_path: Path) -> None:
    """64 MB, of which all headers tell and 8 bytes are there."""
    content = member("{'descr': '<f4', 'fortran_order': False, 'shape': (8388608, 2), }", bytes(8))
    path = archive_of(tmp_path / "one.npz", content)
    there, promised = (size.to_bytes(4, "little") for size in (len(content), len(content) - 8 + (1 << 26)))
    assert path.read_bytes().count(there) == 4  # packed and unpacked, beside the content and in the list
    path.write_bytes(path.read_bytes().replace(there, promised))
    tracemalloc.start()
    with pytest.raises(ValueError, match=r"one\.npz promises more than it holds"):
        read_arrays(path, lambda names: ONE)
    assert tracemalloc.get_traced_memory()[1] < 1e6
    tracemalloc.stop()


def test_a_compressed_file_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    """64 kB that would be 64 MB."""
    data = member("{'descr': '<f4', 'fortran_order': False, 'shape': (8388608, 2), }", bytes(1 << 26))
    path = archive_of(tmp_path / "one.npz", data, compressed=True)
    assert path.stat().st_size < 100_000
    tracemalloc.start()
    with pytest.raises(ValueError, match=r"one\.npz is compressed, and was not made here"):
        read_arrays(path, lambda names: ONE)
    assert tracemalloc.get_traced_memory()[1] < 1e6
    tracemalloc.stop()


def test_a_truth_value_that_is_neither_is_refused(tmp_path: Path) -> None:
    of = {"numbers": Form(np.dtype(bool), (3,))}
    header = "{'descr': '|b1', 'fortran_order': False, 'shape': (3,), }"
    good, bad = (archive_of(tmp_path / f"{data!r}.npz", member(header, data)) for data in (b"\0\1\0", b"\0\7\0"))
    assert read_arrays(good, lambda names: of)["numbers"].tolist() == [False, True, False]
    with pytest.raises(ValueError, match=r"numbers in .* has values other than bool"):
        read_arrays(bad, lambda names: of)


def test_what_is_no_archive_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "one.npz"
    for content in (b"", b"PK\3\4", b"\x93NUMPY", b"PK\5\6" + bytes(18), member("{}")):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"one\.npz (is no file of arrays|lacks 'numbers')"):
            read_arrays(path, lambda names: ONE)
    with pytest.raises(ValueError, match=r"run is no file$"):
        read_arrays(tmp_path / "run", lambda names: ONE)


def test_no_altered_byte_of_an_archive_changes_what_is_read(tmp_path: Path) -> None:
    """Each byte in turn, in the lists of names and sizes as well; also eight of them, by zeros or at random."""
    path, draw = tmp_path / "two.npz", random.Random(0)
    arrays = {"0": np.arange(3, dtype=np.float32), "1": np.ones(2, np.float32)}
    np.savez(path, allow_pickle=False, **arrays)
    schema = {name: Form(array.dtype, array.shape, 0, 2) for name, array in arrays.items()}
    content = path.read_bytes()
    refused = 0
    for place, byte in enumerate(content):
        for other in (bytes([byte ^ 1]), bytes([byte ^ 0x27]), draw.randbytes(1), bytes(8), draw.randbytes(8)):
            path.write_bytes((content[:place] + other + content[place + len(other) :])[: len(content)])
            try:
                found = read_arrays(path, lambda names: {name: schema.get(name, schema["0"]) for name in names})
            except ValueError:
                refused += 1
            else:
                assert found.keys() == arrays.keys(), (place, other)
                assert all(np.array_equal(found[name], array) for name, array in arrays.items()), (place, other)
    assert refused > len(content)


def test_two_arrays_of_one_name_are_refused(tmp_path: Path) -> None:
    content = io.BytesIO()
    np.save(content, np.zeros((1, 2), np.float32))
    with zipfile.ZipFile(tmp_path / "one.npz", "w") as archive:
        archive.writestr("numbers.npy", content.getvalue())
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("numbers.npy", content.getvalue())
    with pytest.raises(ValueError, match="holds several arrays of one name"):
        read_arrays(tmp_path / "one.npz", lambda names: ONE)


def test_arrays_of_fortran_order_are_read(tmp_path: Path) -> None:
    array = np.asfortranarray(np.random.default_rng(1).random((3, 2), np.float32))
    np.savez(tmp_path / "one.npz", numbers=array)
    np.testing.assert_array_equal(read_arrays(tmp_path / "one.npz", lambda names: ONE)["numbers"], array)


def test_numbered_parts_have_their_numbers_in_front() -> None:
    game = first_game(parts(iterations=1).streams[0].games_under_way)
    assert set(numbered({3: to_arrays(game)})) == {f"3/{name}" for name in to_arrays(game)}
