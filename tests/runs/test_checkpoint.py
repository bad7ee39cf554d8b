"""Checkpoints: bit for bit, whole or passed over, no code run, nothing left behind, and errors that name the fix."""

from __future__ import annotations

import errno
import json
import os
import pickle
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from alphazero.config import ReplayConfig
from alphazero.learner import Learner
from alphazero.replay import Replay
from alphazero.runs.checkpoint import (
    Progress,
    checkpoints,
    create_run,
    kept_games,
    load_samples,
    load_weights,
    prune_checkpoints,
    prune_games,
    read_config,
    restore,
    verify,
)
from alphazero.runs.files import LIGHT, WHOLE, RunError, save_arrays
from games.connect_four import ConnectFour
from games.tic_tac_toe import TicTacToe
from tests.small_checkpoints import (
    CONFIG,
    alter,
    assert_the_same,
    contents,
    cut,
    files,
    go_on,
    parts,
    resume,
    save,
    sign,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    create_run(tmp_path / "run", CONFIG)
    return tmp_path / "run"


# --- Whole


def test_a_checkpoint_round_trips_bit_for_bit(folder: Path) -> None:
    made, other = parts(iterations=2), parts(seed=2, iterations=1)
    save(folder, made, 2)
    progress, said = resume(folder, other)
    assert progress == Progress(2, 17, 2.5)
    assert said == []
    assert_the_same(contents(made), contents(other))
    assert (other.learner.steps, len(other.replay)) == (made.learner.steps, len(made.replay))


def test_a_resumed_run_goes_on_as_if_it_had_never_stopped(folder: Path) -> None:
    made, other = parts(iterations=2), parts()
    save(folder, made, 2)
    resume(folder, other)
    for one in (made, other):
        go_on(one, 2)
    assert_the_same(contents(made), contents(other))


def test_nothing_is_left_beside_the_files_it_promises(folder: Path) -> None:
    path = save(folder, parts(iterations=1), 1)
    assert {file.name for file in path.iterdir()} == set(WHOLE)
    assert files(folder) == {"config.toml"} | {f"checkpoints/000001/{name}" for name in WHOLE}


def test_saving_an_iteration_again_replaces_it(folder: Path) -> None:
    save(folder, parts(iterations=1), 1)
    made, other = parts(iterations=2), parts()
    save(folder, made, 1)
    resume(folder, other)
    assert_the_same(contents(made), contents(other))


def test_a_checkpoint_of_a_run_that_has_not_played_yet_can_be_resumed(folder: Path) -> None:
    save(folder, parts(), 0)
    assert resume(folder, parts(seed=2))[0].iteration == 0


# --- Damaged


def empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("damage", [cut, alter, empty, Path.unlink], ids=["cut", "altered", "empty", "missing"])
@pytest.mark.parametrize("name", [name for name in WHOLE if name != "state.json"])
def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(name: str, damage: Any, folder: Path) -> None:
    made, other = parts(iterations=1), parts()
    save(folder, made, 1)
    expected = contents(made)
    go_on(made, 1)
    damaged = save(folder, made, 2)
    damage(damaged / name)
    progress, said = resume(folder, other)
    assert progress.iteration == 1
    assert_the_same(contents(other), expected)
    (line,) = said
    assert str(damaged) in line
    assert name in line
    assert line.endswith("; trying the checkpoint before it")


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"3", b'{"format": 1}', b'{"format": 1, "sha256": []}', b'{"format": 1, "sha256": {}}'],
)
def test_a_state_that_is_no_state_is_passed_over_too(content: bytes, folder: Path) -> None:
    made = parts(iterations=1)
    save(folder, made, 1)
    (save(folder, made, 2) / "state.json").write_bytes(content)
    progress, said = resume(folder, parts())
    assert progress.iteration == 1
    assert len(said) == 1


def test_a_state_without_a_field_is_passed_over_too(folder: Path) -> None:
    made = parts(iterations=1)
    save(folder, made, 1)
    path = save(folder, made, 2) / "state.json"
    state = json.loads(path.read_bytes())
    for field in ("game", "steps", "iteration"):
        path.write_text(json.dumps({name: value for name, value in state.items() if name != field}))
        progress, (line,) = resume(folder, parts())
        assert progress.iteration == 1
        assert field in line


