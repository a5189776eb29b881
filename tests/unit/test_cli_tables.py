"""`bmaml fit`, `predict` and `suggest` from files to files."""

import csv
import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from bmaml.cli import main
from bmaml.cli.on_tables import split
from bmaml.errors import InputError
from bmaml.estimators.held_out_tasks import score_held_out
from bmaml.estimators.regressor import FewShotRegressor
from bmaml.io.sealed import sealed
from bmaml.tables import read_table

# The quickest method to compile, since nothing here depends on it.
TINY = ["--method", "linear", "--steps", "4", "--shots", "0,1,3"]
UNSCORED = [*TINY, "--test-share", "0"]


def write(path, header, rows):
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return str(path)


def patients(seed=0, tasks=14):
    """Straight lines of 5 to 8 rows, each at a dose of its own."""
    rng = np.random.default_rng(seed)
    rows = []
    for task in range(tasks):
        level, slope, dose = rng.normal(size=3)
        for time in rng.uniform(0, 10, rng.integers(5, 9)):
            rows.append([f"p{task}", f"{time:.3f}", f"{dose:.2f}", f"{100 + 9 * level + slope * time:.3f}"])
    return rows


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("table")
    table = write(place / "patients.csv", ["patient", "time", "dose", "conc"], patients())
    out = str(place / "model")
    with pytest.raises(SystemExit) as stop:
        main(["fit", table, "--task", "patient", "--x", "time,dose", "--y", "conc", "--out", out, *TINY])
    assert stop.value.code == 0
    return place


@pytest.fixture
def new(folder, tmp_path):
    rows = [["a", 1, 0.5, 105], ["b", 4, 0.1, 95], ["a", 5, 0.5, ""], ["a", 2, 0.5, 106], ["b", 8, 0.1, ""], ["c", 3, 0.2, ""]]
    return write(tmp_path / "new.csv", ["patient", "time", "dose", "conc"], rows)


def run(*arguments):
    """The command line's exit code."""
    with pytest.raises(SystemExit) as stop:
        main([str(argument) for argument in arguments])
    return stop.value.code


def rows_of(text):
    return list(csv.DictReader(io.StringIO(text)))


def test_fit_saves_a_model_that_is_trained_and_scores_of_tasks_it_never_saw(folder):
    report = json.loads((folder / "model" / "scores.json").read_text())
    assert report["held_out"] == sorted(report["held_out"])
    assert len(report["held_out"]) == 2
    found = {(score["shots"], score["method"]) for score in report["scores"]}
    plain = "mean of the given rows"
    assert found == {(0, "linear"), (0, "mean of all training rows"), *((s, m) for s in (1, 3) for m in ("linear", plain))}
    for score in report["scores"]:
        for estimate in (score["rmse"]["conc"], score["nll"], score["coverage"]["conc"]):
            assert estimate["low"] <= estimate["value"] <= estimate["high"]
    model = FewShotRegressor.load(folder / "model")
    assert model.run_.finished
    # The encoding comes from the training tasks alone.
    seen = [float(row[3]) for row in patients() if row[0] not in report["held_out"]]
    assert model.schema_.outputs[0].mean == pytest.approx(np.mean(seen), abs=1e-9)


def test_whole_groups_are_held_out():
    rows = patients()
    table = read_table({"patient": [row[0] for row in rows], "ward": [f"ward{int(row[0][1:]) // 2}" for row in rows]})
    training, held = split(table, ("patient",), "ward", 0.3, 0)
    assert held is not None
    assert len(set(held.texts("ward"))) == 2
    assert not set(held.texts("ward")) & set(training.texts("ward"))
    assert split(table, ("patient",), "ward", 0.0, 0) == (table, None)


def test_fit_never_writes_over_a_folder(folder, capsys):
    before = {path: path.read_bytes() for path in (folder / "model").iterdir()}
    table = folder / "patients.csv"
    assert run("fit", table, "--task", "patient", "--x", "time", "--y", "conc", "--out", folder / "model") == 2
    assert "is there already" in capsys.readouterr().err
    assert before == {path: path.read_bytes() for path in (folder / "model").iterdir()}


def test_predict_answers_the_empty_rows_of_every_task(folder, new, tmp_path, capsys):
    assert run("predict", folder / "model", new) == 0
    text = capsys.readouterr().out
    rows = rows_of(text)
    assert [(row["patient"], row["time"]) for row in rows] == [("a", "5"), ("b", "8"), ("c", "3")]
    for row in rows:
        assert float(row["conc_low"]) < float(row["conc_mean"]) < float(row["conc_high"])
        assert float(row["conc_std"]) > 0

    def with_commas(text):
        return text.replace(",", ";").replace(".", ",")

    (tmp_path / "commas.csv").write_text(with_commas(Path(new).read_text()))
    assert run("predict", folder / "model", tmp_path / "commas.csv") == 0
    assert capsys.readouterr().out == with_commas(text)


