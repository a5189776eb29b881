"""Every family of outcomes through every door of the command line, on a small table of its own."""

import csv
import io
import json
import re

import numpy as np
import pytest
from cases import in_new_process, run
from many_tasks import check_equal

import bmaml
from bmaml.explore.subjects import TableSubject
from bmaml.likelihoods import FAMILIES

ROWS = 6


def outcome(family, latent, rng):
    """Cells of an outcome whose latent numbers are given, and further columns with the options that name them."""
    noisy, odds = latent + 0.3 * rng.normal(size=latent.shape), rng.random(latent.shape)
    side = rng.integers(1, 12, latent.shape)
    limited = lambda values: [f"<{v:.3f}" if i % 5 == 0 else f"{v:.4f}" for i, v in enumerate(values.tolist())]  # noqa: E731
    return {
        "normal": lambda: (noisy.round(4), {}),
        "student-t": lambda: ((latent + 0.3 * rng.standard_t(3, latent.shape)).round(4), {}),
        "gamma": lambda: ((np.exp(latent) * rng.gamma(4, 0.25, latent.shape)).round(5), {}),
        "known-error": lambda: (noisy.round(4), {"error": np.full(latent.shape, 0.2)}),
        "weighted": lambda: (noisy.round(4), {"weight": side}),
        "censored": lambda: (limited(noisy), {}),
        "censored-log": lambda: (limited(np.exp(noisy)), {}),
        "yes-no": lambda: (np.where(odds < 1 / (1 + np.exp(-latent)), "Y", "N"), {}),
        "classes": lambda: (np.where(noisy > 0.4, "c", np.where(odds < 0.5, "a", "b")), {}),
        "ordered": lambda: (np.digitize(noisy, [-1, 0, 1]), {}),
        "count": lambda: (rng.poisson(side * np.exp(0.5 * noisy)), {"exposure": side}),
        "poisson": lambda: (rng.poisson(np.exp(latent)), {}),
        "binomial": lambda: (rng.binomial(side, 1 / (1 + np.exp(-noisy))), {"trials": side}),
    }[family]()


def write(path, family, tasks, seed, asked=0):
    """Write a table of tasks, whose first rows have no outcome yet, and return the names of its further columns."""
    rng = np.random.default_rng(seed)
    task, x = np.repeat(np.arange(tasks), ROWS), rng.normal(size=tasks * ROWS).round(3)
    y, sides = outcome(family, 0.8 * x + 0.8 * rng.normal(size=tasks)[task], rng)
    y = ["" if row % ROWS < asked else cell for row, cell in enumerate(np.asarray(y).tolist())]
    columns = {"task": [f"{seed}-{name}" for name in task], "x": x, **sides, "y": y, "note": np.arange(len(y))}
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
    return list(sides)


WRONG = {
    "count": "1.5",
    "poisson": "-1",
    "binomial": "99",
    "gamma": "0",
    "censored-log": "<0",
    "yes-no": "maybe",
    "ordered": "7",
    "classes": "d",
}


