"""The files of a run: their names, how they are written whole or not at all, and how they are read back safely."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import pickle
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch


class RunError(Exception):
    """A run's folder or checkpoint that cannot be used; the message names it and the fix."""


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """ValueError if the file holds anything else than arrays."""
    if not zipfile.is_zipfile(path):  # numpy's own message recommends to unpickle what is in it
        raise ValueError(f"{path.name} is no file of arrays")
    with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
        return dict(archive)


def save_arrays(path: Path, arrays: dict[str, np.ndarray]) -> None:
    with path.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)


def write_file(path: Path, content: bytes) -> None:
    """Writes all of it or nothing: under another name first, then renamed."""
    write_with(path, lambda unfinished: unfinished.write_bytes(content))


def write_json(path: Path, record: Mapping[str, Any]) -> None:
    """ValueError if it holds a number that JSON has not."""
    write_file(path, (json.dumps(record, indent=2, allow_nan=False) + "\n").encode())


def write_with(path: Path, write: Callable[[Path], object]) -> None:
    unfinished = path.with_name(f".unfinished.{path.name}")
    try:
        write(unfinished)
        with unfinished.open("rb") as file:
            os.fsync(file.fileno())
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def flush_folder(path: Path) -> None:
    """Makes a rename in the folder last."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def clear_errors(folder: Path) -> Iterator[None]:
    """Turns the system's refusal to write into a RunError that says what to do."""
    try:
        yield
    except OSError as error:
        if error.errno == errno.ENOSPC:
            fix = f"free some space; what was saved before is whole, continue it with --resume {folder}"
        else:
            fix = "make it writable or choose another folder"
        raise RunError(f"cannot write {error.filename or folder}: {error.strerror or error}; {fix}") from error


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turns what a file of another shape provokes into a RunError that names the checkpoint."""
    try:
        yield
    except pickle.UnpicklingError as error:  # whose own message recommends to run what is in the file
        raise RunError(f"{path / 'optimizer.pt'} holds other things than tensors and was not made here") from error
    except KeyError as error:
        raise RunError(f"{path} does not fit this configuration or version: it lacks {error}") from error
    except (ValueError, RuntimeError, OSError, zipfile.BadZipFile, safetensors.SafetensorError) as error:
        raise RunError(f"{path} does not fit this configuration or version: {error}") from error


def _replace(path: Path, content: bytes) -> None:
    """Writes the file whole or not at all."""
    temporary = path.with_name(path.name + ".tmp")
    with _naming(path):
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Makes every OSError name the path; those of writing (a full disk) say no file by themselves."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error