def test_answers_with_decimal_commas_leave_other_texts_as_they_are(folder, tmp_path, capsys):
    new = tmp_path / "commas.csv"
    new.write_text(
        "patient;time;dose;conc;site;note;day\n1;1,5;0,5;105,5;2.10;1.5;01.02.2024\n1;2,5;0,5;;2.10;see p. 3;02.02.2024\n"
    )
    for command in ("predict", "suggest"):
        assert run(command, folder / "model", new) == 0
        (row,) = csv.DictReader(capsys.readouterr().out.splitlines(), delimiter=";")
        assert (row["time"], row["site"], row["note"], row["day"]) == ("2,5", "2.10", "see p. 3", "02.02.2024")
        assert "," in row["conc_mean"]


def test_a_pair_in_a_text_changes_no_answer(folder, tmp_path, capsys):
    rows = [["1", 1.5, 0.5, 105.5, "1,3"], ["1", 2.5, 0.5, "", "2,4"]]
    new = write(tmp_path / "new.csv", ["patient", "time", "dose", "conc", "answers"], rows)
    assert run("predict", folder / "model", new) == 0
    (row,) = rows_of(capsys.readouterr().out)
    assert (row["time"], row["answers"]) == ("2.5", "2,4")


def test_what_a_new_table_leaves_open_is_said_by_options(folder, tmp_path, capsys):
    new = tmp_path / "new.csv"
    new.write_text("patient;time;dose;conc\n1;1,234;0,5;105,5\n1;2,345;0,5;\n")
    assert run("predict", folder / "model", new, "--decimal", ",") == 0
    assert next(csv.DictReader(capsys.readouterr().out.splitlines(), delimiter=";"))["time"] == "2,345"
    assert run("predict", folder / "model", new, "--decimal", "x") == 2
    assert "give . or ," in capsys.readouterr().err


def test_each_row_keeps_its_own_spelling_of_its_task(folder, tmp_path, capsys):
    rows = [["1", 1, 0.5, 105], ["1.0", 5, 0.5, ""], ["e\u0301", 4, 0.1, 95], ["\u00e9", 8, 0.1, ""]]
    new = write(tmp_path / "new.csv", ["patient", "time", "dose", "conc"], rows)
    for command in ("predict", "suggest"):
        assert run(command, folder / "model", new) == 0
        assert [row["patient"] for row in rows_of(capsys.readouterr().out)] == ["1.0", "\u00e9"]


def test_predict_agrees_with_the_library(folder, new, capsys):
    assert run("predict", folder / "model", new, "--level", "0.5") == 0
    shown = rows_of(capsys.readouterr().out)[0]
    task = FewShotRegressor.load(folder / "model").adapt([[1, 0.5], [2, 0.5]], [105, 106])
    mean, std = task.predict([[5, 0.5]], return_std=True)
    expected = [mean[0], std[0], *(end[0] for end in task.interval([[5, 0.5]], 0.5))]
    got = [float(shown[f"conc_{what}"]) for what in ("mean", "std", "low", "high")]
    # One task and a batch of tasks are two programs, whose sums may be in another order.
    np.testing.assert_allclose(got, expected, rtol=1e-6)


def test_predict_at_a_grid_takes_constant_inputs_from_the_task(folder, new, tmp_path, capsys):
    grid = write(tmp_path / "grid.csv", ["time"], [[0], [10]])
    out = tmp_path / "out.csv"
    assert run("predict", folder / "model", new, "--at", grid, "--out", out) == 0
    rows = rows_of(out.read_text())
    assert [(row["patient"], row["time"], row["dose"]) for row in rows] == [
        (name, time, dose) for name, dose in (("a", "0.5"), ("b", "0.1"), ("c", "0.2")) for time in ("0", "10")
    ]
    assert run("predict", folder / "model", new, "--at", grid, "--out", out) == 2
    assert "is there already" in capsys.readouterr().err


def test_predict_needs_no_task_column_for_one_task(folder, tmp_path, capsys):
    new = write(tmp_path / "one.csv", ["time", "dose", "conc"], [[1, 0.5, 105], [2, 0.5, 106], [5, 0.5, "NA"]])
    assert run("predict", folder / "model", new) == 0
    (row,) = rows_of(capsys.readouterr().out)
    assert list(row) == ["time", "dose", "conc_mean", "conc_std", "conc_low", "conc_high"]


