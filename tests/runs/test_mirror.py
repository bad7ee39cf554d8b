"""Mirrors: the fetched run is the trained one, at every moment; failures are reported once and lose nothing."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from alphazero.runs import mirror
from alphazero.runs.checkpoint import (
    checkpoints,
    create_run,
    prune_checkpoints,
    read_config,
    restore,
    verify,
)
from alphazero.runs.files import LIGHT, WHOLE, RunError
from alphazero.runs.lock import run_lock
from alphazero.runs.mirror import Mirror, Place, fetch, is_url, mirrored
from tests.small_checkpoints import CONFIG, Parts, alter, assert_the_same, contents, files, go_on, parts, save

EVENTS = "events.out.tfevents.1.host.2.0"
WRITTEN_OVER = {
    *("run.id", "config.toml", "metrics.csv", "log.txt", "ray.log", "policies.npz", "agent.onnx", "agent.json"),
    *("curves.png", "benchmark.json", "benchmark.png", "report/report.md", "report/game_000003_0.png"),
}


class Flaky(MemoryFileSystem):
    """Object storage whose operations fail once `fails_at` is down to 0, an upload in its middle."""

    protocol = "flaky"
    store: dict[str, Any] = {}  # noqa: RUF012  # as in the class that it overrides
    pseudo_dirs = [""]  # noqa: RUF012
    fails_at: int | None = None
    done: list[str] = []  # noqa: RUF012
    gate = threading.Event()  # checkpoints wait for it

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return str(super()._strip_protocol(path.removeprefix("flaky://")))

    def put_file(self, lpath: str, rpath: str, **kwargs: Any) -> None:
        assert "checkpoints" not in rpath or self.gate.wait(30)
        try:
            self._operate("put", rpath)
        except ConnectionError:
            content = Path(lpath).read_bytes()
            self.pipe_file(rpath, content[: len(content) // 2])
            raise
        super().put_file(lpath, rpath, **kwargs)

    def rm_file(self, path: str) -> None:
        self._operate("rm", path)
        super().rm_file(path)

    def find(self, path: str, **kwargs: Any) -> Any:
        self._operate("find", path)
        return super().find(path, **kwargs)

    def _operate(self, what: str, path: str) -> None:
        if Flaky.fails_at == 0:
            raise ConnectionError("no route\nto host")
        if Flaky.fails_at is not None:
            Flaky.fails_at -= 1
        self.done.append(f"{what} {path.removeprefix('/runs/x/')}")


fsspec.register_implementation("flaky", Flaky)


@pytest.fixture(autouse=True)
def empty_places() -> Iterator[None]:
    yield
    for place in (MemoryFileSystem, Flaky):
        place.store.clear()
        place.pseudo_dirs[:] = [""]
    Flaky.fails_at = None


@pytest.fixture(autouse=True)
def done() -> list[str]:
    """The operations at flaky:// so far, none of which waits."""
    Flaky.done.clear()
    Flaky.gate.set()
    return Flaky.done


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A run with what it has beside its checkpoints."""
    folder = tmp_path / "run"
    create_run(folder, CONFIG)
    for name in ("games/000000.npz", EVENTS, *WRITTEN_OVER - {"run.id", "config.toml"}):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(f"{name} of iteration 0\n")
    return folder


@pytest.fixture(params=["file", "memory", "flaky"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return f"file://{tmp_path}/disk/runs/x" if request.param == "file" else f"{request.param}://runs/x"


FLAKY = "flaky://runs/x"


def copied(copy: Mirror) -> None:
    copy.update()
    assert copy.wait(30)


def copy_of(folder: Path, url: str) -> list[str]:
    """Copies the run there; returns the messages."""
    said: list[str] = []
    copied(Mirror(folder, url, say=said.append))
    return said


def there(url: str) -> set[str]:
    """What is there of the run; run.holder, which is of no folder, is left out."""
    place, root = fsspec.url_to_fs(url)
    return {name.removeprefix(f"{root}/") for name in place.find(root)} - {"run.holder"}


def states(folder: Path) -> dict[str, dict[str, Any]]:
    """Every checkpoint's state, its digests checked."""
    paths = checkpoints(folder)
    return {path.name: verify(path, WHOLE if (path / "replay.npz").exists() else LIGHT) for path in paths}


