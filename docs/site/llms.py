"""The site's table of contents as Markdown, `llms.txt`: every page with its first sentence, for programs that read."""

import re
from pathlib import Path

from docutils import nodes

HEAD = """# bmaml

> bmaml learns from many small related data sets how to predict a new one from a handful of points. It says how sure it is, and
> which point to measure next: Bayesian meta-learning in Python and JAX, for tables, images and policies.

Install a clone with `pip install .`. `import bmaml` is the package, and `bmaml --help` lists the commands.
"""


def text(env):
    """Return the contents: a section for each entry of the site's navigation, and a line for each page below it."""
    parts = [HEAD, "\n## Start\n\n", line(env, env.config.root_doc)]
    for top in env.toctree_includes[env.config.root_doc]:
        if top != env.config.root_doc:
            below = "".join(line(env, page) for page in pages(env, top))
            parts.append(f"\n## {env.titles[top].astext()}\n\n{below}")
    return "".join(parts)


def pages(env, top):
    """Return a page and those below it, in the order of the navigation."""
    return [top, *(page for name in env.toctree_includes.get(top, []) for page in pages(env, name))]


def line(env, page):
    """Return the line of a page: its title, its file, and its first sentence."""
    first = env.get_doctree(page).next_node(lambda node: isinstance(node, nodes.paragraph) and bool(node.astext().strip()))
    told = "" if first is None else re.split(r"(?<=[.:])\s", " ".join(first.astext().split()))[0]
    return f"- [{env.titles[page].astext()}]({page}.html){f': {told}' if told else ''}\n"


def write(app, failure):
    """Write the file beside the site's pages."""
    if failure is None and app.builder.format == "html":
        (Path(app.outdir) / "llms.txt").write_text(text(app.env))


def setup(app):
    """Write the file once the pages are written."""
    app.connect("build-finished", write)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
