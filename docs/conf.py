"""How Sphinx builds the site: `make docs`."""

from __future__ import annotations

import os
import sys
from pathlib import Path

# Before torch is loaded, as in the scripts: their modules are imported for the reference.
os.environ.setdefault("OMP_NUM_THREADS", "1")
HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE)]

project = "alphazero"
html_title = "alphazero"
html_theme = "furo"
html_show_copyright = False
html_static_path = ["_static"]
html_css_files = ["wide.css"]
html_theme_options = {"navigation_with_keys": True}
templates_path = ["_templates"]
exclude_patterns = ["_build"]
extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.viewcode",
    "plain_docstrings",
]

# Pages are Markdown that GitHub shows as well; anchors are GitHub's.
myst_heading_anchors = 4
suppress_warnings = ["ref.python"]  # some names, such as Samples, are classes of two modules

# Docstrings are plain text in which single backticks are code; `plain_docstrings` makes reStructuredText of it.
default_role = "code"
highlight_language = "none"  # examples in docstrings are of any kind
autosummary_generate = True
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_inherit_docstrings = False
autodoc_default_options = {"members": True, "ignore-module-all": True, "show-inheritance": True}
add_module_names = False
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 100
