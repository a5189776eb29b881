"""A run's folder: nothing half-written and nothing damaged or forged gets in."""

import errno
import json
import os
import shutil
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy
from cases import content, fixed_tasks, is_one_sentence, preset, refused, sentence

import bmaml
from bmaml.errors import InputError
from bmaml.io.checkpoint import RunFolder
from bmaml.io.sealed import seal
from bmaml.training.meta_step import init_state
from bmaml.training.plan import Plan

STATE = {"w": np.arange(6, dtype="float32").reshape(2, 3), "step": np.asarray(3, "int32"), "none": None}


def state(value):
    return jax.tree.map(lambda leaf: leaf + np.asarray(value, leaf.dtype), STATE)


@pytest.fixture
def folder(tmp_path):
    """A folder with a run and two checkpoints, at steps 1 and 2."""
    made = RunFolder(tmp_path / "run", keep=2)
    parts = {"method": preset("maml"), "tasks": fixed_tasks(2), "plan": Plan(10), "options": {"save_every": None}}
    made.create(parts, {"note": "mine"})
    for step in (1, 2):
        made.save(state(step), [{"step": step}], step)
    return made


def newest(folder):
    return folder.path / "checkpoint-00000002.safetensors"


def files(folder):
    return sorted(f.name for f in folder.path.iterdir())


def test_a_checkpoint_comes_back_bit_for_bit(folder):
    back = folder.load(STATE)
    assert jax.tree.structure(back) == jax.tree.structure(STATE)
    for a, b in zip(jax.tree.leaves(back), jax.tree.leaves(state(2)), strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)
    assert folder.history() == [{"step": 2}]
    assert folder.about() == {"note": "mine"}


def test_only_the_last_checkpoints_are_kept(folder):
    for step in (3, 4, 4):
        folder.save(state(step), [], step)
    kept = ["checkpoint-00000003.safetensors", "checkpoint-00000004.safetensors"]
    assert [name for name in files(folder) if name.startswith("checkpoint")] == kept
    np.testing.assert_array_equal(folder.load(STATE)["w"], STATE["w"] + 4)


@pytest.mark.parametrize("place", [0, 8, 40, -1], ids=["length", "header", "header's end", "tensor"])
def test_one_flipped_bit_is_noticed(folder, place):
    content = bytearray(newest(folder).read_bytes())
    content[place] ^= 1
    newest(folder).write_bytes(content)
    assert "is damaged" in refused(lambda: folder.load(STATE))


@pytest.mark.parametrize("left", [0, 5, 100])
def test_a_truncated_checkpoint_is_noticed(folder, left):
    newest(folder).write_bytes(newest(folder).read_bytes()[:left])
    assert "is damaged" in refused(lambda: folder.load(STATE))


def test_a_deleted_checkpoint_gives_way_to_the_one_before_it(folder):
    """A damaged checkpoint costs the meta-steps since the one before, and not the run."""
    folder.save(state(3), [{"step": 1}, {"step": 2}, {"step": 3}], 3)
    (folder.path / "checkpoint-00000003.safetensors").unlink()
    with pytest.warns(UserWarning, match=r"00000003.safetensors is gone: checkpoint-00000002.safetensors is used instead"):
        np.testing.assert_array_equal(folder.load(STATE)["w"], STATE["w"] + 2)
    assert folder.history() == [{"step": 1}, {"step": 2}]
    newest(folder).unlink()
    assert "is not there" in refused(lambda: folder.load(STATE))


def test_a_flipped_bit_in_the_tasks_own_arrays_is_noticed(folder):
    file = folder.path / "arrays.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    assert "is damaged" in refused(lambda: folder.parts("tasks"))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b'{"format": "bmaml-run", "ver', "not JSON"),
        (b"\xff\xfe\x00", "not JSON"),
        (b"", "not JSON"),
        (b'{"weights": [1, 2]}', "not a file of bmaml's"),
        (b"[1, 2]", "not a file of bmaml's"),
        (b'{"format": "bmaml-run", "version": 99}', "format 99 and this bmaml reads format 2"),
        (b'{"format": "bmaml-run", "version": "two"}', "format two"),
        (b'{"format": "bmaml-run"}', "format None"),
    ],
)
@pytest.mark.parametrize("name", ["run.json", "manifest.json"])
def test_foreign_damaged_or_newer_json_is_refused(folder, name, content, says):
    (folder.path / name).write_bytes(content)
    assert says in refused(lambda: folder.parts("method") if name == "run.json" else folder.load(STATE))


def test_a_manifest_without_its_lists_is_refused(folder):
    (folder.path / "manifest.json").write_text('{"format": "bmaml-run", "version": 2}')
    for action in (folder.history, lambda: folder.load(STATE), lambda: folder.save(state(3), [], 3)):
        assert "is damaged" in refused(action)