def test_no_flipped_bit_of_a_state_is_believed(folder: Path) -> None:
    """Unless it is one of the spaces between what it says."""
    path = save(folder, parts(), 1)
    before = (path / "state.json").read_bytes()
    noticed = 0
    for place in range(len(before)):
        content = bytearray(before)
        content[place] ^= 1 << place % 7
        (path / "state.json").write_bytes(content)
        try:
            verify(path, ["state.json"])
        except RunError:
            noticed += 1
        else:
            assert json.loads(content) == json.loads(before), content[place - 20 : place + 20]
    assert noticed > 0.8 * len(before)


def test_a_state_of_before_has_no_digest_and_is_read(folder: Path) -> None:
    made = parts(iterations=1)
    path = save(folder, made, 1)
    state = json.loads((path / "state.json").read_bytes()) | {"format": 1}
    for missing in ("digest", "seconds"):
        del state[missing]
        (path / "state.json").write_text(json.dumps(state))
        assert resume(folder, parts())[0] == Progress(1, 17, 2.5)


@pytest.mark.parametrize("change", [{"digest": None}, {"format": 1}])
def test_a_state_that_lost_its_digest_is_not_believed(change: dict[str, object], folder: Path) -> None:
    path = save(folder, parts(iterations=1), 1)
    state = json.loads((path / "state.json").read_bytes())
    (path / "state.json").write_text(json.dumps(state | change))
    with pytest.raises(RunError, match="was altered: its digest is not that of what it says"):
        verify(path, ["state.json"])


@pytest.mark.parametrize(
    ("field", "value"),
    [("steps", -1), ("steps", "3"), ("steps", True), ("iteration", 1.5), ("core_seconds", -1), ("core_seconds", 1e308),
     ("game", 3), ("sha256", {"replay.npz": 3}), ("new_samples", 1 << 70), ("more", 1)],
)  # fmt: skip
def test_a_state_that_cannot_be_is_refused_whoever_signed_it(field: str, value: Any, folder: Path) -> None:
    path = save(folder, parts(), 1)
    state = json.loads((path / "state.json").read_bytes())
    (path / "state.json").write_text(json.dumps(state | {field: value}))
    if field != "sha256":
        sign(path)
    with pytest.raises(RunError, match=rf"state\.json is not a checkpoint's state: .*`?{field}"):
        verify(path, ["state.json"])


def test_without_a_whole_checkpoint_it_says_how_to_start(folder: Path) -> None:
    with pytest.raises(RunError, match="has no whole checkpoint to resume from; start anew with --run"):
        resume(folder, parts())
    (save(folder, parts(iterations=1), 1) / "replay.npz").unlink()
    with pytest.raises(RunError, match="has no whole checkpoint to resume from"):
        resume(folder, parts())


def test_the_rest_of_an_interrupted_save_is_ignored_and_replaced(folder: Path) -> None:
    made = parts(iterations=1)
    save(folder, made, 1)
    left = folder / "checkpoints" / ".000002.unfinished"
    left.mkdir()
    (left / "model.safetensors").write_bytes(b"half")
    assert [path.name for path in checkpoints(folder)] == ["000001"]
    assert resume(folder, parts())[0].iteration == 1
    save(folder, made, 2)
    assert not left.exists()
    assert resume(folder, parts())[0].iteration == 2


# --- Foreign


def test_another_games_checkpoint_is_refused_by_name(folder: Path) -> None:
    path = save(folder, parts(iterations=1), 1)
    four = ConnectFour()
    learner = Learner(four, CONFIG.learner, CONFIG.network, seed=0)
    with pytest.raises(RunError, match="was made by the game tic_tac_toe, not connect_four"):
        restore(folder, four, learner, Replay(four, ReplayConfig()), [], say=print)
    with pytest.raises(RunError, match="was made by the game tic_tac_toe, not connect_four"):
        load_weights(path, four, learner)


def test_a_checkpoint_under_another_number_is_refused(folder: Path) -> None:
    path = save(folder, parts(iterations=1), 1).rename(folder / "checkpoints" / "000007")
    with pytest.raises(RunError, match="000007 holds iteration 1: the folder was renamed or altered"):
        load_weights(path, TicTacToe(), parts().learner)


def test_a_run_without_a_whole_checkpoint_has_no_replay_buffer(folder: Path) -> None:
    (save(folder, parts(iterations=1), 1) / "replay.npz").unlink()
    with pytest.raises(RunError, match="has no whole checkpoint, and so no replay buffer"):
        load_samples(folder, TicTacToe())