@pytest.mark.costly
@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_goes_through_every_door(tmp_path, capsys, monkeypatch, family):
    monkeypatch.setenv("COLUMNS", "200")
    known, new, further, model = (tmp_path / name for name in ("known.csv", "new.csv", "further.csv", "model"))
    sides = write(known, family, 14, 0)
    write(new, family, 2, 1, asked=3)
    write(further, family, 12, 2)
    options = [part for side in sides for part in (f"--{side}", side)]
    fit = ["fit", known, "--task", "task", "--x", "x", "--y", "y", "--family", family, *options, "--method", "mixed-model"]
    assert run(*fit, "--shots", "0,2", "--out", model) == 0
    said = capsys.readouterr().out
    assert ("90% interval holds" in said) == FAMILIES[family].exact
    (held,) = re.findall(r"\n2 +mixed-model .* (\d+)% \[[^\]]*\]\n", said)
    assert 60 <= int(held) <= 100
    # predict: an answer for each empty row, and what stood in its other columns.
    assert run("predict", model, new) == 0
    answers = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["note"] for row in answers] == ["0", "1", "2", "6", "7", "8"]
    mean, of_class = {"yes-no": ("y_probability", ""), "classes": ("y_probability_a", "_a")}.get(family, ("y_mean", ""))
    for row in answers:
        assert float(row[f"y_low{of_class}"]) <= float(row[f"y_high{of_class}"])
        assert np.isfinite(float(row[mean]))
        if family == "classes":
            shares = [float(row[f"y_probability_{level}"]) for level in "abc"]
            assert sum(shares) == pytest.approx(1, abs=1e-5)
            assert row["y_likely"] == "abc"[int(np.argmax(shares))]
    # The same in another process and in Python, one by one and together.
    code = f"import bmaml; print(next(iter(bmaml.FewShotRegressor.load({str(model)!r}).adapt_many({str(new)!r}))).mean[0, 0])"
    assert float(in_new_process(code).split()[-1]) == pytest.approx(float(answers[0][mean]), rel=1e-3, abs=1e-3)
    check_equal(bmaml.FewShotRegressor.load(model), str(new))
    assert run("suggest", model, new, "--n", "2") == 0
    assert capsys.readouterr().out.count("\n") == 5
    assert run("suggest", model, new, "--by", "information") == 0
    assert run("suggest", model, new, "--goal", "max", *(["--of", "y = c"] if family == "classes" else [])) == 0
    capsys.readouterr()
    assert run("evaluate", model, "--table", further, "--shots", "2", "--json") == 0
    (score,) = json.loads(capsys.readouterr().out)
    assert np.isfinite(score["nll"]["value"])
    assert run("evaluate", model, "--table", further, "--shots", "2") == 0
    said = capsys.readouterr().out
    assert ("the fifths of what was predicted hold" in said) != FAMILIES[family].exact
    assert ("the mean probabilities of" in said) == FAMILIES[family].shares
    assert run("describe", model) == 0
    assert "rows of a task scatter" in " ".join(capsys.readouterr().out.split())
    assert run("report", model, "--out", tmp_path / "report.json") == 0
    assert json.loads((tmp_path / "report.json").read_text())["family"] == family
    assert run("report", model, "--table", further, "--out", tmp_path / "report.html") == 0
    assert run("recalibrate", model, further, "--shots", "2", "--out", tmp_path / "other") == 0
    assert run("predict", tmp_path / "other", new) == 0
    capsys.readouterr()
    assert run("predict", model, new, "--out", tmp_path / "answers.csv", "--plot", tmp_path / "answers.png") == 0
    loaded = bmaml.FewShotRegressor.load(model)
    if not sides and family not in ("ordered", "classes"):
        shown = TableSubject(loaded, family)
        points = np.array([[0.0], [0.5]])
        below = [shown.outcome.snapped(value) for value in (shown.outcome.low, shown.outcome.high)]
        assert np.isfinite(shown.adapted(points, np.array(below)).bands(points).low90).all()
    # A cell that the family cannot have is named by its place.
    lines = new.read_text().splitlines()
    cells = lines[4].split(",")
    cells[-2] = WRONG.get(family, "tall")
    new.write_text("\n".join([*lines[:4], ",".join(cells), *lines[5:]]))
    assert run("predict", model, new) == 2
    error = capsys.readouterr().err
    assert "line 5, column 'y'" in error
    assert "Traceback" not in error


def write_two(path, tasks, seed, asked=0):
    """Write a table of two outcomes that go together, some of which are missing; the last rows of a task have neither."""
    rng = np.random.default_rng(seed)
    lines, level = ["task,x,a,b,note"], rng.normal(size=tasks)
    for row in range(tasks * ROWS):
        task, x = row // ROWS, round(rng.normal(), 3)
        a, b = (f"{place + level[task] + 0.5 * x + 0.2 * rng.normal():.4f}" for place in (5, 50))
        open_ = row % ROWS >= ROWS - asked
        lack = rng.random(2) < [0.15, 0.4]
        cells = ["" if open_ or lacking else cell for cell, lacking in zip((a, b), lack, strict=True)]
        lines.append(f"{seed}-{task},{x},{','.join(cells)},{row}")
    path.write_text("\n".join(lines))


@pytest.mark.costly
def test_outcomes_that_rows_lack_go_through_every_door(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    known, new, further, model = (tmp_path / name for name in ("known.csv", "new.csv", "further.csv", "model"))
    write_two(known, 20, 0)
    write_two(new, 2, 1, asked=2)
    write_two(further, 20, 2)
    columns = ("--task", "task", "--x", "x", "--y", "a,b", "--method", "mixed-model", "--shots", "0,2")
    assert run("fit", known, *columns, "--out", model) == 0
    said = capsys.readouterr()
    assert said.err.count("each row is used for the outcomes that it has") == 1
    assert "missing in" in said.out
    assert "empty in" not in said.out
    assert run("predict", model, new) == 0
    answers = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    lacking = [line.split(",")[4] for line in new.read_text().splitlines()[1:] if "" in line.split(",")]
    assert [row["note"] for row in answers] == lacking
    for row in answers:
        assert float(row["a_low"]) < float(row["a_mean"]) < float(row["a_high"])
        assert 45 < float(row["b_mean"]) < 55
    check_equal(bmaml.FewShotRegressor.load(model), str(new))
    assert run("suggest", model, new, "--n", "2") == 0
    assert run("suggest", model, new, "--goal", "max", "--of", "b") == 0
    capsys.readouterr()
    assert run("evaluate", model, "--table", further, "--shots", "2", "--json") == 0
    (score,) = json.loads(capsys.readouterr().out)
    assert 0.7 < score["coverage"]["b"]["value"] < 1
    assert run("describe", model) == 0
    assert run("report", model, "--out", tmp_path / "report.html") == 0
    assert run("report", model, "--table", further, "--out", tmp_path / "report.json") == 0
    assert run("recalibrate", model, known, "--shots", "2", "--out", tmp_path / "again") == 2
    assert "fitted on 20 of these 20 tasks" in capsys.readouterr().err
    assert run("recalibrate", model, further, "--shots", "2", "--out", tmp_path / "other") == 0
    assert run("predict", tmp_path / "other", new, "--out", tmp_path / "answers.csv", "--plot", tmp_path / "answers.png") == 0
