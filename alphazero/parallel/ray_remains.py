"""Removes what a Ray cluster of our own leaves behind, and has the last word, however its process ends.

Where its daemons have died, Ray ends the process at once and without a word; kill -9 and a lack of memory do so too.
Hence another process looks on, which runs this file as a script and loads neither Ray nor torch. If that one is killed
as well, the next cluster of our own removes the folder.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

PREFIX, OWNER = "az-", "owner"
GRACE = 3.0  # seconds that Ray's processes have for ending by themselves


@contextmanager
def private_folder(base: Path) -> Iterator[Path]:
    """A folder below `base` that only this user can enter; it goes with the context, or after the process has died."""
    _remove_orphans(base)
    folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=base))  # 0700
    with (folder / f".{OWNER}").open("wb") as owner:
        fcntl.flock(owner, fcntl.LOCK_EX)  # until all is removed, or the system lets go because this process dies
        (folder / f".{OWNER}").rename(folder / OWNER)  # nobody sees it without its lock
        try:
            yield folder
        finally:
            clear(folder, GRACE)


def _remove_orphans(base: Path) -> None:
    """Removes this user's folders whose owners have died."""
    for folder in base.glob(f"{PREFIX}*"):
        with suppress(OSError):  # it is another user's, its owner lives, or it has just gone
            found = folder.lstat()
            if stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid():
                with (folder / OWNER).open("rb") as owner:
                    fcntl.flock(owner, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    clear(folder, 0)


def clear(folder: Path, grace: float) -> None:
    """Removes the folder when the processes that write there have ended; after `grace` seconds it ends them."""
    for patience in (grace, 1, 1):  # one that was just about to start comes after the first look
        _, left = psutil.wait_procs(_writers(folder), patience)
        for process in left:
            with suppress(psutil.Error):
                process.kill()
        psutil.wait_procs(left, 1)
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return


def _writers(folder: Path) -> list[psutil.Process]:
    """Other processes that write in the folder, as all of Ray's do."""
    writers = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):  # it is another user's, or has just ended
            if process.pid != os.getpid() and _writes(process, folder):
                writers.append(process)
    return writers


def _writes(process: psutil.Process, folder: Path) -> bool:
    """Whether it has a file there open for writing, or will have: an option of its command names the folder."""
    if any(word.startswith("--") and f"={folder}/" in f"{word}/" for word in process.cmdline()):
        return True
    files = process.open_files()
    return any(Path(file.path).is_relative_to(folder) and getattr(file, "mode", "w") != "r" for file in files)


@contextmanager
def last_words(words: str, *folders: Path) -> Iterator[None]:
    """A context; if the process ends within it, another one removes the folders and says the words on stderr."""
    command = [sys.executable, "-P", str(Path(__file__).resolve()), words, *map(str, folders)]
    # In a session of its own, where neither Ctrl-C nor the end of the terminal reaches it.
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, start_new_session=True)
    try:
        yield
    finally:
        process.communicate(b"over")


def _look_on(words: str, *folders: str) -> None:
    """Waits for the end of the context, or of the process, which then has written nothing."""
    if sys.stdin.buffer.read():
        return
    cursor = "\x1b[?25h" * sys.stderr.isatty()  # a progress display has hidden it
    print(f"{cursor}\n{words}", file=sys.stderr, flush=True)
    for folder in folders:
        clear(Path(folder), GRACE)


if __name__ == "__main__":
    _look_on(*sys.argv[1:])