def train(folder: Path, made: Parts, iteration: int, *, every: int = 2) -> None:
    """Writes the files that the trainer leaves on disk after an iteration."""
    go_on(made, iteration)
    save(folder, made, iteration)
    prune_checkpoints(folder, every=every)
    for name in (EVENTS, "metrics.csv"):
        with (folder / name).open("a") as file:
            file.write(f"iteration {iteration}\n")


def contents_of(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in files(folder)}


# --- Whole


@pytest.mark.parametrize(
    ("text", "answer"),
    [("s3://bucket/x", True), ("file:///x", True), ("runs/x", False), ("/x:/y", False), ("a:b", False)],
)
def test_addresses_are_told_from_paths(text: str, answer: bool) -> None:
    assert is_url(text) is answer


def test_the_fetched_run_is_the_run_bit_for_bit(folder: Path, url: str, tmp_path: Path) -> None:
    made, other = parts(), parts(seed=2)
    for iteration in range(1, 6):
        train(folder, made, iteration)
    assert copy_of(folder, url) == []
    fetch(url, tmp_path / "new" / "run")
    assert contents_of(tmp_path / "new" / "run") == contents_of(folder)
    assert states(tmp_path / "new" / "run") == states(folder)
    assert read_config(tmp_path / "new" / "run") == CONFIG
    progress = restore(
        tmp_path / "new" / "run", other.game, other.learner, other.replay, other.streams, say=pytest.fail
    )
    assert progress.iteration == 5
    assert_the_same(contents(made), contents(other))
    assert files(tmp_path / "new") == {f"run/{name}" for name in files(folder)}  # nothing unfinished


def test_the_copy_follows_the_run(folder: Path, url: str) -> None:
    """With everything that is pruned, in one process and over a restart."""
    made, said = parts(), list[str]()
    copy = Mirror(folder, url, say=said.append)
    for iteration in range(1, 8):
        train(folder, made, iteration)
        copied(copy)
        assert there(url) == files(folder)
        if iteration == 4:
            copy = Mirror(folder, url, say=said.append)
    assert {name.split("/")[1] for name in there(url) if name.startswith("check")} == {
        *("000002", "000004"),
        *("000006", "000007"),
    }
    assert said == []
    if url.startswith("file://"):
        assert len(list(Path(url.removeprefix("file://"), "checkpoints").iterdir())) == 4  # no empty folders


def test_only_what_changed_is_copied_and_the_state_last(folder: Path, done: list[str]) -> None:
    made = parts()
    train(folder, made, 1)
    copy = Mirror(folder, FLAKY, say=pytest.fail)
    copied(copy)
    assert done[-1] == "put checkpoints/000001/state.json"
    assert sorted(done) == sorted(["put run.id", *(f"put {name}" for name in files(folder))])
    done.clear()
    copied(copy)
    assert done == []
    train(folder, made, 2)
    copied(copy)
    changed = [f"put {name}" for name in ("metrics.csv", EVENTS)]
    assert done == changed + [f"put checkpoints/000002/{name}" for name in WHOLE]


def test_a_restart_copies_again_only_files_whose_size_does_not_tell(folder: Path, done: list[str]) -> None:
    train(folder, parts(), 1)
    copy_of(folder, FLAKY)
    done.clear()
    (folder / "agent.onnx").write_text("agent.onnx of iteration 9\n")  # of the same size
    (folder / EVENTS).write_text("more of them, of another size\n")
    copy_of(folder, FLAKY)
    assert set(done) == {"find /runs/x", f"put {EVENTS}", *(f"put {name}" for name in WRITTEN_OVER)}
    assert Flaky.store["/runs/x/agent.onnx"].getvalue() == (folder / "agent.onnx").read_bytes()


def test_an_iteration_that_is_saved_anew_is_copied_anew(folder: Path, url: str, tmp_path: Path) -> None:
    made = parts(iterations=1)
    save(folder, made, 1)
    copy = Mirror(folder, url, say=pytest.fail)
    copied(copy)
    go_on(made, 2)
    save(folder, made, 1)
    copied(copy)
    fetch(url, tmp_path / "other")
    assert states(tmp_path / "other") == states(folder)


