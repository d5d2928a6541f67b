"""Sphinx: ``make docs`` builds this folder to HTML and ``docs/api.md`` from the docstrings."""

import re

from docutils import nodes
from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.util import logging

import nequip_decorr

project = "nequip-decorr"
author = "the nequip-decorr authors"
copyright = author
release = version = nequip_decorr.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_markdown_builder"]
# `api.md` is what the Markdown builder makes of `api.rst`; in HTML the latter takes its place.
exclude_patterns = ["_build", "api.md", "examples"]
# The index takes further pages as they come.
suppress_warnings = ["toc.empty_glob"]
html_theme = "furo"
html_title = "nequip-decorr"
html_static_path = ["_static"]
html_css_files = ["docs.css"]
html_math_renderer = "mathml"

myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
autodoc_member_order = "bysource"
autodoc_typehints = "none"
autodoc_default_options = {"members": True}
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_attr_annotations = False
markdown_anchor_sections = True
markdown_anchor_signatures = True


def _outside(app, docname, source):
    """On GitHub links name files; here `api` is made anew, and what lies outside is no page."""
    source[0] = source[0].replace("](api.md", "](api.rst")
    source[0] = re.sub(r"\]\((\.\./[^)#]+\.md)(#[^)]*)?\)", r"](path:\1)", source[0])


def _math(translator, node):
    """As MathML, which browsers show by themselves: nothing is fetched."""
    try:
        block = isinstance(node, nodes.math_block)
        translator.body.append(tex2mathml(node.astext(), as_block=block))
    except MathError as err:
        logging.getLogger(__name__).warning("%s in %s", err, node.astext(), location=node)
    raise nodes.SkipNode


def _nothing(translator, node):
    """Leave the text as it is."""


def setup(app):
    """Called by Sphinx."""
    app.connect("source-read", _outside)
    app.add_html_math_renderer("mathml", (_math, None), (_math, None))
    # The Markdown builder has no rule for the `*` of keyword-only arguments.
    app.add_node(nodes.abbreviation, override=True, markdown=(_nothing, _nothing))
