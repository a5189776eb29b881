"""How long an update of the page takes once programs are compiled: from a pointer's event to the numbers that the page draws.

    python benchmarks/explore/run.py --out docs/results/explore

adds, drags and deletes points at random on the models that come with the package, alone and side by side, and on the models in
the folders that are given. The time is that of the server: the browser then draws what it was sent.
"""

import argparse
import json
import os
from pathlib import Path

import numpy as np
from bokeh.events import PanEnd, PanStart, Tap

from bmaml.explore.demo import demo_subjects
from bmaml.explore.page import Page
from bmaml.explore.subjects import open_subject
from bmaml.explore.warm import Warmth

UPDATES, LIMIT = 400, 0.1


def one(subjects, seed):
    """Return the seconds of each update of a page of these models."""
    warmth = Warmth(subjects).start()
    warmth.wait()
    page, chance = Page(subjects, warmth), np.random.default_rng(seed)
    page.refresh()
    page.seconds.clear()
    first, figure = page.first, page.posterior[0].figure

    def event(kind, x, y):
        figure._trigger_event(kind(figure, sx=0, sy=0, x=x, y=y))

    def anywhere():
        axes = (first.drawn[0], first.outcome)
        return tuple(chance.uniform(axis.low, axis.high) for axis in axes)

    while len(page.seconds) < UPDATES:
        what = chance.random()
        if len(page.points) and what < 0.4:
            held = int(chance.integers(len(page.points)))
            along = first.inputs.index(first.drawn[0])
            event(PanStart, page.points.x[held][along], page.points.y[held])
            event(PanEnd, *anywhere())
        elif len(page.points) > 15 or (len(page.points) and what < 0.5):
            page.delete(int(chance.integers(len(page.points))))
        else:
            event(Tap, *anywhere())
    return np.array(page.seconds)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("models", nargs="*", type=Path)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    demo = demo_subjects()
    pages = {subject.title: [subject] for subject in demo} | {"both side by side": demo}
    pages |= {folder.name: [open_subject(folder)] for folder in given.models}
    rows = []
    for name, subjects in pages.items():
        seconds = one(subjects, 0)
        quantiles = np.quantile(seconds, [0.5, 0.95, 1.0]) * 1000
        share = float((seconds < LIMIT).mean())
        rows.append(
            {"page": name, "updates": len(seconds), "under_100_ms": share}
            | dict(zip(("median_ms", "p95_ms", "most_ms"), quantiles.round(1).tolist(), strict=True))
        )
        print(rows[-1], flush=True)
    result = {"cores": os.cpu_count(), "load_at_end": round(os.getloadavg()[0], 2), "rows": rows}
    if given.out is not None:
        given.out.mkdir(parents=True, exist_ok=True)
        (given.out / "results.json").write_text(json.dumps(result, indent=1) + "\n")
        lines = ["| page | updates | median, ms | 95%, ms | most, ms | under 100 ms |", "|---|---|---|---|---|---|"]
        lines += [
            f"| {r['page']} | {r['updates']} | {r['median_ms']} | {r['p95_ms']} | {r['most_ms']} | {r['under_100_ms']:.1%} |"
            for r in rows
        ]
        load = f"{result['cores']} cores, load {result['load_at_end']} at the end."
        (given.out / "results.md").write_text("\n".join([*lines, "", load, ""]))


if __name__ == "__main__":
    main()