@pytest.mark.parametrize("where", ["nowhere", "a file"])
def test_what_is_no_run_at_all_is_refused(tmp_path, where):
    path = tmp_path / "thing"
    if where == "a file":
        path.write_text("x")
    for action in (bmaml.load, bmaml.resume):
        assert "is not a run of bmaml" in refused(lambda action=action: action(path))


def test_a_run_without_a_checkpoint_says_so(tmp_path):
    made = RunFolder(tmp_path)
    made.create({"method": preset("maml"), "plan": Plan(10)}, {})
    assert made.load(STATE) is None
    assert "has no checkpoint yet" in refused(lambda: bmaml.load(tmp_path))


def test_another_methods_checkpoint_is_refused(tmp_path):
    """The files of an EMAML run put under a MAML run's name: the checksum is right, the shapes are not."""
    plan, folders = Plan(10), {}
    for name in ("maml", "emaml"):
        folders[name] = RunFolder(tmp_path / name)
        folders[name].create({"method": preset(name), "plan": plan}, {})
        shapes = eqx.filter_eval_shape(init_state, preset(name), plan)
        folders[name].save(jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes), [], 5)
    assert bmaml.load(tmp_path / "maml").step == 0
    for file in ("manifest.json", "checkpoint-00000005.safetensors"):
        (tmp_path / "maml" / file).write_bytes((tmp_path / "emaml" / file).read_bytes())
    assert "does not fit this method" in refused(lambda: bmaml.load(tmp_path / "maml"))


@pytest.mark.parametrize("name", ["notes.txt", "checkpoint-00000002.safetensors", "arrays.safetensors", ".git"])
def test_a_folder_with_other_things_in_it_is_not_written_into(tmp_path, name):
    """Also a user's own file of a name that a run would use."""
    (tmp_path / name).write_bytes(safetensors.numpy.save({"mine": np.ones(2)}))
    before = content(tmp_path)
    assert f"is not empty (it holds {name})" in refused(
        lambda: bmaml.train(preset("maml"), fixed_tasks(), directory=tmp_path, steps=2)
    )
    assert content(tmp_path) == before


def test_a_run_that_was_killed_while_it_was_made_can_be_made_again(folder, monkeypatch):
    """Killed after the arrays and in the middle of the next file, in a folder of its own."""
    parts = dict(zip(NAMES, folder.parts(*NAMES), strict=True))
    again = RunFolder(folder.path.with_name("killed"))
    real = os.replace
    monkeypatch.setattr(os, "replace", lambda source, target: None if str(target).endswith(".json") else real(source, target))
    again.create(parts, {})
    monkeypatch.undo()
    assert len(list(again.path.glob(".run.json.*"))) == 1
    assert "is not a run of bmaml" in refused(again.about)
    for kept in (parts, parts | {"tasks": None}):
        again.create(kept, {"note": "again"})
        assert again.about() == {"note": "again"}
        assert bool(eqx.tree_equal(again.parts("tasks")[0], kept["tasks"]))
        (again.path / "run.json").unlink()


def test_a_folder_that_holds_a_run_is_not_written_over(folder):
    before = {f.name: f.read_bytes() for f in folder.path.iterdir()}
    assert "already holds a run" in refused(lambda: bmaml.train(preset("maml"), fixed_tasks(), directory=folder.path))
    assert {f.name: f.read_bytes() for f in folder.path.iterdir()} == before


def test_a_folder_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").write_text("x")
    for place in (tmp_path / "file", tmp_path / "file" / "run"):
        message = refused(lambda place=place: bmaml.train(preset("maml"), fixed_tasks(), directory=place))
        assert "cannot write" in message


@pytest.mark.parametrize("fails", ["fsync", "replace"])
@pytest.mark.parametrize("after", [0, 1], ids=["checkpoint", "manifest"])
def test_a_full_disk_leaves_the_old_checkpoint_and_no_litter(folder, monkeypatch, fails, after):
    """Whichever file it happens at, and whichever step of writing it."""
    calls, real = [], getattr(os, fails)

    def full(*arguments):
        calls.append(arguments)
        if len(calls) > after:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(*arguments)

    monkeypatch.setattr(os, fails, full)
    message = refused(lambda: folder.save(state(3), [{"step": 3}], 3))
    assert "No space left on device" in message
    monkeypatch.undo()
    assert not [name for name in files(folder) if name.startswith(".")]
    np.testing.assert_array_equal(folder.load(STATE)["w"], STATE["w"] + 2)
    assert folder.history() == [{"step": 2}]
    folder.save(state(3), [{"step": 3}], 3)
    np.testing.assert_array_equal(folder.load(STATE)["w"], STATE["w"] + 3)


def test_a_crash_leaves_no_litter_either(folder, monkeypatch):
    """Ctrl-C in the middle of a write."""

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupted)
    before = files(folder)
    with pytest.raises(KeyboardInterrupt):
        folder.save(state(3), [], 3)
    assert files(folder) == before


