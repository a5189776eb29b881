"""`bmaml fit`, `predict` and `evaluate` from folders of images to tables."""

import csv
import json
import shutil

import numpy as np
import pytest

from bmaml.cli import main
from bmaml.cli.on_images import threshold
from bmaml.estimators.classifier import FewShotClassifier
from bmaml.images import read_images
from bmaml.io.sealed import sealed

Image = pytest.importorskip("PIL.Image")
CLASSES = 10


def pictures(root, names, count, seed=0):
    """Class folders of noisy pictures of a pattern."""
    rng = np.random.default_rng(seed)
    for name in names:
        (root / name).mkdir(parents=True)
        clean = rng.uniform(60, 200, (8, 8))
        for i in range(count):
            noisy = np.clip(clean + 20 * rng.normal(size=(8, 8)), 0, 255).astype(np.uint8)
            Image.fromarray(noisy).save(root / name / f"{i}.png")
    return root


def run(*arguments):
    """The command line's exit code."""
    with pytest.raises(SystemExit) as stop:
        main([str(argument) for argument in arguments])
    return stop.value.code


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Images, a model that was fitted to them, and a cache of the tests' own."""
    place = tmp_path_factory.mktemp("images")
    pictures(place / "in", [f"c{i}" for i in range(CLASSES)], 7)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BMAML_CACHE", str(place / "cache"))
        options = ["--way", "3", "--shot", "1", "--method", "protonet", "--steps", "30", "--test-share", "0.4"]
        options += ["--distort", "0.3"]
        assert run("fit", place / "in", "--out", place / "model", *options) == 0
        yield place


def test_fit_scores_classes_that_it_held_out(place, capsys):
    report = json.loads((place / "model" / "scores.json").read_text())
    assert len(report["held_out"]) == 4
    (scores,) = report["scores"]
    assert (scores["way"], scores["shots"], scores["episodes"]) == (3, 1, 600)
    assert 0.5 < scores["accuracy"]["low"] < scores["accuracy"]["value"] <= 1
    tasks = json.loads((place / "model" / "run.json").read_text())["parts"]["tasks"]
    assert not set(tasks["fields"]["bank"]["read"]["fields"]["classes"]) & set(report["held_out"])
    assert tasks["fields"]["distort"] == 0.3
    assert not (place / "model" / "arrays.safetensors").exists()


def test_predict_writes_a_probability_for_each_class_and_abstains_when_told(place, tmp_path, capsys):
    new = pictures(tmp_path / "new", ["x", "y", "z"], 4, seed=9)
    for name in ("x", "y", "z"):
        (tmp_path / "few" / name).mkdir(parents=True)
        shutil.move(new / name / "0.png", tmp_path / "few" / name)
    out = tmp_path / "out.csv"
    assert run("predict", place / "model", "--support", tmp_path / "few", "--query", new, "--out", out) == 0
    assert "of 9 images are given the class that their folder names" in capsys.readouterr().err
    rows = list(csv.DictReader(out.read_text().splitlines()))
    assert [row["image"] for row in rows[:2]] == ["x/1.png", "x/2.png"]
    p = np.array([[float(row[f"p_{name}"]) for name in "xyz"] for row in rows])
    np.testing.assert_allclose(p.sum(1), 1, atol=1e-4)
    assert [row["label"] for row in rows] == ["xyz"[i] for i in p.argmax(1)]
    below = json.loads((place / "model" / "scores.json").read_text())["scores"][0]["abstain_below"]
    assert [row["abstain"] for row in rows] == [str(bool(each.max() < below)).lower() for each in p]
    arguments = ["predict", place / "model", "--support", tmp_path / "few", "--query", new, "--abstain-below", "1"]
    assert run(*arguments) == 0
    assert {row["abstain"] for row in csv.DictReader(capsys.readouterr().out.splitlines())} == {"true"}


