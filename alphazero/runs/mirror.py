"""A copy of a run at a safer place than its driver's machine: object storage, another machine, another disk.

A run trains in a local folder. A mirror copies it, after each checkpoint, to an address that fsspec understands
(s3://bucket/runs/x, sftp://host/runs/x, file:///mnt/x), and `fetch` makes a local run of the copy, on any machine.

Such places rename nothing, so a checkpoint's `state.json` is what makes it whole there: it is copied last and
removed first. `run.id` tells which run the copy is of, so that no run is written over another, and `run.holder` which
process copies it there: the one that came last. Another process of the same run, on a machine that went on with a copy,
then copies there no more.
"""

from __future__ import annotations

import os
import shutil
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from alphazero.game.messages import LONGEST_REASON, shortened
from alphazero.runs import files
from alphazero.runs.checkpoint import checkpoints, verify
from alphazero.runs.files import CHECKPOINTS, HOLDER, IDENTITY, LIGHT, WHOLE, RunError
from alphazero.runs.lock import MOST, Holder, run_lock

PATIENCE = 60.0  # seconds that the end of training waits for the last copy


def is_url(text: str) -> bool:
    """Whether it is an address for a mirror rather than a path."""
    return "://" in text


class Mirror:
    """Keeps the copy of a run's folder at `url` up to date, in a thread of its own.

    Whatever goes wrong there leaves the training and the local folder as they are. `say` is told, from that
    thread, when copying begins to fail and when it works again.
    """

    def __init__(self, folder: Path, url: str, *, say: Callable[[str], None]) -> None:
        """RunError if nothing that is installed can reach such an address. Does not try to yet."""
        check_protocol(url)
        self.folder, self.url, self.say = folder, url, say
        self.failing = self._wanted = self._busy = False
        self._place: Place | None = None
        self._holder, self._claimed = Holder.this(), False
        self._copied: dict[str, tuple[int, int]] = {}  # size and time of files when they were last copied
        self._changed = threading.Condition()

    def update(self) -> None:
        """Asks for the copy to be brought up to date, once more if that is under way; returns at once."""
        with self._changed:
            self._wanted = True
            if not self._busy:
                self._busy = True
                # A daemon: an address that does not answer must not keep the program from ending.
                threading.Thread(target=self._work, name="mirror", daemon=True).start()

    def wait(self, seconds: float) -> bool:
        """Whether every update that was asked for has been tried within that time."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._busy, seconds)

    def close(self) -> None:
        """Waits for the last update, though not for ever, and says so if the copy is not up to date."""
        fix = f"what is whole there stays so, and --resume {self.folder} copies the rest"
        if not self.wait(PATIENCE):
            self.say(f"the last copy to {self.url} is not finished after {PATIENCE:.0f} s and is given up; {fix}")
        elif self.failing:
            self.say(f"the last checkpoint was not copied to {self.url}; {fix}")

    def _work(self) -> None:
        while True:
            with self._changed:
                self._busy, self._wanted = self._wanted, False
                if not self._busy:
                    self._changed.notify_all()
                    return
            failing, line = False, f"the run is copied to {self.url} again"
            try:
                self._copy()
            except Exception as error:  # what the packages behind an address raise has no other base in common
                self._place = None  # connects and lists anew: who knows what is there now
                fault = f"cannot copy the run to {self.url}: {reason(error)}"
                failing, line = True, f"{fault}; trying again after the next checkpoint"
            if failing != self.failing:
                self.failing = failing
                with suppress(OSError):  # the log cannot be written: the training's own thread will meet that and stop
                    self.say(line)

    def _copy(self) -> None:
        """Brings the copy up to date with the folder as it is now, whatever the training removes meanwhile."""
        place = self._place = self._place or self._connect()
        self._check_holder(place)
        # Hard links, so that slow copying gets to the end of a checkpoint that has been pruned since.
        held = self.folder / CHECKPOINTS / ".copying"
        shutil.rmtree(held, ignore_errors=True)
        kept: dict[str, list[str]] = {}  # the checkpoints' files, by number
        new: list[str] = []
        try:
            for path in checkpoints(self.folder):
                names = WHOLE if all((path / name).is_file() for name in WHOLE) else LIGHT
                kept[path.name] = checkpoint_files(path.name, names)
                try:
                    # The copy has this very checkpoint if it has its state: the digests are in that.
                    there = place.states.get(path.name) == (path / "state.json").read_bytes()
                    if not there or not place.sizes.keys() >= set(kept[path.name]):
                        hold(path, held / path.name, names)
                        new.append(path.name)
                except FileNotFoundError:  # pruned just now: left as it is until the next update
                    kept[path.name] = checkpoint_files(path.name, WHOLE)
            beside = list(files.run_files(self.folder))
            for name in beside:
                self._copy_file(place, name)
            for number in reversed(new):  # the newest matters most
                self._check_holder(place)
                place.remove(f"{CHECKPOINTS}/{number}/state.json")
                for name in kept[number]:
                    place.put(held / number / Path(name).name, name)
                place.states[number] = (held / number / "state.json").read_bytes()
            if kept and set(checkpoint_files(max(kept), WHOLE)) <= place.sizes.keys():
                self._prune(place, beside, kept)
        finally:
            shutil.rmtree(held, ignore_errors=True)

    def _connect(self) -> Place:
        """RunError if there is another run, or more of this one than in the folder."""
        place, identity = Place(self.url), self.folder / IDENTITY
        if not identity.exists():
            files.write_file(identity, uuid.uuid4().hex.encode())
        if IDENTITY not in place.sizes or place.files.cat_file(IDENTITY) != identity.read_bytes():
            if place.sizes.keys() - {IDENTITY}:
                raise RunError(f"another run is there, not {self.folder}; have this one copied to another address")
            place.put(identity, IDENTITY)
        there, here = place.checkpoints(), [path.name for path in checkpoints(self.folder)]
        if there and there[-1] > max(here, default=""):
            ahead = f"it is at iteration {int(there[-1])} already, ahead of {self.folder}"
            raise RunError(f"{ahead}; continue from there with --resume {self.url}")
        for number in set(there).intersection(here):
            place.states[number] = place.files.cat_file(f"{CHECKPOINTS}/{number}/state.json")
        if not self._claimed:
            if (before := place.holder()) and before.host != self._holder.host:
                self.say(f"{self.url} was copied to by {before}; should that still run, it copies there no more")
            place.files.pipe_file(HOLDER, self._holder.to_bytes())
            self._claimed = True
        return place

    def _check_holder(self, place: Place) -> None:
        """RunError if another process has come to copy the run there."""
        holder = place.holder()
        if holder and holder.token != self._holder.token:
            raise RunError(f"{holder}, copies this run there by now; have this process copy to another address")

    def _copy_file(self, place: Place, name: str) -> None:
        """Copies a file beside the checkpoints, if it has changed and is still there."""
        path = self.folder / name
        try:
            status = path.stat()
            stamp = status.st_size, status.st_mtime_ns
            # Games are written once and events grow, so at first their size tells them apart. All others are
            # written over: each is copied when first seen.
            sized = name.startswith((files.GAMES, files.EVENTS, files.TENSORBOARD))
            known = sized and place.sizes.get(name) == status.st_size
            if name not in place.sizes or self._copied.get(name, stamp if known else None) != stamp:
                place.put(path, name)
            self._copied[name] = stamp
        except FileNotFoundError:
            if path.exists():  # then it is the address that was not found
                raise

    def _prune(self, place: Place, beside: list[str], kept: dict[str, list[str]]) -> None:
        """Removes from the copy what the run has no longer."""
        for number in {name.split("/")[1] for name in place.sizes if files.is_checkpoint_file(name)} - kept.keys():
            place.remove(f"{CHECKPOINTS}/{number}/state.json")
            place.remove(f"{CHECKPOINTS}/{number}")
        for name in place.sizes.keys() - set(beside).union(*kept.values()):
            place.remove(name)


@contextmanager
def mirrored(
    folder: Path, url: str, *, say: Callable[[str], None], give_up: Callable[[], bool]
) -> Iterator[Mirror | None]:
    """A mirror of the run at `url`, if there is one, brought up to date at both ends.

    give_up: asked at the end whether not to wait for the last copy.
    """
    if not url:
        yield None
        return
    mirror = Mirror(folder, url, say=say)
    mirror.update()  # tells at once if it cannot
    try:
        yield mirror
    finally:
        mirror.update()  # the agent and the last figures too
        if not give_up():
            mirror.close()


class Place:
    """A folder at an address, and the sizes of the files of a run that are in it. Other files are not seen."""

    def __init__(self, url: str) -> None:
        import fsspec  # only if there is a mirror
        from fsspec.implementations.dirfs import DirFileSystem

        # Instances of its own: fsspec would give us those whose connection broke, and their old listings.
        system, path = fsspec.url_to_fs(url, skip_instance_cache=True)
        self.files = DirFileSystem(path.rstrip("/"), system, skip_instance_cache=True)
        self.sizes: dict[str, int] = {}
        self.states: dict[str, bytes] = {}  # state.json of whole checkpoints
        try:
            self.files.ls("", detail=False)  # `find` takes what cannot be listed for empty
        except FileNotFoundError:
            return
        for name, of in self.files.find("", detail=True).items():
            # What is no file, such as a pipe, would keep its reader waiting.
            if of["type"] == "file" and (files.is_run_file(name) or files.is_checkpoint_file(name)):
                self.sizes[name] = of["size"]

    def checkpoints(self) -> list[str]:
        """The numbers of those that have a state.json, oldest first."""
        return sorted(name.split("/")[1] for name in self.sizes if name.endswith("/state.json"))

    def holder(self) -> Holder | None:
        """The process that came last to copy its run here."""
        with suppress(FileNotFoundError):
            return Holder.from_bytes(self.files.cat_file(HOLDER, start=0, end=MOST))
        return None

    def get(self, name: str, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.files.get_file(name, str(path))

    def put(self, path: Path, name: str) -> None:
        size, parent = path.stat().st_size, name.rpartition("/")[0]
        if all(other.rpartition("/")[0] != parent for other in self.sizes):
            with suppress(PermissionError):  # object stores need no folders, and may forbid to make a bucket
                self.files.makedirs(parent, exist_ok=True)
        self.files.put_file(str(path), name)
        self.sizes[name] = size

    def remove(self, name: str) -> None:
        """Removes a file, or a folder with all that is in it, if the run has any of it there."""
        if gone := [other for other in self.sizes if other == name or other.startswith(f"{name}/")]:
            with suppress(FileNotFoundError):
                self.files.rm_file(name) if name in self.sizes else self.files.rm(name, recursive=True)
            self.sizes = {other: size for other, size in self.sizes.items() if other not in gone}


def fetch(url: str, folder: Path) -> None:
    """Makes a run in a new folder from the copy at `url`: the newest two whole checkpoints, of older ones the network.

    RunError if there is no run with a whole checkpoint, or the folder is not new. Reads no file but to
    compare digests.
    """
    folder = folder.resolve()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise RunError(f"{folder} exists already, so {url} cannot be copied there; name another folder with --run")
    check_protocol(url)
    unfinished = folder.with_name(f".{folder.name}.unfinished")
    try:
        with _unfinished_copy(unfinished):
            place = Place(url)
            if files.CONFIG not in place.sizes or not place.checkpoints():
                held = "is no run: it has no config.toml with checkpoints/ beside it" if place.sizes else "holds no run"
                raise RunError(f"{url} {held}; name the address that a run was copied to")
            disk = next(parent for parent in unfinished.parents if parent.exists())
            if sum(size or 0 for size in place.sizes.values()) > shutil.disk_usage(disk).free:
                raise RunError(f"{url} is larger than the space that is left in {disk}; free some")
            for name in filter(files.is_run_file, place.sizes):
                place.get(name, unfinished / name)
            fetch_checkpoints(place, unfinished)
            if folder.exists() and any(folder.iterdir()):
                raise RunError(f"{folder} exists by now, so {url} was not copied there; name another folder with --run")
        (unfinished / files.LOCK).unlink()
        if folder.exists():
            folder.rmdir()
        unfinished.replace(folder)
    except RunError as error:
        raise RunError(str(error).replace(str(unfinished), url)) from error
    except Exception as error:  # see Mirror
        raise RunError(f"cannot copy {url} to {folder}: {reason(error)}; nothing was left behind, try again") from error


@contextmanager
def _unfinished_copy(folder: Path) -> Iterator[None]:
    """A context in which no other process copies into the folder; it is empty at first, and removed after an error."""
    folder.mkdir(parents=True, exist_ok=True)
    with run_lock(folder, say=lambda text: None):
        try:
            for path in folder.iterdir():
                if path.name != files.LOCK:
                    files.remove(path)  # of a process that died
            yield
        except BaseException:
            files.remove(folder)
            raise


def fetch_checkpoints(place: Place, folder: Path) -> None:
    """RunError if none is whole. One that is altered, or pruned while it is copied, is passed over."""
    whole, problem = 0, ""
    for number in reversed(place.checkpoints()):
        names = WHOLE if whole < 2 and set(checkpoint_files(number, WHOLE)) <= place.sizes.keys() else LIGHT
        if names == LIGHT and not whole:
            continue
        path = folder / CHECKPOINTS / number
        try:
            for name in checkpoint_files(number, names):
                place.get(name, folder / name)
            verify(path, names)
            whole += names == WHOLE
        except (FileNotFoundError, RunError) as error:
            problem = problem or f": {error}"
            shutil.rmtree(path, ignore_errors=True)
    if not whole:
        raise RunError(f"{folder} has no whole checkpoint to resume from; start anew with --run{problem}")


def checkpoint_files(number: str, names: tuple[str, ...]) -> list[str]:
    """Files of a checkpoint by their names in the run; state.json is the last, as in WHOLE and LIGHT."""
    return [f"{CHECKPOINTS}/{number}/{name}" for name in names]


def hold(path: Path, held: Path, names: tuple[str, ...]) -> None:
    """Links or, where there are no hard links, copies the files. FileNotFoundError if one is gone."""
    held.mkdir(parents=True)
    for name in reversed(names):  # state.json first: should this be saved anew meanwhile, the next update notices
        try:
            os.link(path / name, held / name)
        except OSError:
            shutil.copyfile(path / name, held / name)


def check_protocol(url: str) -> None:
    """RunError if fsspec does not know it, or lacks the package for it."""
    import fsspec

    try:
        fsspec.get_filesystem_class(fsspec.utils.get_protocol(url))
    except Exception as error:  # ValueError, ImportError of a package that it lacks, and what that raises as it loads
        fix = "" if isinstance(error, ImportError) else "; name one that fsspec has, as file, s3, gs, abfs or sftp"
        raise RunError(f"cannot use {url}: {error}{fix}") from error


def reason(error: Exception) -> str:
    """In one line; with its kind, which the messages of other packages tend to leave out."""
    text = " ".join(str(error).split())
    return text if isinstance(error, RunError) else shortened(f"{type(error).__name__}: {text}", LONGEST_REASON)
