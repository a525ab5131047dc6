"""Sphinx: `make docs`; warnings are errors."""

import scdata

project = "scdata"
copyright = "the scdata authors"
version = release = scdata.__version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_click"]
html_theme = "furo"
html_title = f"scdata {release}"
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build"]
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3
# docstrings put names of code between single backticks
default_role = "code"
autodoc_typehints = "none"
autodoc_member_order = "bysource"
napoleon_numpy_docstring, napoleon_google_docstring = True, False
# a Notes or Source section begins no page of its own
napoleon_use_admonition_for_notes = False


def _plain(app, ctx, lines):
    """Help texts are no markup."""
    lines[:] = [line.replace("*", r"\*") for line in lines]


def setup(app):
    app.connect("sphinx-click-process-description", _plain)