def test_evaluate_reads_the_held_out_classes_again(place, capsys):
    assert run("evaluate", place / "model", "--count", "600", "--json") == 0
    (again,) = json.loads(capsys.readouterr().out)
    (before,) = json.loads((place / "model" / "scores.json").read_text())["scores"]
    assert again == before, "the episodes that fit scored, for the same seed, without distortions"


def test_a_model_without_scores_never_abstains_and_says_so_until_it_is_resumed(place, tmp_path, capsys):
    shutil.copytree(place / "model", tmp_path / "model")
    scores = tmp_path / "model" / "scores.json"
    before = scores.read_bytes()
    scores.unlink()
    assert run("predict", tmp_path / "model", "--support", place / "in", "--query", place / "in") == 0
    said = capsys.readouterr()
    assert "never abstains" in said.err
    assert {row["abstain"] for row in csv.DictReader(said.out.splitlines())} == {"false"}
    assert run("resume", tmp_path / "model") == 0
    assert "on 600 episodes of 4 held-out classes" in capsys.readouterr().out
    assert scores.read_bytes() == before


def test_recalibrate_writes_another_model_that_is_as_sure_as_it_is_right(place, tmp_path, capsys):
    assert run("recalibrate", place / "model", place / "in", "--out", tmp_path / "other") == 2
    assert "the model was fitted on 6 of these 10 classes" in capsys.readouterr().err
    further = pictures(tmp_path / "further", [f"n{i}" for i in range(10)], 5, seed=4)
    assert run("recalibrate", place / "model", further, "--out", tmp_path / "other") == 0
    said = capsys.readouterr().out
    assert "temperature (95% interval)" in said
    (scores,) = json.loads((tmp_path / "other" / "scores.json").read_text())["scores"]
    models = [FewShotClassifier.load(folder) for folder in (place / "model", tmp_path / "other")]
    before, after = (model.adapt(further).predict_proba(further) for model in models)
    assert (before.argmax(1) == after.argmax(1)).all()
    assert not np.allclose(before, after)
    assert (scores["way"], scores["shots"]) == (3, 1)
    shutil.rmtree(further / "n0")
    assert run("recalibrate", place / "model", further, "--out", tmp_path / "third") == 2
    assert "there are 9 classes and a recalibration needs at least 10" in capsys.readouterr().err
    assert run("evaluate", tmp_path / "other") == 2
    assert "was saved without its images" in capsys.readouterr().err


def test_dark_ink_for_a_model_of_bright_ink_is_said_by_both_doors(place, tmp_path, capsys):
    shutil.copytree(place / "model", tmp_path / "model")
    file = tmp_path / "model" / "run.json"
    fitted = json.loads(file.read_text())
    low, high = fitted["about"]["form"]["brightness"]
    assert 0.4 < low < high < 0.6, "of the pictures that the model was fitted on"
    fitted["about"]["form"]["brightness"] = [0.05, 0.2]
    file.write_text(json.dumps(sealed(fitted)))
    dark_ink = np.where(np.random.default_rng(0).random((6, 8, 8)) < 0.15, 0, 255).astype(np.uint8)
    for i, image in enumerate(dark_ink):
        (tmp_path / "few" / "xyz"[i % 3]).mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(tmp_path / "few" / "xyz"[i % 3] / f"{i}.png")
    assert run("predict", tmp_path / "model", "--support", tmp_path / "few", "--query", tmp_path / "few") == 0
    assert "dark and bright look exchanged; give 255 - images" in capsys.readouterr().err
    model = FewShotClassifier.load(tmp_path / "model")
    with pytest.warns(UserWarning, match="dark and bright look exchanged"):
        task = model.adapt(dark_ink, list("xyzxyz"))
    with pytest.warns(UserWarning, match="dark and bright look exchanged"):
        task.predict(dark_ink)
    model.adapt(255 - dark_ink, list("xyzxyz")).predict(255 - dark_ink)


