"""The leaderboard: what is kept is used, what changed is done again, intervals and marks say what they claim."""

import csv
import dataclasses
import json

import numpy as np
import pytest

from bmaml import load
from bmaml.cli import main
from bmaml.cli.leaderboard import _table
from bmaml.cli.option_groups import HeldOut, TableColumns
from bmaml.errors import InputError
from bmaml.evaluation.intervals import two_way
from bmaml.experiments import kept
from bmaml.experiments.board import run as leaderboard
from bmaml.experiments.board import standings
from bmaml.experiments.board.arenas import FamilyArena, ImageArena
from bmaml.experiments.board.run import OPTIMAL, Board, Entry


def board(methods=("linear",), seeds=(0,), count=6):
    """Of the method that is the quickest to compile, and not the best on sinusoids."""
    return Board(FamilyArena("maml-sinusoid", (2, 4)), methods, seeds, 3, count)


def test_what_is_kept_is_not_trained_or_scored_again(tmp_path, monkeypatch):
    first = board(seeds=(0, 1)).run(tmp_path)
    monkeypatch.setattr(kept, "train", lambda *_, **__: pytest.fail("trained again"))
    monkeypatch.setattr(leaderboard, "evaluate", lambda *_, **__: pytest.fail("scored again"))
    second = board(seeds=(0, 1)).run(tmp_path)
    assert [(entry.method, entry.seed) for entry in second] == [("linear", 0), ("linear", 1)]
    for one, other in zip(first, second, strict=True):
        assert one.scores.keys() == other.scores.keys()
        assert all((one.scores[name] == other.scores[name]).all() for name in one.scores)
        assert (one.train_seconds, one.adapt_seconds) == (other.train_seconds, other.adapt_seconds)


def test_parts_together_do_what_one_job_does(tmp_path, monkeypatch):
    seeds = (0, 1)
    counts = [board(seeds=seeds).run_part(tmp_path, part, 3) for part in (2, 1, 3)]
    assert counts == [1, 1, 0]
    monkeypatch.setattr(kept, "train", lambda *_, **__: pytest.fail("trained again"))
    monkeypatch.setattr(leaderboard, "evaluate", lambda *_, **__: pytest.fail("scored again"))
    assert [(entry.method, entry.seed) for entry in board(seeds=seeds).run(tmp_path)] == [("linear", 0), ("linear", 1)]


@pytest.mark.parametrize("part", ["3", "0/2", "3/2", "a/b"])
def test_what_is_no_part_is_refused(part, refused, tmp_path):
    assert "3/8" in refused("leaderboard", "sinusoid", "--out", tmp_path / "board", "--part", part)


def test_damaged_scores_are_made_again_and_nothing_trained(tmp_path, monkeypatch):
    (first,) = board().run(tmp_path)
    monkeypatch.setattr(kept, "train", lambda *_, **__: pytest.fail("trained again"))
    path = tmp_path / "scores" / "linear-0.npz"
    path.write_bytes(path.read_bytes()[:300])
    (again,) = board().run(tmp_path)
    np.testing.assert_array_equal(first.scores[2, "mse"], again.scores[2, "mse"])


def test_other_test_tasks_are_scored_again_and_nothing_trained(tmp_path, monkeypatch):
    board().run(tmp_path)
    monkeypatch.setattr(kept, "train", lambda *_, **__: pytest.fail("trained again"))
    (entry,) = board(count=9).run(tmp_path)
    assert len(entry.scores[2, "nll"]) == 9


def test_a_run_with_other_settings_is_not_taken_for_one(tmp_path):
    board().run(tmp_path)
    with pytest.raises(InputError, match=r"linear-0 holds a run of 3 meta-steps .* use another --out"):
        Board(FamilyArena("maml-sinusoid", (2, 4)), ("linear",), (0,), 4, 6).run(tmp_path)


def test_an_interrupted_training_goes_on_to_what_it_would_have_been(tmp_path):
    class Stop(leaderboard.Progress):
        def update(self, step, loss, speed):
            import os
            import signal

            os.kill(os.getpid(), signal.SIGINT)

    # The first of its three meta-steps is a chunk of its own, after which Ctrl-C comes.
    with pytest.raises(KeyboardInterrupt):
        board().run(tmp_path / "stopped", lambda _: Stop())
    assert load(tmp_path / "stopped" / "runs" / "linear-0").step == 1
    (resumed,), (whole,) = board().run(tmp_path / "stopped"), board().run(tmp_path / "whole")
    assert all((resumed.scores[name] == whole.scores[name]).all() for name in whole.scores)


