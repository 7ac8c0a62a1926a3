"""How the documentation is built: offline, every page executed, every warning an error."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import gbveval

if TYPE_CHECKING:
    from sphinx.application import Sphinx

project = "gbveval"
author = "The gbveval authors"
copyright = "The gbveval authors, BSD-3-Clause"
version = release = gbveval.__version__

extensions = ["myst_nb", "sphinx.ext.autodoc", "numpydoc"]
exclude_patterns = ["_build", "jupyter_execute", "**.ipynb_checkpoints"]
nitpicky = False

# Pages.
myst_enable_extensions = ["deflist", "fieldlist"]
myst_heading_anchors = 3
suppress_warnings: list[str] = []

# Code cells run at each build; a cell that raises fails it.
nb_execution_mode = "force"
nb_execution_timeout = 120
nb_execution_raise_on_error = True
nb_execution_show_tb = True
nb_merge_streams = True

# Nothing is fetched, neither by the build nor by a reader's browser. No page has mathematics that needs a script.
nb_ipywidgets_js: dict[str, dict[str, str]] = {}
html_math_renderer = "plain"
html_theme = "pydata_sphinx_theme"
html_title = "gbveval"
html_show_sourcelink = False
html_copy_source = False
html_static_path: list[str] = ["_static"]
html_css_files = ["pages.css"]
# These have no pages below them, so the column that would list them is left out.
html_sidebars: dict[str, list[str]] = {
    page: [] for page in ("index", "tutorials/first-evaluation", "planning-parameters", "roadmap")
}
html_theme_options = {
    "header_links_before_dropdown": 6,
    "show_prev_next": True,
    "navigation_with_keys": False,
    "secondary_sidebar_items": {"**": ["page-toc"], "planning-parameters": []},
    "navbar_end": ["theme-switcher"],
    "footer_start": ["copyright"],
    "footer_end": [],
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}

# Reference.
autodoc_member_order = "bysource"
autodoc_typehints = "none"
numpydoc_show_class_members = False
numpydoc_xref_param_type = False


def _plain_math(translator: Any, node: Any) -> None:
    """Write a formula as its source: the usual renderer is a script, loaded from elsewhere by every page."""
    from docutils.nodes import SkipNode

    translator.body.append(f"<code>{translator.encode(node.astext())}</code>")
    raise SkipNode


def setup(app: Sphinx) -> None:
    """Register the renderer that `html_math_renderer` names."""
    app.add_html_math_renderer("plain", (_plain_math, None), (_plain_math, None))
