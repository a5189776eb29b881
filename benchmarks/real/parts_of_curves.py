"""Extrapolate learning curves from 10, 30 and 50% of their points: parametric curves beside the default of `bmaml fit`.

    python benchmarks/real/parts_of_curves.py --data DIR --out docs/results/learning_curves/parts

DIR holds `learning_curves/learning_curves.csv.gz`. The rules are those of papers on networks that are fitted to curves in
advance (Adriaensen et al., 2023, https://arxiv.org/abs/2310.20447): the first share of a curve's points is given, all later
points are asked for, and the score is the mean squared error of a curve's later points, averaged over curves. Curves have at
least ten points, so 10% are one to four points. Folds are by data set, as in `learning_curves.py`. A second call goes on with
what lacks.
"""

import argparse
import json
import os
import time
from pathlib import Path

import baselines_curves as baselines
import numpy as np
import ours
import parametric_curves as parametric
from learning_curves import Curve, folds, load, located

from bmaml.evaluation.intervals import bootstrap
from bmaml.experiments.numbers import markdown_table, write_results

_ABOUT = (
    "`python benchmarks/real/parts_of_curves.py --data DIR --out docs/results/learning_curves/parts`: mean squared error of "
    "the later points of a curve, averaged over curves, in thousandths (error rates lie between 0 and 1). Brackets are 95% "
    "intervals over data sets."
)
SHARES = (10, 30, 50)
LEAST = 10
METHODS = {
    "last_value": baselines.last_value,
    "power_law": baselines.power_law,
    "pow4": parametric.pow4,
    "mmf4": parametric.mmf4,
    "wbl4": parametric.wbl4,
    "bmaml_no_learner": ours.bmaml_no_learner,
    "bmaml": ours.bmaml,
}


def given(curve: Curve, share: int) -> int:
    """Return how many points of a curve are a share of it in percent, rounded up."""
    return -(-share * len(curve.x) // 100)


def predictions(predictor, curves: list[Curve], share: int):
    """Yield the means at the later points of each curve, as error rates from 0 to 1."""
    if isinstance(predictor, ours.Predictor):
        yield from _many(predictor.model, curves, share)
        return
    for curve in curves:
        n = given(curve, share)
        context = Curve("", curve.learner, curve.x[:n], curve.y[:n])
        yield np.clip(predictor(context, curve.x[n:]).mean, 0, 1)


def _many(model, curves, share):
    """All curves in one table, in which the later errors are empty."""
    table = ours.table_of(curves)
    counts = [given(curve, share) for curve in curves]
    seen = np.concatenate([np.arange(len(curve.x)) < n for curve, n in zip(curves, counts, strict=True)])
    table["error"] = np.where(seen, table["error"], np.nan)
    found = np.concatenate([answers.mean[:, 0] for answers in model.adapt_many(table)])
    ends = np.cumsum([len(curve.x) - n for curve, n in zip(curves, counts, strict=True)])
    yield from np.split(np.clip(found, 0, 1), ends[:-1])


def scored(fit, train: list[Curve], test: list[Curve]) -> dict:
    """Return `{share: {data set: [curves, sum of their mean squared errors]}}` and the processor seconds."""
    began, sums = time.process_time(), {}
    predictor = fit(train)
    long = [curve for curve in test if len(curve.x) >= LEAST]
    for share in SHARES:
        groups = sums.setdefault(str(share), {})
        for curve, mean in zip(long, predictions(predictor, long, share), strict=True):
            error = float(((mean - curve.y[given(curve, share) :]) ** 2).mean())
            if not np.isfinite(error):
                raise ValueError(f"a prediction for {curve.dataset} from {share}% is not finite: mend the method")
            count, total = groups.get(curve.dataset, (0, 0.0))
            groups[curve.dataset] = [count + 1, total + error]
    return {"sums": sums, "processor_seconds": round(time.process_time() - began, 1)}


def columns(found: dict, name: str, share: int) -> np.ndarray:
    """Return counts and sums (2, data sets) of a method over all folds, data sets in order."""
    groups = {group: pair for fold in found[name].values() for group, pair in fold["sums"][str(share)].items()}
    return np.array([groups[group] for group in sorted(groups)]).T


def report(found: dict, count: int) -> str:
    """Return the Markdown of the methods that are done with all folds, with the differences to the default."""
    done = [name for name in METHODS if len(found.get(name, {})) == count]
    ratio = lambda sums: sums[1].sum(-1) / sums[0].sum(-1)  # noqa: E731
    rows = [[name, *(_cell(*bootstrap(columns(found, name, share), ratio)) for share in SHARES)] for name in done]
    lines = [markdown_table(("method", *(f"{share}% given" for share in SHARES)), rows)]
    if "bmaml" in done:
        gap = lambda sums: ratio(sums[:2]) - ratio(sums[2:])  # noqa: E731
        both = lambda name, share: np.concatenate([columns(found, name, share), columns(found, "bmaml", share)])  # noqa: E731
        rows = [[name, *(_cell(*bootstrap(both(name, share), gap)) for share in SHARES)] for name in done if name != "bmaml"]
        lines += ["", "The method's error minus that of `bmaml`, paired over data sets; above 0 `bmaml` is better:", ""]
        lines += [markdown_table(("method", *(f"{share}% given" for share in SHARES)), rows)]
    seconds = ", ".join(f"{name} {sum(fold['processor_seconds'] for fold in found[name].values()):.0f}" for name in done)
    return "\n".join([*lines, "", f"Processor seconds of all folds, fit and predictions: {seconds}."])


def _cell(value, low, high) -> str:
    return f"{1e3 * value:.2f} [{1e3 * low:.2f}, {1e3 * high:.2f}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", default=os.environ.get("BMAML_DATA"), help="folder of the data (or set BMAML_DATA)")
    parser.add_argument(
        "--out", type=Path, required=True, help="folder of results.json and results.md; goes on with what it lacks"
    )
    parser.add_argument("--methods", default=",".join(METHODS), help="separated by commas")
    parser.add_argument("--folds", default="0,1,2,3,4", help="which of the five folds to do now")
    options = parser.parse_args()
    if not options.data:
        parser.error("give --data DIR or set BMAML_DATA")
    parts = list(_parts(load(located(options.data, "learning_curves/learning_curves.csv.gz"))))
    path = options.out / "results.json"
    found = json.loads(path.read_text()) if path.exists() else {}
    for name in options.methods.split(","):
        for fold in options.folds.split(","):
            if fold in found.setdefault(name, {}):
                continue
            found[name][fold] = scored(METHODS[name], *parts[int(fold)])
            print(name, fold, found[name][fold]["processor_seconds"], flush=True)
            write_results(options.out, "results", _page(found, len(parts)), found)
    print(report(found, len(parts)))


def _parts(curves: list[Curve]):
    """Yield each fold's curves to train on and to score on."""
    for train, _ in folds(curves, 0):
        held = {curve.dataset for curve in train}
        yield train, [curve for curve in curves if curve.dataset not in held]


def _page(found: dict, count: int) -> str:
    return "\n".join(["# Learning curves from a part of them", "", _ABOUT, "", report(found, count), ""])


if __name__ == "__main__":
    main()
