"""The chapters: reading their pages, and running their lines."""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib.resources import files

_BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Chapter:
    """A chapter of the lecture.

    - `name`: the name of its file, which starts with its number.
    - `text`: its page as Markdown.
    """

    name: str
    text: str

    @property
    def number(self) -> int:
        """Its place in the lecture, from 1."""
        return int(self.name.split("_")[0])

    @property
    def title(self) -> str:
        """The heading of its page."""
        return self.text.splitlines()[0].removeprefix("# ")

    @property
    def blocks(self) -> list[str]:
        """The Python blocks of its page, in their order."""
        return _BLOCK.findall(self.text)

    def run(self) -> dict[str, object]:
        """Run its blocks one after another, as in a notebook, and return the names that they define."""
        names: dict[str, object] = {"__name__": f"chapter {self.number}"}
        for block in self.blocks:
            exec(compile(block, self.name, "exec"), names)
        return names


def chapters() -> dict[int, Chapter]:
    """Return all chapters by their numbers."""
    pages = [page for page in files("bmaml.lecture").joinpath("pages").iterdir() if page.name.endswith(".md")]
    every = [Chapter(page.name.removesuffix(".md"), page.read_text("utf-8")) for page in pages]
    return {chapter.number: chapter for chapter in sorted(every, key=lambda chapter: chapter.number)}