def test_predict_without_a_row_to_answer_says_so(folder, tmp_path, capsys):
    new = write(tmp_path / "full.csv", ["time", "dose", "conc"], [[1, 0.5, 105]])
    assert run("predict", folder / "model", new) == 2
    assert "no row is asked for" in capsys.readouterr().err


def test_predict_draws_the_one_input_that_changes(folder, new, tmp_path, capsys):
    assert run("predict", folder / "model", new, "--plot", tmp_path / "p.png", "--out", tmp_path / "o.csv") == 0
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")
    both = write(tmp_path / "both.csv", ["time", "dose", "conc"], [[1, 0.5, 105], [2, 0.6, ""]])
    assert run("predict", folder / "model", both, "--plot", tmp_path / "q.png") == 2
    assert "time, dose" in capsys.readouterr().err
    assert not (tmp_path / "q.png").exists()


def test_suggest_ranks_the_pool_for_each_task(folder, new, tmp_path, capsys):
    pool = write(tmp_path / "pool.csv", ["time"], [[t] for t in range(6)])
    assert run("suggest", folder / "model", new, "--pool", pool, "--n", "2") == 0
    rows = rows_of(capsys.readouterr().out)
    assert [(row["rank"], row["patient"]) for row in rows] == [(r, p) for p in "abc" for r in "12"]
    first = [float(row["conc_std"]) for row in rows if row["rank"] == "1"]
    task = FewShotRegressor.load(folder / "model").adapt([[4, 0.1]], [95])
    stds = task.predict([[t, 0.1] for t in range(6)], return_std=True)[1]
    assert first[1] == pytest.approx(stds.max(), rel=1e-4)
    with Path(new).open("a") as file:
        file.write("d,3,0.2,100\n")  # A task that is measured in full is passed over, as predict does.
    assert run("suggest", folder / "model", new) == 0
    assert [row["patient"] for row in rows_of(capsys.readouterr().out)] == ["a", "b", "c"]


@pytest.mark.parametrize("by", ["information", "reduction", "random"])
def test_suggest_by_other_acquisitions(by, folder, new, tmp_path, capsys):
    assert run("suggest", folder / "model", new, "--by", by) == 0
    assert [row["patient"] for row in rows_of(capsys.readouterr().out)] == ["a", "b", "c"]
    assert run("suggest", folder / "model", new, "--n", "2") == 2
    assert "ask for 1 to 1" in capsys.readouterr().err


