"""The pages of the API: every public class, function and table, read from the code.

Docstrings are Markdown, so each stands as it is within the directive that Sphinx makes an entry of its index from. A name is
shown where a user imports it from: the package itself, a folder of the package, or its module.
"""

import ast
import functools
import importlib
import inspect
import pkgutil
import re

import bmaml

HEAD = """# API

Every public name, by folder of the package, from the bottom up. Names that are imported from `bmaml` itself stand first.
Arguments that mean the same everywhere, such as `key` and `support`, are explained in [words](../../words.md).

| page | what is there |
|---|---|
"""
SKIPPED = {"__main__", "cli"}  # The command line has a page of its own.
ORDER = ("data", "errors", "distributions", "models", "inference", "tasks", "learners", "objectives", "methods", "training")


def pages():
    """Return the text of each page by its file's name."""
    places = shortest()
    rooms = sorted({module.split(".")[1] for _, module in places.values()} - SKIPPED, key=rank)
    found = {"api/bmaml.md": of_package(places), **{f"api/bmaml.{room}.md": of_room(room, places) for room in rooms}}
    names = [name.removeprefix("api/").removesuffix(".md") for name in found]
    table = "".join(f"| [{name}]({name}.md) | {first_line(name)} |\n" for name in names)
    listed = "".join(f"{name}\n" for name in names)
    return {"api/index.md": f"{HEAD}{table}\n```{{toctree}}\n:hidden:\n\n{listed}```\n", **found}


def first_line(module):
    """Return the first line of a module's docstring."""
    return (importlib.import_module(module).__doc__ or "").strip().split("\n")[0]


def rank(room):
    """Return where a folder of the package stands on the list of pages."""
    return (ORDER.index(room) if room in ORDER else len(ORDER), room)


@functools.cache
def modules():
    """Return every public module of the package by its name."""
    names = [m.name for m in pkgutil.walk_packages(bmaml.__path__, "bmaml.") if m.name.split(".")[1] not in SKIPPED]
    return {name: importlib.import_module(name) for name in names if "._" not in name}


@functools.cache
def public():
    """Return every public class and function that a module defines: (its module, its name) and the object."""
    found = {}
    for module, content in modules().items():
        for name, value in vars(content).items():
            made_here = getattr(value, "__module__", None) == module and getattr(value, "__name__", None) == name
            if made_here and not name.startswith("_") and callable(value):  # What is compiled is callable and no function.
                found[module, name] = value
    return found


@functools.cache
def constants():
    """Return what a folder of the package exports besides classes and functions: its name, the module that defines it, and the
    text below its line there.
    """
    known = modules()
    doors = {name: content for name, content in known.items() if hasattr(content, "__path__")}
    found = {}
    for module, content in known.items():
        for name, doc in told(content).items():
            value = vars(content)[name]
            holders = [door for door, inside in doors.items() if module.startswith(door) and vars(inside).get(name) is value]
            if holders:
                found[f"{min(holders, key=len)}.{name}"] = (module, doc)
    return found


def told(module):
    """Return the text that stands below each name in capitals at the top of a module, or nothing where there is none."""
    body = ast.parse(inspect.getsource(module)).body
    found = {}
    for line, below in zip(body, [*body[1:], None], strict=True):
        targets = line.targets if isinstance(line, ast.Assign) else [line.target] if isinstance(line, ast.AnnAssign) else []
        text = below.value.value if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant) else ""
        for name in (t.id for t in targets if isinstance(t, ast.Name)):
            if name.isupper() and not name.startswith("_"):
                found[name] = text
    return found


def shortest():
    """Return, for each public object, the object and its module, by the shortest name under which a user imports it."""
    doors = {name: vars(content) for name, content in modules().items() if hasattr(content, "__path__")}
    doors["bmaml"] = {name: getattr(bmaml, name) for name in bmaml.__all__}  # It imports a name when it is asked for.
    found = {}
    for (module, name), value in public().items():
        holders = [door for door, content in doors.items() if content.get(name) is value and module.startswith(door)]
        holder = min([*holders, module], key=lambda path: (path.count("."), path))
        found[f"{holder}.{name}"] = (value, module)
    return found


def of_package(places):
    """Return the page of the names that are imported from `bmaml` itself."""
    own = {name: place for name, place in places.items() if name.count(".") == 1}
    text = "# bmaml\n\nThe names that most programs need: `import bmaml`.\n"
    return text + "".join(entry(name, *place) for name, place in sorted(own.items()))


