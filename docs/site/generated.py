"""Pages that are made from the code before Sphinx reads the others, and what the site changes in pages as it reads them."""

from pathlib import Path

import api
import bibliography
import command_line
import lecture

# Pages of numbers that a command wrote have no title of their own, or two have the same.
TITLES = {
    "results/ambiguous/results": "Board: ambiguous tasks",
    "results/ambiguous/recalibrated/results": "Board: ambiguous tasks, recalibrated",
    "results/control/speed": "Speed: policies",
    "results/control/steps": "Speed: simulators",
    "results/explore/results": "Speed: the page of explore",
    "results/images/speed": "Speed: images",
    "results/learning_curves/board/results": "Board: learning curves",
    "results/learning_curves/board/recalibrated/results": "Board: learning curves, recalibrated",
    "results/learning_curves/board/recalibrated/all_methods/results": "Board: learning curves, recalibrated, all methods",
    "results/learning_curves/default/results": "Learning curves of unseen data sets, the default alone",
    "results/maml_sinusoids/results": "Board: MAML's sinusoids",
    "results/maml_sinusoids/recalibrated/results": "Board: MAML's sinusoids, recalibrated",
    "results/sinusoids/results": "Board: BMAML's sinusoids",
    "results/sinusoids/fixed/results": "Board: BMAML's sinusoids, 5,000 tasks",
    "results/sinusoids/recalibrated/results": "Board: BMAML's sinusoids, recalibrated",
    "results/speed/speed": "Speed: training",
}

# Files at the root of the repository that pages link to, and the pages of the site that include them.
AT_THE_ROOT = {"SECURITY.md": "security.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}


def write(app):
    """Write the pages into docs/generated, and touch no page that is as it was."""
    folder = Path(app.srcdir) / "generated"
    pages = {"command_line.md": command_line.page(), "bibliography.md": bibliography.page(), **lecture.pages(), **api.pages()}
    for name, text in pages.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        if not file.exists() or file.read_text() != text:
            file.write_text(text)
    for file in folder.rglob("*.md"):
        if file.relative_to(folder).as_posix() not in pages:
            file.unlink()


def read(app, name, content):
    """Give files of numbers that a command wrote a title, list them below the results, and lead links out of docs/ to pages."""
    text = content[0]
    for file, page in AT_THE_ROOT.items():
        text = text.replace(f"](../{file}", f"]({page}")
    if name in TITLES or (name.startswith("results/") and not text.startswith("# ")):
        _, _, rest = text.partition("\n") if text.startswith("# ") else ("", "", text)
        text = f"# {TITLES.get(name) or named_by_place(name)}\n\n{rest}"
    if name == "results/README":
        files = sorted(page.removeprefix("results/") for page in app.env.found_docs if page.startswith("results/"))
        listed = "\n".join(page for page in files if page != "README")
        text += f"\n```{{toctree}}\n:hidden:\n\n{listed}\n```\n"
    content[0] = text


def named_by_place(name):
    """Return the title of a page of results by where it lies."""
    return ", ".join(place for place in name.split("/")[1:] if place != "results").replace("_", " ").capitalize()


def again(app, env, added, changed, removed):
    """Read the list of results again whenever a page comes or goes, since the page itself does not change then."""
    return ["results/README"] if added or removed else []


def setup(app):
    """Write the pages when Sphinx starts, and change the others as it reads them."""
    app.connect("builder-inited", write)
    app.connect("source-read", read)
    app.connect("env-get-outdated", again)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
