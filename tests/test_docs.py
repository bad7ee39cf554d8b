"""README and docs: links lead somewhere, code runs, commands name scripts and options that exist."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import fields
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest

from alphazero.config import Config
from alphazero.runs.configuration import SECTIONS, make_config
from docs.plain_docstrings import to_rst

ROOT = Path(__file__).resolve().parents[1]
DATA = "games/data/connect_four/README.md"
PATHS = (ROOT / "README.md", ROOT / DATA, *sorted(ROOT.glob("docs/*.md")))
PAGES = {str(path.relative_to(ROOT)): path.read_text() for path in PATHS}
FENCE = re.compile(r"^```(\S*)[^\n]*\n(.*?)^```", re.DOTALL | re.MULTILINE)
HELP_OF_ALL = """
import contextlib, io, json, runpy, sys
helps = {}
for words in json.loads(sys.argv[1]):
    sys.argv[:], said = [*words, "--help"], io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.suppress(SystemExit):
        runpy.run_path(words[0], run_name="__main__")
    helps[" ".join(words)] = said.getvalue()
print(json.dumps(helps))
"""
# Scripts whose options depend on the first argument.
WITH_PARTS = {"benchmarks/aiming.py", "benchmarks/trebuchet.py"}
PYTHONS = {".venv/bin/python", "peers/bin/python"}
OTHER_PROGRAMS = {".venv/bin/tensorboard", "python3", "ray"}


def blocks(page: str, *languages: str) -> list[str]:
    return [code for language, code in FENCE.findall(PAGES[page]) if language in languages]


def prose(page: str) -> str:
    """The page without its blocks of code."""
    return FENCE.sub("", PAGES[page])


def anchors(text: str) -> set[str]:
    """The headings' anchors as GitHub makes them: small letters and hyphens, nothing else."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken_links(page: Path, text: str) -> list[str]:
    """Links to files that do not exist, and to headings that the file does not have."""
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", FENCE.sub("", text)):
        if re.match(r"https?://", link):
            continue
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        there = text if target == page else target.read_text() if target.suffix == ".md" and target.is_file() else ""
        if not target.is_file() or (anchor and anchor not in anchors(there)):
            broken.append(link)
    return broken


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    assert broken_links(ROOT / page, PAGES[page]) == []


def test_links_of_notebooks_lead_somewhere() -> None:
    for path in ROOT.glob("examples/*.ipynb"):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        text = "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
        assert "](" in text
        assert broken_links(path, text) == [], path


def test_broken_links_are_found() -> None:
    text = (
        "# One\n[a](#one) [b](#two) [c](docs/none.md) [d](docs/faq.md#none) [e](docs/faq.md) [f](https://example.org)"
    )
    assert broken_links(ROOT / "README.md", text) == ["#two", "docs/none.md", "docs/faq.md#none"]


def test_the_readme_is_short_and_all_pages_are_in_the_site() -> None:
    assert len(PAGES["README.md"].splitlines()) <= 150
    for page in PAGES:
        if page not in ("README.md", DATA, "docs/index.md"):
            assert re.search(rf"^{Path(page).stem}$", PAGES["docs/index.md"], re.MULTILINE), page


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")])
def test_python_runs(page: str) -> None:
    """The blocks of a page build on one another."""
    names = {"__name__": page}
    for number, code in enumerate(blocks(page, "python")):
        exec(compile(code, f"{page}, block {number}", "exec"), names)


def test_configurations_are_valid() -> None:
    for page in PAGES:
        for text in blocks(page, "toml"):
            make_config(tomllib.loads(text), source=page)


def test_othello_is_quoted_as_it_is() -> None:
    page, game = "docs/othello.md", (ROOT / "games/othello.py").read_text()
    assert blocks(page, "toml") == [(ROOT / "configs/othello6.toml").read_text()]
    functions = blocks(page, "py")
    assert len(functions) == 5
    assert [function for function in functions if function not in game] == []


def test_the_transformer_is_quoted_as_it_is() -> None:
    (method,) = blocks("docs/your_own_network.md", "py")
    assert method in (ROOT / "examples/transformer.py").read_text()


def commands(page: str) -> Iterator[list[str]]:
    """The words of each command line of a page; lines that end in a backslash go on in the next."""
    for block in blocks(page, "sh", "console"):
        for line in block.replace("\\\n", " ").splitlines():
            if words := shlex.split(line.removeprefix("$ "), comments=True):
                yield words


def calls() -> list[tuple[str, list[str]]]:
    """Page, and script with arguments, of each call of a script."""
    found = []
    for page in PAGES:
        for words in commands(page):
            if words[0] in PYTHONS and words[1].endswith(".py"):
                found.append((page, words[1:]))
        # Calls within sentences.
        for code in re.findall(r"`((?:scripts|benchmarks|examples)/\w+\.py [^`]+)`", prose(page)):
            found.append((page, shlex.split(code)))
    return found


def asked(words: list[str]) -> list[str]:
    """The script whose --help is needed, with its part if it has parts."""
    return words[:2] if words[0] in WITH_PARTS else words[:1]