def test_a_method_that_diverges_is_said_so_of_and_left_out(tmp_path, monkeypatch):
    from bmaml.training.loop import NonFiniteError

    whole = kept.train

    def fails(method, *rest, about, **options):
        if about["method"] == "maml":
            raise NonFiniteError("not finite")
        return whole(method, *rest, about=about, **options)

    monkeypatch.setattr(kept, "train", fails)
    said = []
    entries = board(("maml", "linear")).run(tmp_path, said=said.append)
    assert {entry.method for entry in entries} == {"linear"}
    assert said == ["maml, seed 0, is left out: not finite"]


def test_interval_over_tasks_and_seeds_covers_the_truth():
    rng = np.random.default_rng(0)
    held = []
    for _ in range(2000):
        values = rng.normal(0, 1.0, (1, 200)) + rng.normal(0, 0.1, (12, 1)) + rng.normal(0, 0.5, (12, 200))
        _, low, high = two_way(values)
        held.append(low <= 0 <= high)
    # Twelve seeds estimate their deviation loosely, and noise of single entries counts twice: not far from 95%.
    assert 0.93 < np.mean(held) < 0.985


def test_interval_over_seeds_with_tasks_of_their_own_covers_the_truth():
    rng = np.random.default_rng(1)
    held = []
    for _ in range(2000):
        values = [0.1 * rng.normal() + rng.normal(0, 1.0, count) for count in rng.permutation(np.arange(60, 72))]
        _, low, high = two_way(values, own_tasks=True)
        held.append(low <= 0 <= high)
    # Between seeds whose tasks are their own the tasks count twice: wider than it need be, never narrower.
    assert 0.95 < np.mean(held) < 0.999


def entry(method, nll, coverage, seed=0):
    scores = {(5, name): np.full(10, value) for name, value in (("nll", nll), ("mse", 1.0), ("crps", 1.0))}
    scores[5, "coverage"] = np.full(10, coverage)
    scores |= {(5, f"coverage@{level}"): np.full(10, level) for level in np.round(np.arange(0.05, 1, 0.05), 2)}
    return Entry(method, seed, scores, 1.0, 0.001, 10)


def test_rank_regret_and_marks():
    entries = [entry("maml", 2.0, 0.5), entry("experts", 1.0, 0.9), entry("experts", 1.2, 0.9, 1), entry(OPTIMAL, 0.75, 0.9)]
    numbers, times = standings.standings(entries)
    assert standings.ranked(numbers) == [OPTIMAL, "experts", "maml"]
    assert numbers.values("mean", method="experts", metric="regret_nll") == pytest.approx([0.35])
    assert numbers.values("mean", method="maml", metric="calibration") == pytest.approx([0.0], abs=1e-6)
    assert not numbers.where(method=OPTIMAL, metric="regret_nll")
    assert standings.honest(numbers, "experts")
    assert not standings.honest(numbers, "maml")
    text = standings.to_markdown(numbers, times, "bmaml leaderboard sinusoid")
    assert "| maml (!) |" in text
    assert "| experts |" in text


def test_tasks_of_several_seeds_are_counted_once_or_each():
    entries = [entry("maml", 1.0, 0.9), entry("maml", 2.0, 0.9, 1)]
    assert set(standings.standings(entries)[0].values("tasks")) == {10}
    assert set(standings.standings(entries, own_tasks=True)[0].values("tasks")) == {20}


def run(*arguments):
    with pytest.raises(SystemExit) as stop:
        main(["leaderboard", *map(str, arguments)])
    return stop.value.code


