"""The English of docstrings and docs: arguments are named, sentences are short, and some turns of phrase are not used."""

import ast
import re
from pathlib import Path

import bmaml

PACKAGE = Path(bmaml.__file__).parent
ROOT = Path(__file__).parent.parent.parent
MODULES = sorted(PACKAGE.rglob("*.py"))
PAGES = [*(ROOT / "docs").glob("*.md"), ROOT / "docs" / "results" / "README.md", *ROOT.glob("*.md")]

# Turns of phrase that readers stumbled over: old words, riddles, and sentences without a subject that acts.
BANNED = (
    r"(is|are|was|were|be|been) had",
    r"(where|there|here)(of|in|upon|with)",
    r"(nobody|nothing|no one) (says|tells|knows)",
    r"nothing to speak of",
    r"next to nothing",
    r"all but (a|an|the)",
    r"all that (is|was|there|it)",
    r"said so of",
    r"such as (were|are|is)",
    r"where there (is|are|was|were) (none|not)",
    r"what (came|comes|became) of",
    r"however (it|they) did",
    r"has seen to it",
    r"is no more than",
    r"shall",
    r"whilst",
    r"anew",
    r"Raises: \w+ where",
)
LONGEST_SENTENCE, LONGEST_MEAN = 36, 22  # in words


def words_with_one_meaning():
    """Return the arguments that docs/words.md explains once for all docstrings."""
    page = (ROOT / "docs" / "words.md").read_text().split("## Arguments with one meaning everywhere")[1]
    return {word for line in page.splitlines() if line.startswith("- ") for word in re.findall(r"`(\w+)`", line.split(":")[0])}


def documented(tree):
    """Return (name, node, docstring) of every class and function that has a docstring."""
    kinds = ast.ClassDef | ast.FunctionDef
    return [(n.name, n, doc) for n in ast.walk(tree) if isinstance(n, kinds) and (doc := ast.get_docstring(n))]


def arguments(node):
    """Return the arguments of a function, or the fields of a class. Commands have none: their help texts explain them."""
    if isinstance(node, ast.ClassDef):
        named = [n for n in node.body if isinstance(n, ast.AnnAssign) and isinstance(n.target, ast.Name)]
        given = [(n.target.id, unparsed(n)) for n in named if not re.search("ClassVar|AbstractVar", unparsed(n))]
    else:
        args = node.args
        every = [*args.posonlyargs, *args.args, *args.kwonlyargs, *filter(None, (args.vararg, args.kwarg))]
        given = [(a.arg, unparsed(a)) for a in every]
    return [] if any("typer." in annotation for _, annotation in given) else [name for name, _ in given]


def unparsed(node):
    """Return the annotation of a field or an argument as text."""
    return ast.unparse(node.annotation) if node.annotation else ""


def sentences(doc):
    """Return the sentences of a docstring without formulas, links, names in backticks and brackets."""
    plain = re.sub(r"\([^()]*\)", " ", re.sub(r"`[^`]*`|https?://[^\s)]+", "x", doc))
    skipped = ("    ", "Raises", ">>>")
    units = [unit for unit in re.split(r"\n\s*\n|\n\s*- |\n(?=Raises)", plain) if not unit.startswith(skipped)]
    return [s for unit in units for s in re.split(r"(?<=[.:;?!])\s+", unit.strip()) if s]


def place(file):
    """Return a file's path in the project."""
    return file.relative_to(ROOT).as_posix()


def test_docstrings_name_every_argument():
    known, missing = words_with_one_meaning() | {"self", "cls"}, []
    for module in MODULES:
        for name, node, doc in documented(ast.parse(module.read_text())):
            given = [a for a in arguments(node) if a not in known and not a.startswith("_")]
            if not name.startswith("_") and (unnamed := [a for a in given if not re.search(rf"\b{a}\b", doc)]):
                missing.append(f"{place(module)}: {name} ({', '.join(unnamed)})")
    assert not missing, "These docstrings leave out arguments:\n" + "\n".join(missing)


def test_sentences_are_short():
    long = []
    for module in MODULES:
        for name, _, doc in documented(ast.parse(module.read_text())):
            lengths = [len(s.split()) for s in sentences(doc)]
            mean = sum(lengths) / max(len(lengths), 1)
            if max(lengths, default=0) > LONGEST_SENTENCE or (len(lengths) >= 3 and mean > LONGEST_MEAN):
                long.append(f"{place(module)}: {name} (the longest has {max(lengths)} words, the mean is {mean:.0f})")
    assert not long, "These docstrings have long sentences; split them:\n" + "\n".join(long)


def test_no_turn_of_phrase_that_readers_stumbled_over():
    found = []
    others = [f for folder in ("tests", "benchmarks", "examples") for f in (ROOT / folder).rglob("*.py")]
    for file in (*MODULES, *PAGES, *sorted(others)):
        text = "" if file == Path(__file__) else file.read_text()
        for match in re.finditer(rf"\b({'|'.join(BANNED)})\b", text):
            found.append(f"{place(file)}, line {text[: match.start()].count(chr(10)) + 1}: {match[0]!r}")
    assert not found, "These read badly; say them plainly:\n" + "\n".join(found)


def test_the_check_of_english_finds_what_it_looks_for():
    doc = "Return what is had.\n\nRaises: InputError where there are none."
    assert [turn for turn in BANNED if re.search(rf"\b{turn}\b", doc)] == [BANNED[0], BANNED[9], BANNED[-1]]
    tree = ast.parse('def area(width, height):\n    """Return the area of a width."""\n')
    _, node, text = documented(tree)[0]
    assert [a for a in arguments(node) if a not in text] == ["height"]
    assert [len(s.split()) for s in sentences("One two. Three (four five) six: seven.\n\n- `a`: eight.")] == [2, 2, 1, 2, 1]
