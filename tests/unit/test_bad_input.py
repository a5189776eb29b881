"""Wrong input and a failing disk, through the command line: one sentence, exit code 2, nothing written over."""

import contextlib
import errno
import json
import os
import re
import resource
import shutil
import warnings

import pytest
from cases import content, is_one_sentence, run

from bmaml.io.sealed import sealed
from bmaml.training.run import about

HEADER = "patient,time,conc"
FIT = [
    "--task",
    "patient",
    "--x",
    "time",
    "--y",
    "conc",
    "--method",
    "linear",
    "--steps",
    "2",
    "--shots",
    "1",
]
# Of the first order, as everywhere here: the quickest to compile that has inner steps.
TRAIN = ["--method", "fomaml", "--inner-steps", "1", "--steps", "4", "--save-every", "2"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A folder with a trained family run, a fitted table model and the table."""
    place = tmp_path_factory.mktemp("runs")
    (place / "table.csv").write_text("\n".join([HEADER, *rows()]) + "\n")
    assert run("train", "sinusoid", "--out", place / "family", *TRAIN) == 0
    assert run("fit", place / "table.csv", "--out", place / "model", "--test-share", "0", *FIT) == 0
    return place


@pytest.fixture
def table(tmp_path):
    """Write a table of the given lines and return its path."""

    def make(lines, header=HEADER):
        path = tmp_path / "table.csv"
        path.write_text("\n".join([header, *lines]) + "\n")
        return path

    return make


def rows(tasks=5, each=4):
    return [f"p{task},{time},{10 * task + time * (-1) ** task}" for task in range(tasks) for time in range(each)]


def replaced(line, text):
    """The good rows with one changed; `line` counts the header as 1."""
    lines = rows()
    lines[line - 2] = text
    return lines


@pytest.mark.parametrize(("flag", "column"), [("--x", "tine"), ("--y", "dose"), ("--task", "person")])
def test_a_missing_column_is_named_with_those_there_are(refused, table, tmp_path, flag, column):
    sentence = refused("fit", table(rows()), *FIT, flag, column, "--out", tmp_path / "m")
    assert f"has no column {column!r}" in sentence
    assert "'patient', 'time', 'conc'" in sentence


@pytest.mark.parametrize(
    ("cell", "says"),
    [("high", "'high', which is not a number"), ("inf", "'inf'"), ("-inf", "'-inf'")],
)
@pytest.mark.parametrize("line", [2, 7, 21])
def test_a_cell_that_is_no_finite_number_is_named_with_its_line(refused, table, tmp_path, cell, says, line):
    lines = replaced(line, f"p{(line - 2) // 4},1,{cell}")
    sentence = refused("fit", table(lines), *FIT, "--out", tmp_path / "m")
    assert f"line {line}, column 'conc' is {says}" in sentence


@pytest.mark.parametrize("text", ["", "\n\n", HEADER, HEADER + "\n"])
def test_an_empty_file_is_refused(refused, tmp_path, text):
    (tmp_path / "empty.csv").write_text(text)
    assert "give" in refused("fit", tmp_path / "empty.csv", *FIT, "--out", tmp_path / "m")


def test_no_file_and_a_file_that_is_no_table_are_refused(refused, tmp_path):
    assert "none.csv: give the path of a table" in refused("fit", tmp_path / "none.csv", *FIT, "--out", tmp_path / "m")
    (tmp_path / "odd.csv").write_bytes(bytes(range(256)))
    refused("fit", tmp_path / "odd.csv", *FIT, "--out", tmp_path / "m")


def test_duplicate_headers_are_refused(refused, table, tmp_path):
    path = table([f"{row},0" for row in rows()], HEADER + ",time")
    assert "2 columns named 'time'" in refused("fit", path, *FIT, "--out", tmp_path / "m")


def test_an_unknown_method_or_family_is_refused_with_the_nearest(refused, table, tmp_path):
    path, out = table(rows()), ["--out", tmp_path / "m"]
    assert "did you mean 'bmaml'" in refused("fit", path, *FIT, *out, "--method", "bmanl")
    assert "did you mean 'bmaml'" in refused("train", "sinusoid", *out, "--method", "bmanl")
    assert "did you mean 'sinusoid'" in refused("train", "sinusiod", *out)


def test_shots_larger_than_a_task_are_refused(refused, table, tmp_path):
    out = ["--out", tmp_path / "m"]
    assert "no task of more than 4 rows and shots are 9" in refused("fit", table(rows()), *FIT, *out, "--shots", "9")
    assert "30 shots" in refused("train", "sinusoid", *out, "--shots", "30", "--task-count", "8", "--samples", "20")
    assert "--shots is 'a'" in refused("fit", table(rows()), *FIT, *out, "--shots", "a")


def test_too_few_tasks_to_hold_some_out_are_refused(refused, table, tmp_path):
    assert "--test-share 0" in refused("fit", table(rows(tasks=3)), *FIT, "--out", tmp_path / "m")


def test_a_run_that_is_there_is_not_written_over(refused, runs, table, tmp_path):
    shutil.copytree(runs / "family", tmp_path / "family")
    shutil.copytree(runs / "model", tmp_path / "model")
    assert "give another --out" in refused("train", "sinusoid", "--out", tmp_path / "family", *TRAIN)
    assert "is there already" in refused("fit", table(rows()), *FIT, "--out", tmp_path / "model")
    (tmp_path / "family" / "run.json").unlink()
    assert "already holds a run" in refused("train", "sinusoid", "--out", tmp_path / "family", *TRAIN)
    (tmp_path / "answers.csv").write_text("precious")
    new = table(["a,1,3", "a,2,"])
    assert "is there already" in refused("predict", tmp_path / "model", new, "--out", tmp_path / "answers.csv")


def test_a_board_goes_into_no_folder_of_something_else_and_no_file(refused, runs, table, tmp_path):
    shutil.copytree(runs / "family", tmp_path / "family")
    sizes = ("--methods", "maml", "--quick")
    assert "which holds a run" in refused("leaderboard", "sinusoid", *sizes, "--out", tmp_path / "family")
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "mine.txt").write_text("precious")
    assert "holds no board" in refused("leaderboard", "sinusoid", *sizes, "--out", tmp_path / "notes")
    path = table(rows())
    for command in (("leaderboard", "sinusoid", *sizes), ("figure", "svgd-mixture"), ("demo",), ("compare-posteriors",)):
        assert "is a file: give a folder" in refused(*command, "--out", path)


def test_papers_of_a_run_need_its_method_alone(refused, runs, tmp_path, capfd):
    assert "is no folder" in refused("cite", tmp_path / "none")
    for command in ("cite", "evaluate", "resume"):
        assert f"such as {runs / 'family'}" in refused(command, runs)
    shutil.copytree(runs / "family", tmp_path / "family")
    flip(sorted((tmp_path / "family").glob("checkpoint-*"))[-1], 0.5)
    assert run("cite", tmp_path / "family") == 0
    assert "finn2017" in capfd.readouterr().out


def test_a_warning_of_the_library_is_a_note(runs, tmp_path, capsys):
    shutil.copytree(runs / "family", tmp_path / "family")
    sorted((tmp_path / "family").glob("checkpoint-*"))[-1].unlink()
    warnings.simplefilter("always", UserWarning)
    assert run("resume", tmp_path / "family") == 0
    note = next(line for line in capsys.readouterr().err.splitlines() if "is gone" in line)
    assert note.startswith("bmaml: note: ")


def test_a_run_by_another_objective_is_not_called_by_its_method_alone(tmp_path):
    assert run("train", "sinusoid", *TRAIN, "--objective", "query-joint", "--out", tmp_path / "run") == 0
    assert about(tmp_path / "run")["method"] == "fomaml by query-joint"


def test_scores_are_written_over_no_file_and_into_no_missing_folder(refused, runs, table, tmp_path):
    path = table(rows())
    assert "is there already" in refused("evaluate", runs / "family", "--out", path)
    assert "there is no folder" in refused("evaluate", runs / "family", "--out", tmp_path / "none" / "scores.json")
    for command in ("predict", "suggest"):
        assert "there is no folder" in refused(command, runs / "model", path, "--out", tmp_path / "none" / "answers.csv")
        assert "give a name that ends in .csv" in refused(command, runs / "model", path, "--out", tmp_path / "a.parquet")
    assert "a file is where a folder has to be" in refused("train", "sinusoid", "--out", path, *TRAIN)


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--seed", "-1"], "seed of Plan is -1"),
        (["--seed", "99999999999"], "seed of Plan is 99999999999"),
        (["--learning-rate", "-1"], "outer rate -1"),
        (["--learning-rate", "inf"], "--learning-rate is inf"),
        (["--inner-learning-rate", "inf"], "--inner-learning-rate is inf"),
        (["--steps", "1000000000000"], "give a whole number below 2147483648"),
        (["--inner-learning-rate", "nan"], "--inner-learning-rate is nan"),
        (["--method", "experts"], "no inner steps to set"),
    ],
)
def test_settings_that_make_no_sense_are_refused(refused, tmp_path, flags, says):
    assert says in refused("train", "sinusoid", "--out", tmp_path / "run", *TRAIN, *flags)


def test_a_run_of_which_no_meta_step_was_finite_is_not_said_to_be_trained(tmp_path, capfd):
    out = tmp_path / "run"
    code = run("train", "sinusoid", *TRAIN, "--inner-learning-rate", "1e30", "--out", out)
    said = capfd.readouterr()
    assert code == 2
    assert "not finite" in said.err
    assert "trained" not in said.out


def test_a_board_of_a_family_takes_no_columns_and_a_file_has_to_be_there(refused, tmp_path):
    assert "--x is x" in refused("leaderboard", "sinusoid", "--x", "x", "--out", tmp_path / "board")
    assert "there is no file none.csv" in refused("leaderboard", "none.csv", "--out", tmp_path / "board")


def test_a_tables_model_is_scored_on_a_table_alone(refused, runs, table, tmp_path, capfd):
    path, out = table(rows()), tmp_path / "scores.json"
    assert "give --table" in refused("evaluate", runs / "model")
    assert "--table is" in refused("evaluate", runs / "family", "--table", path)
    assert "--steps is 1" in refused("evaluate", runs / "model", "--table", path, "--steps", "1")
    assert "shots are 9" in refused("evaluate", runs / "model", "--table", path, "--shots", "9")
    assert run("evaluate", runs / "model", "--table", path, "--shots", "1,2", "--out", out) == 0
    assert "on 5 tasks of" in capfd.readouterr().out
    assert [(row["shots"], row["tasks"]) for row in json.loads(out.read_text())] == [(1, 5), (2, 5)]


def test_bad_rows_to_predict_are_refused(refused, runs, table):
    model = runs / "model"
    assert "has no column 'time'" in refused("predict", model, table(["a,3", "a,"], "patient,conc"))
    assert "line 3, column 'time'" in refused("predict", model, table(["a,1,3", "a,soon,"]))
    assert "line 2, column 'conc'" in refused("predict", model, table(["a,1,inf", "a,2,"]))
    assert "2 columns named" in refused("predict", model, table(["a,1,3,3", "a,2,,"], HEADER + ",conc"))
    assert "--level is 90" in refused("predict", model, table(["a,1,3", "a,2,"]), "--level", "90")


def test_bad_tasks_to_recalibrate_on_are_refused(refused, runs, table, tmp_path):
    model, out = runs / "model", tmp_path / "other"
    assert "there already" in refused("recalibrate", model, table(rows()), "--out", runs / "model")
    assert "conc" in refused("recalibrate", model, table(["a,1", "a,2"], "patient,time"), "--out", out)
    assert "one row in every task" in refused("recalibrate", model, table(["a,1,2", "b,1,2"]), "--out", out)
    assert "shots are 9" in refused("recalibrate", model, table(rows()), "--out", out, "--shots", "9")
    assert "needs at least 10" in refused("recalibrate", model, table(["a,1,2", "a,2,2"]), "--out", out)
    assert "no fitted table model" in refused("recalibrate", runs / "family", table(rows()), "--out", out)


def test_checkpoints_whose_manifest_is_gone_are_not_written_over(refused, runs, tmp_path):
    shutil.copytree(runs / "family", tmp_path / "family")
    manifest = tmp_path / "family" / "manifest.json"
    whole = manifest.read_text()
    manifest.unlink()
    for command in ("resume", "evaluate"):
        assert "manifest.json is gone" in refused(command, tmp_path / "family")
    manifest.write_text(json.dumps(json.loads(whole) | {"checkpoints": [5]}))
    assert "manifest.json is damaged" in refused("resume", tmp_path / "family")


def flip(path, place, bits=0xFF):
    """Flip bits of one byte of a file; `place` is a share of its length."""
    data = bytearray(path.read_bytes())
    data[min(int(place * len(data)), len(data) - 1)] ^= bits
    path.write_bytes(bytes(data))


@pytest.mark.parametrize("place", [0.0, 0.3, 0.7, 1.0])
def test_a_flipped_byte_in_a_checkpoint_is_refused(refused, runs, table, tmp_path, place):
    for name in ("family", "model"):
        shutil.copytree(runs / name, tmp_path / name)
        flip(sorted((tmp_path / name).glob("checkpoint-*"))[-1], place)
    new = table(["a,1,3", "a,2,"])
    assert "is damaged" in refused("evaluate", tmp_path / "family", "--count", "2")
    assert "is damaged" in refused("resume", tmp_path / "family")
    assert "is damaged" in refused("predict", tmp_path / "model", new)
    assert "is damaged" in refused("suggest", tmp_path / "model", new)


@pytest.mark.parametrize(
    ("file", "bits"), [("run.json", 0xFF), ("run.json", 1), ("arrays.safetensors", 1), ("manifest.json", 0xFF)]
)
@pytest.mark.parametrize("place", [0.0, 0.1, 0.5, 0.8, 1.0])
def test_a_flipped_byte_anywhere_else_is_refused_too(refused, runs, table, tmp_path, file, bits, place):
    shutil.copytree(runs / "model", tmp_path / "model")
    flip(tmp_path / "model" / file, place, bits)
    new = table(["a,1,3", "a,2,"])
    for sentence in (refused("resume", tmp_path / "model"), refused("predict", tmp_path / "model", new)):
        assert re.search(r"damaged|not a file of bmaml", sentence), sentence


def test_a_folder_that_holds_no_run_is_refused(refused, table, tmp_path):
    new = table(["a,1,3", "a,2,"])
    (tmp_path / "other").mkdir()
    for command in (["resume"], ["evaluate"], ["predict"]):
        target = [tmp_path / "other", *([new] if command == ["predict"] else [])]
        assert "is not a run" in refused(*command, *target)
        refused(*command, new, *target[1:])


def test_particles_that_are_not_drawn_cannot_be_more(refused, runs):
    assert "leave it out" in refused("evaluate", runs / "family", "--particles", "7")
    assert "serves up to 1000" in refused("evaluate", runs / "family", "--shots", "100000000", "--optimal")


def test_a_place_that_cannot_be_written_is_refused(refused, runs, table, tmp_path):
    # The tests may run as root, who may write anywhere but below a file and into /proc.
    (tmp_path / "file").write_text("precious")
    path, new = table(rows()), tmp_path / "new.csv"
    new.write_text("\n".join([HEADER, "a,1,3", "a,2,"]))
    for place in (tmp_path / "file", tmp_path / "file" / "below", "/proc/bmaml"):
        refused("train", "sinusoid", "--out", place, *TRAIN)
        refused("fit", path, *FIT, "--out", place)
    for place in (tmp_path / "file" / "out.csv", "/proc/out.csv", tmp_path / "none" / "out.csv"):
        assert "out.csv" in refused("predict", runs / "model", new, "--out", place)
    assert "p.png" in refused("predict", runs / "model", new, "--plot", tmp_path / "none" / "p.png")


def test_a_folder_without_permission_is_refused(refused, table, tmp_path):
    if os.geteuid() == 0:
        pytest.skip("root may write to any folder")
    (tmp_path / "closed").mkdir(mode=0o500)
    refused("fit", table(rows()), *FIT, "--out", tmp_path / "closed" / "m")


@contextlib.contextmanager
def small_disk():
    """No file may grow past 2 kB: writing fails as on a full disk, with another number.

    The limit is the whole process's, so it must end before pytest writes its next dot into a log that is longer.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2048, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def back_to_step_2(folder):
    """Take the last checkpoint away, as if the run had been stopped before it."""
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / f"checkpoint-{manifest['checkpoints'].pop()['step']:08d}.safetensors").unlink()
    (folder / "manifest.json").write_text(json.dumps(sealed(manifest)))


