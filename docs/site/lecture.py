"""The pages of the lecture, which are files of the package, so that `bmaml lecture` runs the lines that the site shows."""

import re

from bmaml.lecture import chapters

HEAD = """# The lecture

From gradient descent to Bayesian meta-learning, in the order of a lecture. Each chapter has a formula, lines of this library
that do just that, the picture that these lines draw, and what was found. `bmaml lecture` lists the chapters, and
`bmaml lecture 11` runs one.

```{toctree}
:maxdepth: 1

"""
# A page of docs/lecture, at the end of the chapters.
DEVIATIONS = "Where paper, code and this library differ <../../lecture/deviations>\n"


def pages():
    """Return the text of each page by its file's name."""
    every = chapters().values()
    index = HEAD + "".join(f"{chapter.number}. {chapter.title} <{chapter.name}>\n" for chapter in every) + DEVIATIONS + "```\n"
    return {"lecture/index.md": index, **{f"lecture/{chapter.name}.md": page(chapter) for chapter in every}}


def page(chapter):
    """Return a chapter's page: its links and images lead from docs/generated/lecture into docs/."""
    parts = re.split(r"(^```.*?^```$)", chapter.text, flags=re.MULTILINE | re.DOTALL)
    text = "".join(part if part.startswith("```") else re.sub(r"\]\((?!https?:|#)", "](../../", part) for part in parts)
    return text.replace(f"# {chapter.title}", f"# {chapter.number}. {chapter.title}", 1)
