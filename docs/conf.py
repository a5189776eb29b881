"""How Sphinx builds the site: `make docs`. Some pages are made from the code, by the modules in `site`."""

import sys
from importlib.metadata import version as installed
from pathlib import Path

DOCS = Path(__file__).parent
sys.path.insert(0, str(DOCS / "site"))

project = "bmaml"
author = "the authors of bmaml"
copyright = "the authors of bmaml, MIT licence"
version = release = installed("bmaml")

extensions = ["myst_parser", "sphinx_copybutton", "sphinx_design", "mathml", "llms", "generated"]
myst_enable_extensions = ["amsmath", "attrs_inline", "colon_fence", "dollarmath", "fieldlist"]
myst_heading_anchors = 4
exclude_patterns = ["site"]
# An annotation names a class without its module, and two modules may each have a class of that name.
suppress_warnings = ["ref.python"]

html_theme = "furo"
html_title = "bmaml"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_math_renderer = "mathml"
html_show_sphinx = False
html_copy_source = False
html_show_sourcelink = False
copybutton_prompt_text = r">>> |\$ "
copybutton_prompt_is_regexp = True
highlight_language = "text"
# Colours of code with a contrast of at least 4.5 to their background, as WCAG asks.
pygments_style = "a11y-light"
pygments_dark_style = "a11y-dark"
