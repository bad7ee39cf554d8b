"""The notebooks in examples/: they are valid, were saved whole, and their code runs."""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted(ROOT.glob("examples/*.ipynb"))
# What is written otherwise, so that a test need not wait; cells with the tag FULL then claim too much.
SHORTER = {
    "tic_tac_toe": {
        "ITERATIONS = 30": "ITERATIONS = 2",
        "every=3, games=40": "every=1, games=2",
        "games=100": "games=2",
        "agent.think(games)": "agent.think(games, simulations=8)",
    }
}
FULL = "full"
KEYS = {
    "markdown": {"id", "cell_type", "metadata", "source"},
    "code": {"id", "cell_type", "metadata", "source", "outputs", "execution_count"},
    "stream": {"output_type", "name", "text"},
    "display_data": {"output_type", "data", "metadata"},
}
LARGEST, LARGEST_PICTURE = 400_000, 60_000  # bytes

# Runs cells in the names of `__main__`, as Jupyter does, and writes down which of them drew a figure.
RUN = """
import json
import sys


def run_cells():
    from matplotlib import pyplot

    drawn = []
    for cell, source in json.loads(sys.stdin.read()).items():
        exec(compile(source, f"cell {cell}", "exec"), globals())
        if pyplot.get_fignums():
            drawn.append(cell)
        for number in pyplot.get_fignums():
            pyplot.figure(number).canvas.draw()
        pyplot.close("all")
    with open("drawn.json", "w") as file:
        json.dump(drawn, file)


run_cells()
"""

each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))  # type: ignore[no-any-return]


def joined(text: str | list[str]) -> str:
    """A text of a notebook, which may be saved as its lines."""
    return text if isinstance(text, str) else "".join(text)


def code_cells(path: Path) -> list[dict[str, Any]]:
    return [cell for cell in read(path)["cells"] if cell["cell_type"] == "code"]


def is_full(cell: dict[str, Any]) -> bool:
    return FULL in cell["metadata"].get("tags", [])


def pictures(cell: dict[str, Any]) -> list[bytes]:
    """The pictures that were saved with a cell."""
    found = [output["data"]["image/png"] for output in cell["outputs"] if "image/png" in output.get("data", {})]
    return [base64.b64decode(joined(picture)) for picture in found]


def run(cells: dict[str, str], folder: Path) -> subprocess.CompletedProcess[str]:
    """Runs the sources of cells, by their id, in a process of their own that has no display."""
    environment = {name: value for name, value in os.environ.items() if name not in ("DISPLAY", "WAYLAND_DISPLAY")}
    environment |= {"MPLBACKEND": "Agg", "PYTHONPATH": str(ROOT), "TMPDIR": str(folder)}
    return subprocess.run(
        [sys.executable, "-c", RUN],
        input=json.dumps(cells), cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=600,
    )  # fmt: skip


def test_there_are_notebooks() -> None:
    assert {path.stem for path in NOTEBOOKS} == {"tic_tac_toe", "trebuchet"}


@each_notebook
def test_it_is_a_notebook(path: Path) -> None:
    """By the schema of nbformat 4.5, as far as it concerns what is in there."""
    book = read(path)
    assert set(book) == {"nbformat", "nbformat_minor", "metadata", "cells"}
    assert (book["nbformat"], book["nbformat_minor"]) == (4, 5)
    assert {"name", "display_name"} <= set(book["metadata"]["kernelspec"])
    assert book["metadata"]["language_info"]["name"] == "python"
    ids = [cell["id"] for cell in book["cells"]]
    assert len(set(ids)) == len(ids)
    for cell in book["cells"]:
        assert re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", cell["id"])
        assert set(cell) == KEYS[cell["cell_type"]], cell["id"]
        assert joined(cell["source"]).strip(), cell["id"]
    for cell in code_cells(path):
        for output in cell["outputs"]:
            assert set(output) == KEYS[output["output_type"]], cell["id"]  # no errors among them


@each_notebook
def test_it_begins_with_its_title_and_how_to_install_the_package(path: Path) -> None:
    first = read(path)["cells"][0]
    assert first["cell_type"] == "markdown"
    assert joined(first["source"]).startswith("# ")
    assert "`pip install .`" in joined(first["source"])
    assert "`alphazero-engine`" in joined(first["source"])


@each_notebook
def test_it_was_saved_after_it_had_run_from_first_to_last(path: Path) -> None:
    cells = code_cells(path)
    assert [cell["execution_count"] for cell in cells] == [*range(1, len(cells) + 1)]
    for cell in cells:
        source = joined(cell["source"])
        printed = any(output["output_type"] == "stream" for output in cell["outputs"])
        assert printed == bool(re.search(r"^ *print\(", source, re.MULTILINE)), cell["id"]
        assert len(pictures(cell)) == source.count("plt.show()"), cell["id"]


@each_notebook
def test_what_was_saved_is_small_and_tells_nothing_of_the_machine(path: Path) -> None:
    assert path.stat().st_size < LARGEST
    for cell in code_cells(path):
        assert all(len(picture) < LARGEST_PICTURE for picture in pictures(cell)), cell["id"]
        for output in cell["outputs"]:
            assert output.get("name") in (None, "stdout"), cell["id"]
            texts = [
                output.get("text", ""),
                *(part for kind, part in output.get("data", {}).items() if "png" not in kind),
            ]
            for text in map(joined, texts):
                assert not re.search(r"(?<![\w.])(/|[A-Z]:\\)\w+|\d:\d\d|Warning", text), (cell["id"], text)


@each_notebook
def test_its_code_runs(path: Path, tmp_path: Path) -> None:
    """Cell by cell, as it stands or SHORTER. It warns of nothing, and draws what was saved."""
    sources = {cell["id"]: joined(cell["source"]) for cell in code_cells(path)}
    if shorter := SHORTER.get(path.stem):
        sources = {cell["id"]: sources[cell["id"]] for cell in code_cells(path) if not is_full(cell)}
        for text, instead in shorter.items():
            (place,) = (cell for cell, source in sources.items() if text in source)
            assert sources[place].count(text) == 1
            sources[place] = sources[place].replace(text, instead)
    done = run(sources, tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    drawn = json.loads((tmp_path / "drawn.json").read_text())
    assert drawn == [cell["id"] for cell in code_cells(path) if pictures(cell)]


@each_notebook
def test_cells_that_a_shorter_run_leaves_out_only_claim(path: Path) -> None:
    full = [joined(cell["source"]).splitlines() for cell in code_cells(path) if is_full(cell)]
    assert bool(full) == (path.stem in SHORTER)
    assert [line for lines in full for line in lines if not line.startswith("assert ")] == []


def test_a_cell_that_fails_is_named(tmp_path: Path) -> None:
    done = run({"one": "a = 1", "two": "assert a == 2"}, tmp_path)
    assert done.returncode == 1
    assert "cell two" in done.stderr
    assert done.stderr.rstrip().endswith("AssertionError")