def test_the_file_that_makes_a_checkpoint_whole_is_removed_first(folder: Path, done: list[str]) -> None:
    made = parts()
    for iteration in range(1, 3):
        train(folder, made, iteration)
    copied(copy := Mirror(folder, FLAKY, say=pytest.fail))
    train(folder, made, 3)
    save(folder, made, 2)
    done.clear()
    copied(copy)
    of_first, of_second = ([each for each in done if f"/{number}/" in each] for number in ("000001", "000002"))
    assert of_first[0] == "rm checkpoints/000001/state.json"
    assert of_second == ["rm checkpoints/000002/state.json", *(f"put checkpoints/000002/{name}" for name in WHOLE)]
    assert there(FLAKY) == files(folder)


def test_foreign_files_are_left_alone_on_both_sides(folder: Path, tmp_path: Path) -> None:
    foreign = ("notes.md", "checkpoints/notes.md", "checkpoints/000001/notes.md", "games/.hidden", "data/replay.npz")
    for name in foreign:
        fsspec.filesystem("memory").pipe_file(f"/runs/x/{name}", b"mine")
    made = parts()
    for iteration in range(2, 4):
        train(folder, made, iteration)
        (folder / "checkpoints" / "copied by hand").mkdir(exist_ok=True)
        (folder / "games" / ".unfinished.000001.npz").touch()
        assert copy_of(folder, "memory://runs/x") == []
    assert set(foreign) < there("memory://runs/x")
    assert not [name for name in there("memory://runs/x") if "by hand" in name or "unfinished" in name]
    fetch("memory://runs/x", tmp_path / "other")
    assert not set(foreign) & files(tmp_path / "other")


def test_a_name_cannot_lead_out_of_the_folder(folder: Path, tmp_path: Path) -> None:
    train(folder, parts(), 1)
    copy_of(folder, "memory://runs/x")
    for name in ("games/../../../evil", "tensorboard/../../../evil", "checkpoints/../../../evil/state.json"):
        MemoryFileSystem.store[f"/runs/x/{name}"] = MemoryFileSystem.store["/runs/x/log.txt"]
    fetch("memory://runs/x", tmp_path / "new" / "run")
    assert {path.name for path in tmp_path.iterdir()} == {"run", "new"}


# --- Interrupted


@pytest.mark.parametrize("fails_at", range(24))
def test_whenever_copying_fails_the_last_whole_checkpoint_can_be_fetched(
    fails_at: int, folder: Path, tmp_path: Path, done: list[str]
) -> None:
    """Each operation in turn: of an update with a new checkpoint, one to be lightened and one to be removed."""
    made, said = parts(), list[str]()
    for iteration in range(2, 4):
        train(folder, made, iteration)
    copy = Mirror(folder, FLAKY, say=said.append)
    copied(copy)
    before = states(folder)
    for iteration in range(4, 6):
        train(folder, made, iteration)
    done.clear()
    Flaky.fails_at = fails_at
    copied(copy)
    failed, Flaky.fails_at = Flaky.fails_at == 0 and bool(said), None
    # 2 files and 2 checkpoints of 5 are put; one is removed, with a listing after its state.json; 3 files of another.
    assert failed == (fails_at < 2 + 2 * 5 + (1 + 1 + 4) + 3)
    fetch(FLAKY, tmp_path / "between")
    between, after = states(tmp_path / "between"), states(folder)
    assert [number for number in between if "replay.npz" in files(tmp_path / "between" / "checkpoints" / number)]
    assert between.items() <= (before | after).items()
    assert max(between) == ("000003" if "put checkpoints/000005/state.json" not in done else "000005")
    copied(copy)
    assert len(said) == (2 if failed else 0)
    fetch(FLAKY, tmp_path / "after")
    assert states(tmp_path / "after") == after
    assert there(FLAKY) == files(folder)


def test_failing_and_working_again_are_said_once_each(folder: Path) -> None:
    made, said = parts(), list[str]()
    copy = Mirror(folder, FLAKY, say=said.append)
    for iteration, fails_at in enumerate([None, 0, 2, 0, None, None], start=1):
        train(folder, made, iteration)
        Flaky.fails_at = fails_at
        copied(copy)
    reason = "ConnectionError: no route to host"
    assert said == [
        f"cannot copy the run to {FLAKY}: {reason}; trying again after the next checkpoint",
        f"the run is copied to {FLAKY} again",
    ]
    assert there(FLAKY) == files(folder)