def of_room(room, places):
    """Return the page of a folder of the package."""
    content = modules()[f"bmaml.{room}"]
    parts = [f"# bmaml.{room}\n\n{markdown(inspect.getdoc(content))}\n"]
    within = {n: place for n, place in places.items() if place[1].split(".")[1] == room}
    elsewhere = sorted(name for name in within if name.count(".") == 1)
    if elsewhere:
        parts.append(f"\nOn the [first page](bmaml.md): {', '.join(f'{{py:obj}}`{name}`' for name in elsewhere)}.\n")
    for home in sorted({name.rpartition(".")[0] for name in within} - {"bmaml"}):
        inside = {name: place for name, place in within.items() if name.rpartition(".")[0] == home}
        if home != f"bmaml.{room}":
            doc = inspect.getdoc(modules()[home]) or ""
            parts.append(f"\n## {home}\n\n{markdown(doc)}\n")
        parts += data(home)
        parts += [entry(name, *place) for name, place in sorted(inside.items())]
    return "".join(parts)


def data(home):
    """Return the entries of the tables that the folder `home` exports."""
    of_home = {name: place for name, place in constants().items() if name.rpartition(".")[0] == home}
    return [directive("data", name, [], markdown(doc)) for name, (_, doc) in sorted(of_home.items())]


def entry(name, value, module):
    """Return the entry of a class or a function."""
    kind = "class" if inspect.isclass(value) else "function"
    canonical = f"{module}.{value.__name__}"
    options = [f":canonical: {canonical}"] if canonical != name else []
    body = markdown(inspect.getdoc(value) if kind == "function" else vars(value).get("__doc__"))
    if kind == "class":
        body += "".join(method(attribute, vars(value)[attribute], value) for attribute in vars(value))
    return directive(kind, f"{name}{signature(value)}", options, body)


def method(name, value, owner):
    """Return the entry of a class's own public method or property, or nothing."""
    called = value.fget if isinstance(value, property) else getattr(value, "__func__", value)
    # Equinox wraps the methods of its modules.
    called = getattr(called, "method", called)
    if name.startswith("_") or not inspect.isfunction(called):
        return ""
    doc = markdown(inspect.getdoc(called) or inspect.getdoc(getattr(owner, name, None)))
    if isinstance(value, property):
        return directive("property", name, [], doc)
    options = {classmethod: [":classmethod:"], staticmethod: [":staticmethod:"]}.get(type(value), [])
    return directive("method", f"{name}{signature(called, bound=not isinstance(value, staticmethod))}", options, doc)


def directive(kind, head, options, body):
    """Return a directive of Sphinx for Python; a longer fence than any within it."""
    fence = ":" * (3 + max((len(mark) for mark in re.findall(r"^:{3,}", body, re.MULTILINE)), default=0) + 1)
    return "\n".join(["", f"{fence}{{py:{kind}}} {head}", *options, "", body, fence, ""])


def signature(value, bound=False):
    """Return how something is called, without quotes around annotations, or nothing if Python cannot say."""
    try:
        found = inspect.signature(value)
    except (TypeError, ValueError):
        return ""
    parameters = list(found.parameters.values())[1 if bound else 0 :]
    written = found.replace(parameters=[p.replace(default=short(p.default)) for p in parameters])
    return re.sub(r"'([^']*)'", r"\1", str(written)) if "'" in str(written) else str(written)


class Written:
    """A default value as it is written."""

    def __init__(self, text):
        self.text = text

    def __repr__(self):
        return self.text


def short(default):
    """Return a default value that is short to write: objects are shown by their class."""
    if isinstance(default, str):
        return Written(f'"{default}"')
    if default is inspect.Parameter.empty or default is None or isinstance(default, bool | int | float | tuple):
        return default
    return Written(getattr(default, "__name__", None) or f"{type(default).__name__}(...)")


def markdown(doc):
    """Return a docstring as the Markdown of the site: addresses are links, and examples are blocks."""
    text = inspect.cleandoc(doc or "")
    blocks = [example(block) if block.startswith(">>>") else block for block in re.split(r"\n\s*\n", text)]
    return re.sub(r"(?<![<(`\"])(https?://[^\s)>;,]+[^\s)>;,.])", r"<\1>", "\n\n".join(blocks))


def example(block):
    """Return a block of a Python session, without notes for doctest."""
    return "```pycon\n" + re.sub(r"\s*# doctest:.*", "", block) + "\n```"