@pytest.fixture(scope="module")
def helps() -> dict[str, str]:
    """--help of each script that the pages call; all in one process, where torch is loaded once."""
    scripts = {" ".join(asked(words)): asked(words) for _, words in calls()}
    assert [words[0] for words in scripts.values() if not (ROOT / words[0]).is_file()] == []
    process = subprocess.run(
        [sys.executable, "-c", HELP_OF_ALL, json.dumps(list(scripts.values()))],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert process.returncode == 0, process.stderr
    return json.loads(process.stdout)  # type: ignore[no-any-return]


def test_commands_name_scripts_and_options_that_exist(helps: dict[str, str]) -> None:
    unknown = []
    for page, words in calls():
        text = helps[" ".join(asked(words))]
        options = {word.partition("=")[0] for word in words[1:] if word.startswith("--")}
        unknown += [(page, words[0], option) for option in options if not re.search(rf"{re.escape(option)}\b", text)]
        unknown += [(page, words[0], "no --help") for _ in [0] if "usage:" not in text]
    assert unknown == []


def test_files_that_commands_name_exist() -> None:
    """Apart from files that a reader makes: runs, a game, data, pictures."""
    for page, words in calls():
        for word in words:
            if re.match(r"(configs|games)/", word):
                assert (ROOT / word).is_file(), (page, word)


def test_other_commands_are_of_make_and_known_programs() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z]+):", makefile, re.MULTILINE))
    variables = set(re.findall(r"^([A-Z]+) *\?=", makefile, re.MULTILINE))
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for page in PAGES:
        for words in commands(page):
            line = page, " ".join(words)
            if words[0] == "make":
                assert words[1] in targets, line
                assert {word.partition("=")[0] for word in words[2:]} <= variables, line
            elif words[0] in PYTHONS and words[1:4] == ["-m", "pip", "install"]:
                assert set(re.findall(r"\.\[(\w+)\]", line[1])) <= set(extras), line
            else:
                assert words[0] in OTHER_PROGRAMS or words[1].endswith(".py"), line


@pytest.mark.parametrize("page", PAGES)
def test_names_in_the_text_exist(page: str) -> None:
    """Files, modules and settings that the text names in backticks, or in a picture of the tree."""
    for code in re.findall(r"`([^`\n]+)`", prose(page)):
        if re.fullmatch(r"(alphazero|games|scripts|benchmarks|examples|configs|tests)/[\w./]*", code):
            assert (ROOT / code).exists(), code
        elif re.fullmatch(r"(alphazero|games)(\.\w+)+", code):
            assert exists(code), code
        elif (match := re.fullmatch(r"(\w+)\.(\w+)(?: = .+)?", code)) and match[1] in SECTIONS:
            assert match[2] in {field.name for field in fields(SECTIONS[match[1]])}, code
    for line in re.findall(r"^    .+", PAGES[page], re.MULTILINE):
        for path in re.findall(r"(?<!\S)alphazero/[\w./]+", line):
            assert (ROOT / path).exists(), path


def test_the_tree_of_the_house_is_the_one_on_disk() -> None:
    house = PAGES["docs/design.md"].partition("    alphazero/\n")[2].partition("    games/")[0]
    tree = set(re.findall(r"^      ([a-z]+(?:/|\.py)) ", house, re.MULTILINE))
    there = {f"{path.name}/" if path.is_dir() else path.name for path in (ROOT / "alphazero").iterdir()}
    assert tree == {name for name in there if not name.startswith("_")} - {
        "conformance.py",
        "py.typed",
    }  # an old name; a mark


def exists(name: str) -> bool:
    """Whether it is a module, or a name in one."""
    module, _, last = name.rpartition(".")
    try:
        return find_spec(name) is not None or hasattr(import_module(module), last)
    except ModuleNotFoundError:
        return hasattr(import_module(module), last) if find_spec(module) else False


def test_every_setting_has_its_place_in_training() -> None:
    page = PAGES["docs/training.md"]
    top = {field.name for field in fields(Config)} - set(SECTIONS)
    sections = {name: {field.name for field in fields(section)} for name, section in SECTIONS.items()}
    for name in top.union(*sections.values()):
        assert re.search(rf"`(\w+\.)?{name}`", page), name


def test_docstrings_become_restructured_text() -> None:
    docstring = """Uses the `State`s of *all* games_.

    logits: [B, A], before
            masking.
    value:  of |x|.

    As in

        x = 1
    """
    docstring = re.sub("^    ", "", docstring, flags=re.MULTILINE)
    assert to_rst(docstring) == "\n\n".join(
        [
            r"Uses the \ ``State``\ s of \*all\* games\_.",
            "``logits``\n    [B, A], before masking.",
            r"``value``" + "\n" + r"    of \|x\|.",
            "As in",
            "::\n\n    x = 1",
        ]
    )


def test_the_plain_game_is_trained_by_its_page(tmp_path: Path) -> None:
    """As its reader does it: the rules and the configuration are saved, and two commands follow. In 60 lines in all."""
    page = "docs/plain_python.md"
    rules, settings = blocks(page, "python")[0], blocks(page, "toml")[0]
    train = next(command for command in commands(page) if "scripts/train.py" in command)
    assert len([*rules.splitlines(), *settings.splitlines()]) + 2 <= 60
    folder = tmp_path / "my_games"
    folder.mkdir()
    (folder / "tic_tac_toe.py").write_text(rules)
    (folder / "tic_tac_toe.toml").write_text(settings)
    words = [
        sys.executable,
        ROOT / train[1],
        *train[2:-1],
        tmp_path / "mine",
        "--iterations",
        "1",
        "--evaluation.games",
        "2",
    ]
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "minimax:9" in done.stdout
    assert (tmp_path / "mine" / "agent.onnx").exists()
