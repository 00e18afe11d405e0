"""How Sphinx makes the documentation site: `make docs`. Pages that follow from definitions are written by `dev/pages` first."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "dev"), str(ROOT / "src"), str(ROOT)]

import aftercar  # noqa: E402

project = "aftercar"
author = "the authors of aftercar"
version = release = aftercar.__version__
language = "en-GB"

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
root_doc = "index"
exclude_patterns = ["conf.py"]
highlight_language = "none"  # what is shown indented is a shell, a screen or a table

html_theme = "furo"
html_title = f"aftercar {version}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sourcelink = False
html_theme_options = {"top_of_page_buttons": []}

myst_heading_anchors = 4
myst_enable_extensions = ["colon_fence"]
nb_execution_mode = "force"
nb_execution_timeout = 120
nb_execution_raise_on_error = True

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_default_options = {"members": True, "show-inheritance": False}
default_role = "code"
napoleon_custom_sections = ["Error"]