def test_when_to_abstain_is_known_for_the_numbers_of_classes_and_images_that_were_scored(place, tmp_path, capsys):
    shutil.copytree(place / "model", tmp_path / "model")
    pictures(tmp_path / "few", ["x", "y", "z", "w"], 1, seed=9)
    asked = ["predict", tmp_path / "model", "--support", tmp_path / "few", "--query", tmp_path / "few"]
    assert run(*asked) == 0
    assert "this task has 4 classes and 1 labelled images" in capsys.readouterr().err
    assert run("evaluate", tmp_path / "model", "--way", "4", "--json") == 0
    (row,) = json.loads(capsys.readouterr().out)
    three, four = json.loads((tmp_path / "model" / "scores.json").read_text())["scores"]
    assert (three["way"], four) == (3, row)
    assert run(*asked) == 0
    assert "this task has" not in capsys.readouterr().err
    assert threshold([three, four], 4, 1) == row["abstain_below"]


def test_caches_are_listed_and_removed_with_nothing_else(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("BMAML_CACHE", str(tmp_path / "cache"))
    assert run("cache") == 0
    assert "cache: 0, of 0.0 MB" in capsys.readouterr().out
    read_images(pictures(tmp_path / "in", ["a", "b"], 3))
    (array,) = (tmp_path / "cache").glob("*.npy")
    others = {name: tmp_path / "cache" / name for name in ("notes.json", "mine.npy", ".mine.json.0123abcd")}
    for file in others.values():
        file.write_text("{}")
    left = array.with_name(f".{array.name}.0123abcd")
    left.write_text("")
    assert run("cache") == 0
    out = capsys.readouterr().out
    assert str(tmp_path / "in") in out
    assert "cache: 1, of 0.0 MB" in out
    assert array.exists()
    assert run("cache", "--clear") == 0
    assert set((tmp_path / "cache").iterdir()) == set(others.values())
    read_images(tmp_path / "in")
    assert array.exists()


@pytest.mark.parametrize(
    ("arguments", "tells"),
    [
        (["fit", "IN", "--task", "a"], "holds images and no table"),
        (["fit", "IN", "--way", "11"], "way is 11"),
        (["fit", "IN", "--out", "MODEL"], "is there already"),
        (["fit", "IN", "--method", "experts"], "method 'experts' is for numbers"),
        (["fit", "IN", "--split-by", "alphabets"], "0 superclasses"),
        (["fit", "table.csv", "--way", "3", "--task", "a", "--x", "b", "--y", "c"], "no folder or zip of images"),
        (["fit", "table.csv"], "there is no table.csv"),
        (["fit", __file__], "--task is missing"),
        (["predict", "MODEL", "new.csv"], "give --support and --query"),
        (["predict", "MODEL", "--support", "IN"], "give --support and --query"),
        (["predict", "MODEL", "--support", "IN", "--query", "NONE"], "there is no"),
        (["predict", "MODEL", "--support", "IN", "--query", "IN", "--abstain-below", "2"], "--abstain-below is 2"),
        (["predict", "MODEL", "--support", "IN", "--query", "IN", "--plot", "a.png"], "--plot is a.png"),
        (["evaluate", "MODEL", "--shots", "9"], "has 7 images"),
        (["evaluate", "MODEL", "--way", "5"], "way is 5"),
        (["evaluate", "MODEL", "--split-by", "a"], "--split-by"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_sentence(place, tmp_path, monkeypatch, capsys, arguments, tells):
    monkeypatch.chdir(tmp_path)
    paths = {"IN": place / "in", "MODEL": place / "model", "NONE": tmp_path / "none"}
    assert run(*[paths.get(argument, argument) for argument in arguments]) == 2
    error = capsys.readouterr().err
    assert tells in error, error
    assert error.count("\n") == 1, error
    assert not list(tmp_path.iterdir()), "nothing is written"