NAMES = ("method", "tasks", "plan", "options")
ODD = (None, True, -1, 3, 0.5, 1e308, 10**400, "", "x", "../x", "/etc/passwd", [], {}, [[]], {"dict": {"x": 1}}, {"list": 3})
ODD = (*ODD, {"array": "none"}, {"read": {}}, {"type": "plan/plan", "fields": {"steps": "x"}}, {"named": "rule/sgd"})


def forged(file, change):
    """Change a file of a run's as somebody would who knows how its checksum is made."""
    content = json.loads(file.read_text())
    content = change(content) or content
    file.write_text(json.dumps(content | {"sha256": seal(content)}))


def places(content, path=()):
    """Every place of a nested description."""
    for key, value in content.items() if isinstance(content, dict) else enumerate(content):
        yield (*path, key)
        if isinstance(value, dict | list):
            yield from places(value, (*path, key))


def put(content, path, value):
    for key in path[:-1]:
        content = content[key]
    if value is REMOVED and isinstance(content, dict):
        del content[path[-1]]
    else:
        content[path[-1]] = None if value is REMOVED else value


REMOVED = object()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["run.json", "manifest.json"])
def test_whatever_a_file_holds_it_is_read_or_refused(tmp_path, name):
    """Each part of a file in turn is removed or replaced, with a checksum that is right."""
    folder = tmp_path / "run"
    shutil.copytree(Path(__file__).parents[1] / "fixtures" / "runs" / "maml", folder)
    file, rng = folder / name, np.random.default_rng(0)
    whole, refusals = file.read_bytes(), 0
    for path in places(json.loads(whole)):
        for value in (REMOVED, ODD[rng.integers(len(ODD))]):
            forged(file, lambda content, path=path, value=value: put(content, path, value))
            # A run of more meta-steps than were made would go on.
            said = sentence(lambda: repr(bmaml.load(folder) if name == "run.json" else bmaml.resume(folder)))
            refusals += said is not None
            file.write_bytes(whole)
    assert refusals > 5


@pytest.mark.parametrize(
    ("path", "value"),
    [(["plan"], 3), (["method"], "x"), (["tasks"], 7), (["options"], "x"), (["options", "dict", "save_every"], -1)],
)
def test_a_run_whose_parts_are_of_another_kind_is_refused(tmp_path, path, value):
    folder = tmp_path / "run"
    shutil.copytree(Path(__file__).parents[1] / "fixtures" / "runs" / "maml", folder)
    forged(folder / "run.json", lambda content: put(content["parts"], path, value))
    with pytest.raises(InputError, match=rf"is damaged \(its {path[-1]} is") as error:
        bmaml.resume(folder)
    assert is_one_sentence(error.value)


@pytest.mark.parametrize(
    "text",
    [b"[" * 100_000, b'{"a":' * 100_000, b'{"format": "bmaml-run", "version": ' + b"9" * 5000 + b"}", b'{"version": 1e999}'],
    ids=["brackets", "braces", "digits", "infinity"],
)
def test_json_that_would_stop_the_interpreter_is_refused(folder, text):
    (folder.path / "run.json").write_bytes(text)
    refused(folder.about)


@pytest.mark.parametrize("step", ["../../x", "/tmp/x", -1, 2.0, 2**40, True, None])
def test_a_manifest_names_no_file_outside_its_folder(folder, step, tmp_path):
    """What is past the last `keep` is deleted: nothing but checkpoints of this folder may be."""
    for name in ("x", "x.safetensors"):
        (tmp_path / name).write_text("mine")
    forged(folder.path / "manifest.json", lambda content: put(content, ("checkpoints", 0, "step"), step))
    before = content(tmp_path)
    for action in (folder.history, lambda: folder.load(STATE), lambda: folder.save(state(3), [], 3)):
        assert "is damaged" in refused(action)
    assert content(tmp_path) == before


@pytest.mark.parametrize("name", ["run.json", "manifest.json"])
def test_a_file_without_its_checksum_or_with_a_changed_digit_is_refused(folder, name):
    file = folder.path / name
    whole = json.loads(file.read_text())
    changed = whole | ({"history": [{"step": 1}]} if name == "manifest.json" else {"about": {"note": "yours"}})
    for kept in ({k: v for k, v in whole.items() if k != "sha256"}, changed):
        file.write_text(json.dumps(kept))
        assert "is damaged" in refused(folder.history if name == "manifest.json" else folder.about)


@pytest.mark.unchecked
def test_a_record_that_json_cannot_hold_is_refused_before_anything_is_written(tmp_path):
    for note in ({"when": jnp.zeros(2)}, {(1, 2): 3}):
        made = RunFolder(tmp_path / "run")
        assert "about cannot be written as JSON" in refused(lambda made=made, note=note: made.create({}, note))
    assert not (tmp_path / "run").exists()
