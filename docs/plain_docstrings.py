"""A Sphinx extension that shows this project's docstrings as they are meant.

They are plain text: single backticks are code, indented blocks are examples, and below the first paragraph `name: what
it is` at the start of lines is a list of fields; lines set in columns stay as they are. Everything else, such as `*` in
a formula, stands for itself.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from typing import Any

# `name: text`, `name, other: text` or `name [B]: text` at the start of a line.
FIELD = re.compile(r"([a-z_][\w.]*(?:, [\w.]+)*(?: \[[^\]]*\])?):\s+(\S.*)")
FIELD_TYPE = re.compile(r"Annotated\[(\w+), .*\]\)\]")  # pydantic's, of a number within bounds
CODE = re.compile(r"`([^`\n]+)`")
LONGEST_NAME = 40


def to_rst(docstring: str) -> str:
    """The docstring as reStructuredText without surprises."""
    blocks = re.split(r"\n\s*\n", docstring.expandtabs().strip("\n"))
    return "\n\n".join(part for number, block in enumerate(blocks) for part in _parts(block.split("\n"), number == 0))


def _parts(lines: list[str], first: bool) -> Iterator[str]:
    """A block between empty lines: an example, fields, or a paragraph that an example may follow."""
    if all(line.startswith("    ") for line in lines) or (_in_columns(lines) and not _fields(lines)):
        yield "::\n\n" + textwrap.indent(textwrap.dedent("\n".join(lines)), "    ")
        return
    if not first and (fields := _fields(lines)):
        for name, text in fields:
            yield f"``{name}``\n    {_inline(text)}"
        return
    indented = next((number for number, line in enumerate(lines) if line.startswith("    ")), len(lines))
    if indented and all(line.startswith("    ") for line in lines[indented:]):
        yield _inline(" ".join(line.strip() for line in lines[:indented]))
        if lines[indented:]:
            yield from _parts(lines[indented:], first=False)
        return
    yield _inline(" ".join(line.strip() for line in lines))


def _in_columns(lines: list[str]) -> bool:
    """Whether several lines are set in columns, as a list of files is."""
    return sum("  " in line.strip() for line in lines) > 1


def _fields(lines: list[str]) -> list[tuple[str, str]]:
    """Name and text of each field; nothing if the block holds something else."""
    fields: list[tuple[str, str]] = []
    for line in lines:
        match = FIELD.fullmatch(line)
        if match and len(match[1]) <= LONGEST_NAME:
            fields.append((match[1], match[2]))
        elif fields and line.startswith(" "):
            fields[-1] = fields[-1][0], f"{fields[-1][1]} {line.strip()}"
        else:
            return []
    return fields


def _inline(text: str) -> str:
    """Text with its code marked and all else escaped."""
    parts = CODE.split(text)
    for number, part in enumerate(parts):
        # Markup must not touch a letter; `\ ` is nothing that keeps them apart.
        parts[number] = f"\\ ``{part}``\\ " if number % 2 else _escaped(part)
    return "".join(parts).removeprefix("\\ ").removesuffix("\\ ")


def _escaped(text: str) -> str:
    return re.sub(r"([\\*`|_:<>])", r"\\\1", text)


def process(app: Any, kind: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    """Autodoc's event `autodoc-process-docstring`: changes the lines in place."""
    lines[:] = [*to_rst("\n".join(lines)).split("\n"), ""]


def skip(app: Any, kind: str, name: str, thing: Any, skip: bool, options: Any) -> bool | None:
    """Autodoc's event `autodoc-skip-member`: fields of named tuples, which their class describes."""
    return True if str(getattr(thing, "__doc__", "")).startswith("Alias for field number") else None


def shorten_types(app: Any, doctree: Any, page: str) -> None:
    """Sphinx's event `doctree-resolved`: settings are numbers, whatever pydantic knows of their bounds."""
    from docutils.nodes import Text
    from sphinx.addnodes import desc_annotation

    for node in doctree.findall(desc_annotation):
        if FIELD_TYPE.search(node.astext()):
            node.children = [Text(FIELD_TYPE.sub(r"\1", node.astext()))]


def setup(app: Any) -> dict[str, bool]:
    app.connect("autodoc-process-docstring", process)
    app.connect("autodoc-skip-member", skip)
    app.connect("doctree-resolved", shorten_types)
    return {"parallel_read_safe": True}