def test_another_format_is_refused_with_both_numbers(folder: Path) -> None:
    path = save(folder, parts(iterations=1), 1)
    state = json.loads((path / "state.json").read_bytes())
    (path / "state.json").write_text(json.dumps(state | {"format": 3}))
    with pytest.raises(RunError, match="has format 3; this version reads formats 1 and 2"):
        load_weights(path, TicTacToe(), parts().learner)


def test_another_networks_checkpoint_names_itself(folder: Path) -> None:
    path = save(folder, parts(iterations=1), 1)
    wider = parts(config=replace(CONFIG, network=replace(CONFIG.network, width=16)))
    with pytest.raises(RunError, match=f"(?s){path} does not fit this configuration or version: .*size mismatch"):
        resume(folder, wider)


def test_another_optimizers_checkpoint_names_itself(folder: Path) -> None:
    save(folder, parts(iterations=1), 1)
    other = parts(config=replace(CONFIG, learner=replace(CONFIG.learner, optimizer="sgd")))
    with pytest.raises(RunError, match=r"does not fit this configuration.*learner\.optimizer"):
        resume(folder, other)


def test_games_that_do_not_fit_are_given_up_and_nothing_else(folder: Path) -> None:
    made = parts(iterations=1)
    save(folder, made, 1)
    other = parts(config=replace(CONFIG, self_play=replace(CONFIG.self_play, parallel_games=3)))
    progress, said = resume(folder, other)
    assert progress.iteration == 1
    assert said == ["the games under way do not fit the changed configuration; all slots start new games"]
    assert len(other.replay) == len(made.replay)
    go_on(other, 1)


class Bomb:
    """Unpickling it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.path,))


@pytest.mark.parametrize("name", ["replay.npz", "streams.npz", "optimizer.pt", "model.safetensors"])
def test_nothing_read_can_run_code(name: str, folder: Path, tmp_path: Path) -> None:
    """An attacker can write the file's digest too, so the readers themselves must refuse it."""
    path, marker = save(folder, parts(iterations=1), 1), tmp_path / "ran"
    bomb = Bomb(marker)
    if name.endswith(".npz"):
        with np.load(path / name, allow_pickle=False) as archive:
            arrays = {key: np.array([bomb], dtype=object) for key in archive}
        with (path / name).open("wb") as file:
            np.savez(file, allow_pickle=True, **arrays)
    elif name == "optimizer.pt":
        torch.save(bomb, path / name)
    else:
        (path / name).write_bytes(pickle.dumps(bomb))
    sign(path)
    other = parts()
    if name == "streams.npz":
        other.streams.clear()  # so that a complaint about games under way is not what we see
    said = "does not fit this configuration or version|optimizer.pt holds other things than tensors"
    with pytest.raises(RunError, match=f"{path}.*({said})"):
        resume(folder, other)
    assert not marker.exists()


def test_objects_are_never_saved(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="allow_pickle=False"):
        save_arrays(tmp_path / "objects.npz", {"it": np.array([object()], dtype=object)})


# --- Full disks


@pytest.mark.parametrize("fails_at", range(8))
def test_a_full_disk_leaves_the_checkpoints_before_it_and_says_what_to_do(
    fails_at: int, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = parts(iterations=1)
    save(folder, made, 1)
    before, calls, fsync = files(folder), [0], os.fsync

    def full(descriptor: int) -> None:
        calls[0] += 1
        if calls[0] > fails_at:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    flushes = 6  # five files and the folder
    if fails_at >= flushes:
        save(folder, made, 2)
        return
    with pytest.raises(RunError, match=rf"cannot write .*No space left on device; free some.*--resume {folder}"):
        save(folder, made, 2)
    monkeypatch.undo()
    if fails_at < flushes - 1:  # after that the checkpoint is in place
        assert files(folder) == before
        assert resume(folder, parts())[0].iteration == 1


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 512 KiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = shutil.which("mount") and subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", disk], capture_output=True, check=False
    )
    if not mounted or mounted.returncode:
        pytest.skip("no right to mount a small file system")
    yield disk
    subprocess.run(["umount", "--lazy", disk], check=True)


@pytest.mark.parametrize("left", [0, 4, 12, 20, 24, 28, 32, 40])
def test_a_really_full_disk_does_the_same(left: int, small_disk: Path) -> None:
    """With so many KiB left of it: another file is the first that does not fit."""
    folder, made = small_disk / "run", parts(iterations=1)
    create_run(folder, CONFIG)
    save(folder, made, 1)
    before = files(folder)
    free = shutil.disk_usage(small_disk).free
    (small_disk / "ballast").write_bytes(bytes(free - left * 1024))
    with pytest.raises(RunError, match=rf"cannot write.*free some space.*--resume {folder}"):
        save(folder, made, 2)
    assert files(folder) == before
    (small_disk / "ballast").unlink()
    save(folder, made, 2)
    assert resume(folder, parts())[0].iteration == 2


