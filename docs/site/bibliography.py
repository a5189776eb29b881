"""The page of papers, from the BibTeX that `bmaml.cite` returns."""

import re

from bmaml.methods import METHODS, POLICY_METHODS
from bmaml.methods.citations import link, papers

HEAD = """# Bibliography

`bmaml.cite("bmaml")` and `bmaml cite bmaml` return the BibTeX of the papers behind a method. Both take a saved run, too. These
are all entries.
"""


def page():
    """Return the page: a section for each paper, the methods that stand on the paper, and its BibTeX."""
    entries = sorted(papers().items(), key=lambda item: (field(item[1], "year"), item[0]))
    return HEAD + "".join(section(key, entry) for key, entry in entries)


def section(key, entry):
    """Return the section of a paper."""
    title = re.sub(r"[{}\\]", "", field(entry, "title"))
    used = sorted({row.name for table in (METHODS, POLICY_METHODS) for row in table.known() if key in row.papers})
    told = f"Methods: {', '.join(f'`{name}`' for name in used)}. " if used else ""
    read = f"[{link(entry)}]({link(entry)})" if link(entry) else ""
    return f"\n## {title} ({field(entry, 'year')})\n\n{told}{read}\n\n```bibtex\n{entry}\n```\n"


def field(entry, name):
    """Return a field of a BibTeX entry."""
    found = re.search(rf"\b{name}\s*=\s*\{{(.*)\}},?\s*$", entry, re.MULTILINE)
    return found[1] if found else ""