def test_an_address_that_never_worked_does_no_harm(folder: Path, tmp_path: Path) -> None:
    train(folder, parts(), 1)
    (tmp_path / "file").touch()
    said = copy_of(folder, f"file://{tmp_path}/file/x")
    assert len(said) == 1
    assert "NotADirectoryError" in said[0]
    assert set(states(folder)) == {"000001"}
    assert not (folder / "checkpoints" / ".copying").exists()


# --- While the run goes on


def test_a_checkpoint_that_is_pruned_while_it_is_copied_is_copied_to_its_end(folder: Path, tmp_path: Path) -> None:
    """Otherwise an address slower than two iterations would never have a whole one."""
    made, said = parts(), list[str]()
    train(folder, made, 1)
    copy = Mirror(folder, FLAKY, say=said.append)
    Flaky.gate.clear()
    copy.update()
    expected = states(folder)["000001"]
    while not (folder / "checkpoints" / ".copying" / "000001" / WHOLE[0]).exists():
        assert not copy.wait(0.01)
    for iteration in range(2, 5):
        train(folder, made, iteration, every=0)
    assert "000001" not in states(folder)
    Flaky.gate.set()
    assert copy.wait(30)
    fetch(FLAKY, tmp_path / "slow")
    assert states(tmp_path / "slow") == {"000001": expected}
    copied(copy)
    assert there(FLAKY) == files(folder)
    assert said == []