def test_a_disk_that_fills_while_training_keeps_what_there_was(runs, tmp_path, capsys, monkeypatch):
    shutil.copytree(runs / "family", tmp_path / "run")
    back_to_step_2(tmp_path / "run")
    before, replace = content(tmp_path), os.replace

    def full(source, target):
        if "checkpoint-" in str(target):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(target))
        replace(source, target)

    monkeypatch.setattr(os, "replace", full)
    assert run("resume", tmp_path / "run") == 2
    err = capsys.readouterr().err.splitlines()[-1]
    assert "No space left on device" in err
    assert is_one_sentence(err)
    assert content(tmp_path) == before
    monkeypatch.undo()
    assert run("resume", tmp_path / "run") == 0


def test_a_disk_too_small_for_the_answers_leaves_none(runs, table, tmp_path, capsys):
    new = table(["a,1,3", *(f"a,{0.01 * i:.2f}," for i in range(200))])
    before = content(tmp_path)
    with small_disk():
        code = run("predict", runs / "model", new, "--out", tmp_path / "out.csv")
    assert code == 2
    err = capsys.readouterr().err
    assert "out.csv (File too large)" in err
    assert is_one_sentence(err.rstrip("\n"))
    assert content(tmp_path) == before


def test_an_unforeseen_error_is_one_sentence_and_a_traceback_only_for_debug(monkeypatch, capsys):
    def broken(*_):
        raise TypeError("unhashable type: 'list'")

    monkeypatch.setattr("bmaml.training.run.RunFolder", broken)
    assert run("evaluate", "runs/sine") == 1
    plain = capsys.readouterr().err
    assert "TypeError: unhashable type: 'list'" in plain
    assert is_one_sentence(plain.removesuffix("\n").removeprefix("bmaml: "))
    assert run("--debug", "evaluate", "runs/sine") == 1
    shown = capsys.readouterr().err
    assert shown.startswith("Traceback")
    assert shown.endswith(plain)


@pytest.mark.parametrize("clash", ["conc_mean", "conc_high", "rank"])
def test_a_column_named_as_a_column_of_the_answers_is_refused_before_training(refused, table, tmp_path, clash):
    roles = ["--task", clash, "--x", "time", "--y", "conc", "--out", tmp_path / "model"]
    assert repr(clash) in refused("fit", table(rows(), f"{clash},time,conc"), *roles)
