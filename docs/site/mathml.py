"""Formulas as MathML, which browsers draw by themselves: no script, no font and no network."""

from html import escape

from docutils import nodes
from latex2mathml.converter import convert


def drawn(node, display):
    """Return a formula's MathML."""
    return convert(node.astext(), display=display)


def inline(self, node):
    """Write a formula within a line."""
    self.body.append(f'<span class="math">{drawn(node, "inline")}</span>')
    raise nodes.SkipNode


def block(self, node):
    """Write a formula on a line of its own."""
    self.body.append(f'<div class="math" role="math" aria-label="{escape(node.astext())}">{drawn(node, "block")}</div>')
    raise nodes.SkipNode


def setup(app):
    """Tell Sphinx of the renderer."""
    app.add_html_math_renderer("mathml", (inline, None), (block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