@pytest.mark.parametrize("links", [True, False], ids=["hard links", "no hard links"])
@pytest.mark.parametrize("name", WHOLE)
def test_a_file_that_vanishes_before_it_is_copied_is_no_failure(
    name: str, links: bool, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file of the checkpoint before the last, which is being pruned at that moment."""
    made, said, link = parts(), list[str](), os.link
    for iteration in range(1, 3):
        train(folder, made, iteration)

    def prune_first(path: Path, held: Path) -> None:
        if path.parent.name == "000001":
            (path.parent / name).unlink(missing_ok=True)
        if not links:
            raise PermissionError
        link(path, held)

    monkeypatch.setattr(os, "link", prune_first)
    copied(copy := Mirror(folder, FLAKY, say=said.append))
    assert {f"checkpoints/000002/{name}" for name in WHOLE} < there(FLAKY)
    assert "checkpoints/000001/state.json" not in there(FLAKY)
    shutil.rmtree(folder / "checkpoints" / "000001")
    copied(copy)
    assert there(FLAKY) == files(folder)
    assert said == []


def test_a_checkpoint_saved_anew_while_it_is_held_is_copied_anew(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, link = parts(iterations=1), os.link
    save(folder, made, 1)
    go_on(made, 2)

    def save_after(path: Path, held: Path) -> None:
        monkeypatch.setattr(os, "link", link)
        link(path, held)
        save(folder, made, 1)

    monkeypatch.setattr(os, "link", save_after)
    copied(copy := Mirror(folder, FLAKY, say=pytest.fail))
    copied(copy)
    fetch(FLAKY, tmp_path / "new")
    assert states(tmp_path / "new") == states(folder)


def test_files_that_a_killed_process_held_are_dropped(folder: Path) -> None:
    train(folder, parts(), 1)
    left = folder / "checkpoints" / ".copying" / "000001"
    left.mkdir(parents=True)
    (left / "optimizer.pt").touch()
    assert copy_of(folder, FLAKY) == []
    assert there(FLAKY) == files(folder)
    assert not left.parent.exists()


def test_a_vanished_file_beside_the_checkpoints_is_no_failure(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train(folder, parts(), 1)
    put_file = Flaky.put_file

    def vanish(self: Flaky, lpath: str, rpath: str, **kwargs: Any) -> None:
        if lpath.endswith("log.txt"):
            Path(lpath).unlink()
        put_file(self, lpath, rpath, **kwargs)

    monkeypatch.setattr(Flaky, "put_file", vanish)
    assert copy_of(folder, FLAKY) == []
    assert there(FLAKY) == files(folder)


def test_requests_while_one_is_under_way_are_answered_once_more(folder: Path, done: list[str]) -> None:
    made = parts()
    train(folder, made, 1)
    copy = Mirror(folder, FLAKY, say=pytest.fail)
    Flaky.gate.clear()
    copy.update()
    while not (folder / "checkpoints" / ".copying" / "000001" / WHOLE[0]).exists():
        assert not copy.wait(0.01)
    train(folder, made, 2)
    for _ in range(3):
        copy.update()
    Flaky.gate.set()
    copy.close()
    assert there(FLAKY) == files(folder)
    assert [name for name in done if name.endswith("state.json")] == [
        "put checkpoints/000001/state.json",
        "put checkpoints/000002/state.json",
    ]


def test_a_run_that_is_deleted_stays_there(folder: Path, tmp_path: Path) -> None:
    train(folder, parts(), 1)
    expected = states(folder)
    copied(copy := Mirror(folder, FLAKY, say=pytest.fail))
    shutil.rmtree(folder)
    copied(copy)
    fetch(FLAKY, tmp_path / "saved")
    assert states(tmp_path / "saved") == expected


def test_the_end_waits_though_not_for_ever(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train(folder, parts(), 1)
    monkeypatch.setattr(mirror, "PATIENCE", 0.05)
    said: list[str] = []
    Flaky.gate.clear()
    with mirrored(folder, FLAKY, say=said.append, give_up=lambda: True) as copy:
        assert copy is not None
    assert said == []
    assert [thread.daemon for thread in threading.enumerate() if thread.name == "mirror"] == [True]
    copy.close()
    assert len(said) == 1
    assert said[0].startswith(f"the last copy to {FLAKY} is not finished after 0 s and is given up; ")
    Flaky.gate.set()
    monkeypatch.undo()
    copy.close()
    assert len(said) == 1
    assert there(FLAKY) == files(folder)


def test_the_end_says_if_the_last_checkpoint_is_missing(folder: Path) -> None:
    train(folder, parts(), 1)
    said: list[str] = []
    copy = Mirror(folder, FLAKY, say=said.append)
    Flaky.fails_at = 3
    copied(copy)
    copy.close()
    assert said[1:] == [
        f"the last checkpoint was not copied to {FLAKY}; what is whole there stays so,"
        f" and --resume {folder} copies the rest"
    ]


def test_a_log_that_cannot_be_written_does_not_stop_the_copying(folder: Path) -> None:
    train(folder, parts(), 1)

    def say(line: str) -> None:
        raise OSError(line)

    copy = Mirror(folder, FLAKY, say=say)
    Flaky.fails_at = 3
    copied(copy)
    Flaky.fails_at = None
    copied(copy)
    assert there(FLAKY) == files(folder)


# --- Other runs


def test_a_run_is_not_copied_over_another(folder: Path, tmp_path: Path, url: str) -> None:
    train(folder, parts(), 1)
    copy_of(folder, url)
    before = there(url)
    create_run(tmp_path / "other", CONFIG)
    train_other = parts(seed=2)
    save(tmp_path / "other", train_other, 1)
    (line,) = copy_of(tmp_path / "other", url)
    assert f"{url}: another run is there, not {tmp_path / 'other'}; have this one copied to another address" in line
    fetch(url, tmp_path / "fetched")
    assert states(tmp_path / "fetched") == states(folder)
    assert there(url) == before


def test_a_fetched_run_goes_on_where_it_was_copied(folder: Path, tmp_path: Path, url: str) -> None:
    """And the run that it was copied from, which is behind by then, is not copied any more."""
    made = parts()
    train(folder, made, 1)
    copy_of(folder, url)
    fetch(url, tmp_path / "new")
    train(tmp_path / "new", made, 2)
    assert copy_of(tmp_path / "new", url) == []
    (line,) = copy_of(folder, url)
    assert f"it is at iteration 2 already, ahead of {folder}; continue from there with --resume {url}" in line
    assert there(url) == files(tmp_path / "new")


def test_a_first_connection_that_broke_can_be_taken_up(folder: Path) -> None:
    """Even if it left half the name of the run."""
    train(folder, parts(), 1)
    Flaky.fails_at = 0
    assert len(copy_of(folder, FLAKY)) == 1
    Flaky.fails_at = None
    assert there(FLAKY) == {"run.id"}
    assert copy_of(folder, FLAKY) == []
    assert there(FLAKY) == files(folder)


# --- Fetching


def test_only_the_newest_two_whole_ones_are_fetched_whole(folder: Path, tmp_path: Path) -> None:
    made = parts()
    for iteration in range(1, 5):
        go_on(made, iteration)
        save(folder, made, iteration)
    copy_of(folder, "memory://runs/x")
    fetch("memory://runs/x", tmp_path / "new")
    kept = {path.name: {file.name for file in path.iterdir()} for path in checkpoints(tmp_path / "new")}
    assert kept == {"000001": set(LIGHT), "000002": set(LIGHT), "000003": set(WHOLE), "000004": set(WHOLE)}


def test_altered_checkpoints_are_passed_over(folder: Path, tmp_path: Path) -> None:
    made, place = parts(), tmp_path / "disk"
    for iteration in range(1, 4):
        train(folder, made, iteration, every=1)
    copy_of(folder, f"file://{place}")
    expected = states(folder)
    for number, damage in enumerate([alter, Path.unlink]):
        damage(place / "checkpoints" / "000003" / "optimizer.pt")
        fetch(f"file://{place}", tmp_path / f"new{number}")
        assert states(tmp_path / f"new{number}") == {number: expected[number] for number in ("000001", "000002")}
    alter(place / "checkpoints" / "000002" / "replay.npz")
    with pytest.raises(RunError, match=rf"^file://{place} has no whole checkpoint .*--run: file://{place}/.*2/replay"):
        fetch(f"file://{place}", tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_an_address_without_a_run_is_named(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"^memory://nowhere holds no run; name the address that a run was copied to$"):
        fetch("memory://nowhere", tmp_path / "new")
    train(folder, parts(), 1)
    copy_of(folder, "memory://runs/x")
    for name in ("config.toml", "checkpoints/000001/state.json"):
        held = MemoryFileSystem.store.pop(f"/runs/x/{name}")
        with pytest.raises(RunError, match=r"^memory://runs/x is no run: it has no config\.toml with checkpoints/ "):
            fetch("memory://runs/x", tmp_path / "new")
        MemoryFileSystem.store[f"/runs/x/{name}"] = held
    del MemoryFileSystem.store["/runs/x/checkpoints/000001/optimizer.pt"]
    with pytest.raises(RunError, match=r"^memory://runs/x has no whole checkpoint to resume from; start anew"):
        fetch("memory://runs/x", tmp_path / "new")
    assert {path.name for path in tmp_path.iterdir()} == {"run"}


def test_a_folder_that_is_not_new_is_left_alone(folder: Path, tmp_path: Path) -> None:
    train(folder, parts(), 1)
    copy_of(folder, "memory://runs/x")
    before = contents_of(folder)
    for taken in (folder, folder / "config.toml"):
        with pytest.raises(RunError, match=f"^{taken} exists already, so memory://runs/x cannot .* with --run$"):
            fetch("memory://runs/x", taken)
    assert contents_of(folder) == before
    (tmp_path / "empty").mkdir()
    fetch("memory://runs/x", tmp_path / "empty")
    assert states(tmp_path / "empty") == states(folder)


def test_an_address_that_fails_leaves_nothing(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train(folder, parts(), 1)
    copy_of(folder, FLAKY)

    def fail(*_: Any, **__: Any) -> None:
        raise TimeoutError("took\ntoo long")

    monkeypatch.setattr(Flaky, "get_file", fail)
    said = (
        rf"^cannot copy {FLAKY} to {tmp_path / 'new'}: TimeoutError: took too long; nothing was left behind, try again$"
    )
    with pytest.raises(RunError, match=said):
        fetch(FLAKY, tmp_path / "new")
    assert {path.name for path in tmp_path.iterdir()} == {"run"}


def test_an_address_that_may_not_be_listed_is_not_taken_for_empty(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unlike in fsspec's own `find`."""

    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError("not yours")

    monkeypatch.setattr(Flaky, "ls", refuse)
    with pytest.raises(RunError, match="PermissionError: not yours"):
        fetch(FLAKY, folder.with_name("new"))


# --- Addresses


def test_every_connection_is_new() -> None:
    """Broken ones and their listings would stay in fsspec's cache."""
    assert Place(FLAKY).files is not Place(FLAKY).files


def test_an_unknown_protocol_is_named(folder: Path, tmp_path: Path) -> None:
    for use in (lambda: Mirror(folder, "s4://b/x", say=print), lambda: fetch("s4://b/x", tmp_path / "new")):
        with pytest.raises(
            RunError, match=r"^cannot use s4://b/x: Protocol not known: s4; name one that fsspec has, as "
        ):
            use()


def test_a_missing_package_is_named(folder: Path, tmp_path: Path) -> None:
    fsspec.register_implementation("lacking", "no_such_package.Files", clobber=True, errtxt="Install no_such_package")
    for use in (lambda: Mirror(folder, "lacking://x", say=print), lambda: fetch("lacking://x", tmp_path / "new")):
        with pytest.raises(RunError, match=r"^cannot use lacking://x: Install no_such_package$"):
            use()


@pytest.mark.parametrize("name", ["metrics.csv", "checkpoints/000001/replay.npz"])
def test_a_pipe_there_is_no_file_of_a_run(name: str, folder: Path, tmp_path: Path) -> None:
    """To fetch it would be to wait for ever."""
    save(folder, parts(iterations=1), 1)
    place = Path(shutil.copytree(folder, tmp_path / "place"))
    (place / name).unlink(missing_ok=True)
    os.mkfifo(place / name)
    if name.startswith("checkpoints"):
        with pytest.raises(RunError, match="no whole checkpoint"):
            fetch(f"file://{place}", tmp_path / "new")
    else:
        fetch(f"file://{place}", tmp_path / "new")
        assert not (tmp_path / "new" / name).exists()


def test_a_run_that_is_larger_than_the_disk_is_not_fetched(folder: Path, tmp_path: Path) -> None:
    save(folder, parts(iterations=1), 1)
    place = Path(shutil.copytree(folder, tmp_path / "place"))
    with (place / "log.txt").open("wb") as file:
        file.truncate(1 << 43)  # which takes no room there
    with pytest.raises(RunError, match="is larger than the space that is left"):
        fetch(f"file://{place}", tmp_path / "new")
    assert not (tmp_path / "new").exists()


# --- One process a copy


def test_of_two_processes_the_newer_copies_and_the_older_says_who_that_is(
    folder: Path, tmp_path: Path, done: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a resume on another machine, while the first process lives on and comes back."""
    made = parts()
    train(folder, made, 1)
    older_said, newer_said = list[str](), list[str]()
    older = Mirror(folder, FLAKY, say=older_said.append)
    copied(older)
    fetch(FLAKY, tmp_path / "newer")
    monkeypatch.setattr("socket.gethostname", lambda: "elsewhere")
    newer = Mirror(tmp_path / "newer", FLAKY, say=newer_said.append)
    copied(newer)
    (line,) = newer_said
    assert f"{FLAKY} was copied to by process {os.getpid()} on " in line
    train(folder, made, 2)
    done.clear()
    for _ in range(2):  # it does not take the place back either
        copied(older)
    (line,) = older_said
    assert f"process {os.getpid()} on elsewhere, since " in line
    assert "copies this run there by now" in line
    assert not [operation for operation in done if not operation.startswith("find")]
    train(tmp_path / "newer", parts(iterations=2), 2)
    copied(newer)
    assert (newer.failing, len(newer_said)) == (False, 1)
    fetch(FLAKY, tmp_path / "again")
    assert states(tmp_path / "again") == states(tmp_path / "newer")
    assert "run.holder" not in files(tmp_path / "again")


def test_two_processes_do_not_copy_into_one_folder(folder: Path, tmp_path: Path) -> None:
    train(folder, parts(), 1)
    copy_of(folder, "memory://runs/x")
    unfinished = tmp_path / ".new.unfinished"
    unfinished.mkdir()
    (unfinished / "left.over").touch()
    with run_lock(unfinished, say=pytest.fail):
        with pytest.raises(RunError, match=f"memory://runs/x is held by process {os.getpid()} on "):
            fetch("memory://runs/x", tmp_path / "new")
        assert (unfinished / "left.over").exists()
    fetch("memory://runs/x", tmp_path / "new")
    assert files(tmp_path / "new") == files(folder)
    assert not unfinished.exists()


def test_a_folder_that_has_come_meanwhile_is_not_written_over(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(folder, parts(), 1)
    copy_of(folder, "memory://runs/x")

    def come(*arguments: object) -> None:
        (tmp_path / "new").mkdir()
        (tmp_path / "new" / "mine").touch()

    monkeypatch.setattr(mirror, "fetch_checkpoints", come)
    with pytest.raises(RunError, match="exists by now"):
        fetch("memory://runs/x", tmp_path / "new")
    assert files(tmp_path / "new") == {"mine"}
    assert not (tmp_path / ".new.unfinished").exists()