def test_a_folder_that_cannot_be_written_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path, *_: Any, **__: Any) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(self))

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(RunError, match=r"cannot write .*Permission denied; make it writable or choose another folder"):
        save(folder, parts(), 1)


# --- What is kept


@pytest.mark.parametrize(
    ("every", "kept"), [(0, ["6", "7"]), (3, ["3", "6", "7"]), (2, ["2", "4", "6", "7"]), (20, ["6", "7"])]
)
def test_the_last_two_are_kept_whole_and_of_the_others_the_measured_networks(
    every: int, kept: list[str], folder: Path
) -> None:
    made = parts()
    for iteration in range(1, 8):
        save(folder, made, iteration)
        (folder / "checkpoints" / ".000099.unfinished").mkdir()  # of a process that was killed
        prune_checkpoints(folder, every=every)
    paths = checkpoints(folder)
    assert len(list((folder / "checkpoints").iterdir())) == len(paths)
    assert [path.name.lstrip("0") for path in paths] == kept
    for path in paths[-2:]:
        assert {file.name for file in path.iterdir()} == set(WHOLE)
    for path in paths[:-2]:
        assert {file.name for file in path.iterdir()} == set(LIGHT)
        load_weights(path, made.game, made.learner)


def test_what_was_not_removed_in_time_is_removed_by_a_thorough_look(folder: Path) -> None:
    made = parts()
    for iteration in range(1, 8):
        save(folder, made, iteration)
    prune_checkpoints(folder, every=3, thorough=True)
    kept = {path.name.lstrip("0"): {file.name for file in path.iterdir()} for path in checkpoints(folder)}
    assert kept == {"3": set(LIGHT), "6": set(WHOLE), "7": set(WHOLE)}


@pytest.mark.parametrize(("every", "older"), [(0, []), (20, [0, 20, 40, 60, 80, 100, 120, 140])])
def test_games_of_a_hundred_iterations_are_kept_and_of_older_ones_the_measured(
    every: int, older: list[int], folder: Path
) -> None:
    (folder / "games").mkdir()
    own = folder / "games" / "the best one.npz"
    own.touch()
    for iteration in range(250):  # all before the last hundred are 0 to 149
        (folder / "games" / f"{iteration:06d}.npz").touch()
        prune_games(folder, every=every)
    assert kept_games(folder) == [*older, *range(150, 250)]
    assert own.exists()


def test_folders_that_people_put_there_are_left_alone(folder: Path) -> None:
    copied = folder / "checkpoints" / "000001 before the change"
    copied.mkdir()
    for iteration in range(1, 5):
        save(folder, parts(), iteration)
        prune_checkpoints(folder, every=1)
    assert copied.is_dir()
    assert copied not in checkpoints(folder)


def test_weights_alone_can_be_taken_from_a_checkpoint_that_lost_the_rest(folder: Path) -> None:
    made, other = parts(iterations=1), parts(seed=2)
    path = save(folder, made, 1)
    for name in set(WHOLE) - set(LIGHT):
        (path / name).unlink()
    load_weights(path, made.game, other.learner)
    assert all(torch.equal(t, other.learner.tensors()[name]) for name, t in made.learner.tensors().items())


# --- Runs


def test_a_run_keeps_its_configuration(folder: Path) -> None:
    assert read_config(folder) == CONFIG


def test_a_run_is_not_started_over_another(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match=f"{folder} exists already .continue it with --resume {folder}"):
        create_run(folder, CONFIG)
    (tmp_path / "empty").mkdir()
    create_run(tmp_path / "empty", CONFIG)
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match="exists already"):
        create_run(tmp_path / "file", CONFIG)


def test_of_two_processes_that_begin_one_run_the_later_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has looked just before the other made the folder."""
    monkeypatch.setattr(Path, "exists", lambda path: False)
    with pytest.raises(RunError, match=f"{folder} exists already"):
        create_run(folder, CONFIG)


def test_a_folder_that_is_no_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"is not a run: it has no config\.toml with checkpoints/ beside it"):
        read_config(tmp_path)