def test_command_on_a_table_writes_the_same_numbers_everywhere(tmp_path):
    rng = np.random.default_rng(0)
    table = tmp_path / "lines.csv"
    with table.open("w", newline="") as file:
        rows = [(t, x, rng.normal() * x) for t in range(20) for x in range(8)]
        csv.writer(file).writerows([("task", "x", "y"), *rows])
    out = tmp_path / "board"
    columns = ("--task", "task", "--x", "x", "--y", "y", "--shots", "2,5")
    options = (*columns, "--methods", "pretrain,linear", "--steps", 3, "--seeds", 1)
    assert run(table, "--out", out, *options) == 0
    results = json.loads((out / "results.json").read_text())["scores"]
    assert {(row["method"], row["shots"], row["seeds"], row["tasks"]) for row in results} == {
        (name, shots, 1, 3) for name in ("pretrain", "linear") for shots in (2, 5)
    }
    with (out / "results.csv").open() as file:
        assert [row["mean"] for row in csv.DictReader(file)] == [f"{row['mean']:.6g}" for row in results]
    assert (out / "leaderboard.png").stat().st_size > 10_000
    assert "| linear" in (out / "results.md").read_text()


def test_seeds_of_a_table_hold_out_other_tasks_and_spare_ones_are_neither_trained_nor_scored_on(tmp_path):
    rows = [(t, x, t + x) for t in range(20) for x in range(6)]
    table = tmp_path / "lines.csv"
    with table.open("w", newline="") as file:
        csv.writer(file).writerows([("task", "x", "y"), *rows])
    columns = TableColumns(task="task", x="x", y="y")
    arenas = _table(table, columns, (2,), (0, 1), HeldOut(test_share=0.2), spare=True)
    found = [[_levels(a, part) for part in (a.training, a.test(), a.spare())] for a in arenas]
    for parts in found:
        assert sorted(set.union(*parts)) == list(range(20))
        assert sum(len(part) for part in parts) == 20
    assert found[0][1] != found[1][1]


def test_too_few_tasks_to_recalibrate_on_are_refused_before_a_training(tmp_path, refused):
    table = tmp_path / "lines.csv"
    with table.open("w", newline="") as file:
        csv.writer(file).writerows([("task", "x", "y"), *((t, x, t + x) for t in range(20) for x in range(6))])
    common = ("--task", "task", "--x", "x", "--y", "y", "--shots", "2", "--methods", "pretrain", "--recalibrated")
    said = refused("leaderboard", table, "--out", tmp_path / "board", *common)
    assert "spares 3 tasks to recalibrate on, and at least 10 are needed" in said
    assert not (tmp_path / "board" / "runs").exists()


def _levels(arena, tasks):
    """Which lines they are: y is the task's number where x is 0."""
    y = arena.schema.decode_value(np.asarray(tasks.rows.y))
    return {round(float(level)) for level in y.min((1, 2))}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("sinusoid", "--methods", "mamll"), "did you mean 'maml'?"),
        (("sinusoids",), "did you mean 'sinusoid'?"),
        (("x.csv", "--task", "t", "--task-count", "9"), "--task-count"),
        (("x.csv", "--task", "t", "--x", "x", "--y", "y"), "x.csv"),
    ],
)
def test_wrong_input_is_one_sentence_and_nothing_written(tmp_path, capsys, arguments, said):
    assert run(*arguments, "--out", tmp_path / "board") == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "board").exists()


def test_unknown_family_is_named():
    with pytest.raises(InputError, match="unknown task family"):
        FamilyArena.default_shots("waves")


@pytest.mark.costly
def test_recalibrated_scores_are_kept_apart_and_hold_what_they_should(tmp_path):
    plain = board(("pretrain",), count=100)
    changed = dataclasses.replace(plain, recalibrated=True)
    (before,), (after,) = plain.run(tmp_path), changed.run(tmp_path)
    assert abs(after.scores[2, "coverage"].mean() - 0.9) < 0.04 < abs(before.scores[2, "coverage"].mean() - 0.9)
    np.testing.assert_allclose(after.scores[2, "mse"], before.scores[2, "mse"], rtol=1e-4)
    (again,) = plain.run(tmp_path)
    assert (again.scores[2, "coverage"] == before.scores[2, "coverage"]).all()


@pytest.mark.unchecked
def test_recalibrating_classes_is_refused():
    arena = ImageArena("digits", (1,), 2, None, None)
    with pytest.raises(InputError, match=r"digits has no tasks to recalibrate on: only families and tables"):
        Board(arena, ("protonet",), (0,), recalibrated=True)