def test_suggest_for_a_target_and_describe(folder, new, tmp_path, capsys):
    pool = write(tmp_path / "pool.csv", ["time", "price"], [[t, 1 + (t > 2)] for t in range(9)])
    assert (
        run("suggest", folder / "model", new, "--pool", pool, "--target", "103", "--cost", "price", "--limit", "conc<=110") == 0
    )
    assert [row["patient"] for row in rows_of(capsys.readouterr().out)] == ["a", "b", "c"]
    assert run("suggest", folder / "model", new, "--limit", "conc=110") == 2
    assert "--limit is 'conc=110'" in capsys.readouterr().err
    assert run("describe", folder / "model") == 0
    said = capsys.readouterr().out
    assert "Learned from 12 tasks" in said
    assert max(map(len, said.splitlines())) <= 80
    assert run("describe", folder / "model", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert [effect["input"] for effect in found["effects"]] == ["time", "dose"]
    assert all(f"{effect['change']:+.3g}" in said for effect in found["effects"])


def test_a_task_unlike_all_fitted_ones_is_named(folder, tmp_path, capsys):
    rows = [["odd", 1, 0.5, 300], ["odd", 2, 0.5, -200], ["odd", 3, 0.5, ""]]
    odd = write(tmp_path / "odd.csv", ["patient", "time", "dose", "conc"], rows)
    assert run("predict", folder / "model", odd) == 0
    assert "task 'odd' is unlike those fitted on: the probability of given rows" in capsys.readouterr().err


def test_a_level_that_training_did_not_see_is_a_note(tmp_path, capsys):
    rows = [[*row[:2], "xy"[i % 2], row[3]] for i, row in enumerate(patients())]
    table = write(tmp_path / "t.csv", ["patient", "time", "drug", "conc"], rows)
    assert run("fit", table, "--task", "patient", "--x", "time,drug", "--y", "conc", "--out", tmp_path / "m", *UNSCORED) == 0
    new = write(tmp_path / "n.csv", ["time", "drug", "conc"], [[1, "x", 100], [2, "z", ""]])
    capsys.readouterr()
    assert run("predict", tmp_path / "m", new) == 0
    error = capsys.readouterr().err
    assert error.startswith("bmaml: note: column 'drug' has levels that training did not see ('z')")
    assert error.count("\n") == 1


def test_a_table_without_inputs_is_a_random_intercept(tmp_path, capsys):
    table = write(tmp_path / "t.csv", ["patient", "conc"], [[row[0], row[3]] for row in patients()])
    assert run("fit", table, "--task", "patient", "--y", "conc", "--out", tmp_path / "m", *UNSCORED) == 0
    new = write(tmp_path / "n.csv", ["patient", "conc"], [["a", 100], ["a", ""], ["a", ""]])
    capsys.readouterr()
    assert run("predict", tmp_path / "m", new) == 0
    first, second = rows_of(capsys.readouterr().out)
    assert list(first) == ["patient", "conc_mean", "conc_std", "conc_low", "conc_high"]
    assert first == second


@pytest.mark.parametrize("call", ["predict m t.csv --level nan", "suggest m t.csv --target nan", "evaluate m --slower inf"])
def test_an_option_that_is_no_finite_number_is_refused_by_name(refused, call):
    *words, flag, number = call.split()
    assert refused(*words, flag, number) == f"{flag} is {number}: give a finite number."


def test_fewer_rows_than_any_training_task_had_is_a_note(tmp_path, capsys):
    table = write(tmp_path / "t.csv", ["patient", "time", "dose", "conc"], patients())
    fit = ["fit", table, "--task", "patient", "--x", "time", "--y", "conc", "--out", tmp_path / "m", *UNSCORED]
    assert run(*fit, "--shots", "2,3", "--method", "experts", "--particles", "2") == 0
    new = write(tmp_path / "n.csv", ["time", "conc"], [[1, 100], [2, ""]])
    capsys.readouterr()
    assert run("predict", tmp_path / "m", new) == 0
    assert "note: a task has 1 measured rows and the model was trained with 2 or more" in capsys.readouterr().err


def test_two_outputs_are_answered_and_scored_by_name(tmp_path, capsys):
    rows = [[*row, f"{-float(row[3]):.3f}"] for row in patients()]
    table = write(tmp_path / "t.csv", ["patient", "time", "dose", "a", "b"], rows)
    assert run("fit", table, "--task", "patient", "--x", "time", "--y", "a,b", "--out", tmp_path / "m", *TINY) == 0
    assert set(json.loads((tmp_path / "m" / "scores.json").read_text())["scores"][0]["rmse"]) == {"a", "b"}
    new = write(tmp_path / "n.csv", ["time", "a", "b"], [[1, 100, -100], [2, "", ""]])
    capsys.readouterr()
    assert run("predict", tmp_path / "m", new, "--plot", tmp_path / "p.png") == 0
    assert list(rows_of(capsys.readouterr().out)[0])[1:] == [f"{o}_{w}" for o in "ab" for w in ("mean", "std", "low", "high")]
    half = write(tmp_path / "h.csv", ["time", "a", "b"], [[1, 100, -100], [2, 5, ""]])
    assert run("predict", tmp_path / "m", half) == 2
    assert "line 3 has no 'b' but another output" in capsys.readouterr().err


def test_a_fit_that_was_stopped_is_no_model_until_it_is_resumed_and_then_says_what_fit_says(folder, new, tmp_path, capsys):
    copy = tmp_path / "model"
    shutil.copytree(folder / "model", copy)
    manifest = json.loads((copy / "manifest.json").read_text())
    manifest["checkpoints"].pop()
    (copy / "manifest.json").write_text(json.dumps(sealed(manifest)))
    scores = (copy / "scores.json").read_bytes()
    (copy / "scores.json").unlink()
    assert run("predict", copy, new) == 2
    assert "stopped at iteration 3 of 4: finish it with bmaml resume" in capsys.readouterr().err
    assert run("resume", copy) == 0
    assert (copy / "scores.json").read_bytes() == scores
    said = capsys.readouterr().out
    assert "trained 4 meta-steps" in said
    assert "on 2 held-out tasks" in said
    # Killed while the folder was made: the same fit can be begun again there.
    (tmp_path / "killed").mkdir()
    shutil.copy(copy / "arrays.safetensors", tmp_path / "killed")
    (tmp_path / "killed" / ".run.json.0011aabb").write_text("{")
    asked = ["fit", folder / "patients.csv", "--task", "patient", "--x", "time,dose", "--y", "conc"]
    assert run(*asked, "--out", tmp_path / "killed", *TINY) == 0
    capsys.readouterr()
    # Killed while the scores were made, and the table changed since.
    (copy / "scores.json").unlink()
    table = folder / "patients.csv"
    whole = table.read_bytes()
    try:
        table.write_bytes(whole + b"p99,1,1,1\n")
        assert run("resume", copy) == 0
    finally:
        table.write_bytes(whole)
    assert "has changed since the fit, so the model has no scores" in capsys.readouterr().err
    assert not (copy / "scores.json").exists()


def ends(score):
    """The RMSE of a score and the ends of its interval."""
    estimate = score.rmse["y"]
    return np.array([estimate.value, estimate.low, estimate.high])


def test_scores_of_a_plain_guess_are_the_ones_worked_out_by_hand():
    rng = np.random.default_rng(0)
    groups, x = np.repeat(np.arange(8), 6), np.tile(np.arange(6.0), 8)
    y = rng.normal(size=48) + groups
    model = FewShotRegressor("linear", steps=2, shots=2, selection="first")
    model.fit({"g": groups[:30], "x": x[:30], "y": y[:30]}, ["y"], task="g", x=["x"])
    held, training = (read_table({"g": groups[s], "x": x[s], "y": y[s]}) for s in (slice(30, 48), slice(0, 30)))
    scores = {(s.shots, s.method): s for s in score_held_out(model, held, training, (0, 2))[0]}
    tasks, past = y[30:].reshape(3, 6), y[:30].reshape(5, 6)
    last = scores[2, "last given row"]
    errors = tasks[:, 2:] - tasks[:, 1:2]
    assert last.rmse["y"].value == pytest.approx(np.sqrt(np.mean(errors**2)), rel=1e-5)
    variance = np.mean((past[:, 2:] - past[:, 1:2]) ** 2)
    assert last.nll.value == pytest.approx(np.mean(0.5 * (errors**2 / variance + np.log(2 * np.pi * variance))), rel=1e-4)
    assert last.coverage["y"].value == pytest.approx(np.mean(np.abs(errors) < 1.6449 * np.sqrt(variance)))
    pooled = scores[0, "mean of all training rows"]
    assert pooled.rmse["y"].value == pytest.approx(np.sqrt(np.mean((tasks - past.mean()) ** 2)), rel=1e-5)
    assert {(s.tasks, s.units) for s in scores.values()} == {(3, 3)}
    # Four copies of each task tell no more than one, if the interval is over what was held out together.
    copies = read_table(
        {
            "g": np.arange(18 * 4) // 6,
            "set": np.repeat(groups[30:], 4),
            "x": np.tile(x[:6], 12),
            "y": np.tile(tasks[:, None], (1, 4, 1)).ravel(),
        }
    )
    ours, theirs = (score_held_out(model, table, None, (2,), by=by)[0][0] for table, by in ((copies, "set"), (held, None)))
    assert (ours.tasks, ours.units) == (12, 3)
    np.testing.assert_allclose(ends(ours), ends(theirs), rtol=1e-5)
    narrow = score_held_out(model, copies, None, (2,))[0][0]
    assert np.ptp(ends(narrow)) < 0.7 * np.ptp(ends(ours))
    with pytest.raises(InputError, match="task '0' of the table has several values of 'x'"):
        score_held_out(model, copies, None, (2,), by="x")


def test_recalibrate_writes_another_model_with_other_intervals_and_the_same_means(folder, new, tmp_path, capsys):
    further = write(tmp_path / "further.csv", ["patient", "time", "dose", "conc"], patients(3))
    before = (folder / "model" / "run.json").read_bytes()
    assert run("recalibrate", folder / "model", folder / "patients.csv", "--out", tmp_path / "other") == 2
    assert "the model was fitted on 12 of these 14 tasks" in capsys.readouterr().err
    assert run("recalibrate", folder / "model", further, "--out", tmp_path / "other") == 0
    out = capsys.readouterr().out
    assert "stretched by (95% interval)" in out
    assert [line.split()[0] for line in out.splitlines()[1:4]] == ["0", "1", "3"]
    assert (folder / "model" / "run.json").read_bytes() == before
    rows = []
    for model in (folder / "model", tmp_path / "other"):
        assert run("predict", model, new) == 0
        rows.append(list(csv.DictReader(io.StringIO(capsys.readouterr().out))))
    assert [r["conc_mean"] for r in rows[0]] == [r["conc_mean"] for r in rows[1]]
    assert [r["conc_low"] for r in rows[0]] != [r["conc_low"] for r in rows[1]]
    assert run("suggest", tmp_path / "other", new, "--by", "information") == 0
