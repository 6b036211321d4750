"""The documentation as a site: ``make docs``. Sources are read from the repository's root, so that links between pages,
bundles and README are the same here and in a checkout."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]
os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # commands in tutorials
os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("PYTHONWARNINGS", "ignore")

import reference_pages  # noqa: E402

from monai_robust import __version__  # noqa: E402

project = "monai-robust"
author = "The monai-robust developers"
version = release = __version__
copyright = f"{author}. Version {__version__}, Apache License 2.0. For research; not a medical device"

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.autosummary", "sphinx.ext.napoleon", "sphinx.ext.mathjax"]
extensions += ["sphinx_copybutton"]
root_doc = "docs/index"
include_patterns = [
    "docs/**",
    "README.md",
    "examples/README.md",
    "bundles/*/docs/README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
]
exclude_patterns = ["docs/_build/**", "**/.venv*/**", "**/output/**", "**/phantoms/**"]

html_theme = "furo"
html_title = f"monai-robust {__version__}"
html_extra_path = ["_extra"]  # the first page, which leads to docs/
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sphinx = False
html_copy_source = False
html_show_sourcelink = False
html_use_index = False  # every name is found by the search; its table is wider than a page

myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 4
suppress_warnings = ["myst.header", "myst-nb.lexer", "misc.highlighting_failure"]

nb_execution_mode = "cache"
nb_execution_cache_path = str(HERE / "_build" / "notebooks")
nb_execution_in_temp = True
nb_execution_timeout = 1800  # of a cell; a minute on two free cores is what a whole tutorial may take
nb_execution_show_tb = True  # a failure is a warning, and so ends the build when all have run
nb_merge_streams = True
nb_output_stderr = "remove"  # bars of progress

autodoc_member_order = "bysource"
autodoc_inherit_docstrings = False
autodoc_typehints_format = "short"
autosummary_generate = False
maximum_signature_line_length = 90
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True


def _escaped(app: object, what: str, name: str, thing: object, options: object, lines: list[str]) -> None:
    """Shapes such as (B, C, *spatial) are no emphasis."""
    lines[:] = [re.sub(r"(?<![\\*`\w])\*(?=[a-z_]+\b(?!\*))", r"\\*", line) for line in lines]


def setup(app: Any) -> None:
    reference_pages.write(HERE / "reference" / "generated")
    app.connect("autodoc-process-docstring", _escaped)
