"""Folders of models that are damaged, or made by somebody who knows how checksums are made."""

import json
import os
import shutil
import tempfile
from pathlib import Path

import equinox as eqx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from verdict import Refused, judged
from watch import watched

import bmaml
from bmaml.io.files import digest
from bmaml.io.sealed import seal

RUNS = Path(__file__).parents[1] / "fixtures" / "runs"
MODELS = st.sampled_from(["linear", "maml", "experts-fixed"])
FILES = st.sampled_from(["run.json", "manifest.json", "checkpoint-00000002.safetensors", "arrays.safetensors"])
KINDS = st.sampled_from(["bytes", "cut", "longer", "gone", "another's", "folder", "pipe", "outside", "copied"])
SCALARS = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8))
NAMES = st.sampled_from(
    ["array", "list", "dict", "read", "named", "unsaved", "type", "fields", "why", "steps", "learner/gradient"]
)
ANYTHING = st.recursive(
    st.one_of(SCALARS, NAMES),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(NAMES, inner, max_size=3)),
    max_leaves=5,
)


def opened(folder: Path):
    """A model, opened while the process is watched."""
    with watched(folder) as seen:
        found = judged(lambda: bmaml.load(folder), keeps=lambda run: repr(run))
    assert not seen, seen
    return found


def copied(name: str, place: str) -> Path:
    return Path(shutil.copytree(RUNS / name, Path(place) / "model"))


def damaged(file: Path, kind: str, places: list[int], other: Path) -> None:
    """Change a file of a model without a new checksum."""
    content = bytearray(file.read_bytes() if file.exists() else b"")
    file.unlink(missing_ok=True)
    if kind == "bytes":
        for place in places:
            if content:
                content[place % len(content)] ^= 1 + place % 255
        file.write_bytes(content)
    elif kind == "cut":
        file.write_bytes(content[: places[0] % (len(content) + 1)])
    elif kind == "longer":
        file.write_bytes(content + bytes(place % 256 for place in places))
    elif kind == "another's":
        file.write_bytes(other.read_bytes() if other.exists() else b"")
    elif kind == "folder":
        file.mkdir()
    elif kind == "pipe":
        os.mkfifo(file)
    elif kind == "outside":
        file.symlink_to("/etc/hostname" if places[0] % 2 else "/dev/zero")
    elif kind == "copied":
        file.with_name(f"checkpoint-{places[0] % 100:08d}.safetensors").write_bytes(content)
        file.write_bytes(content)


@pytest.mark.filterwarnings("ignore")
@given(MODELS, FILES, KINDS, st.lists(st.integers(0, 2**16), min_size=1, max_size=8))
def test_a_damaged_model_is_refused_or_is_the_same_model(name, file, kind, places):
    with tempfile.TemporaryDirectory() as place:
        folder, whole = copied(name, place), bmaml.load(RUNS / name)
        damaged(folder / file, kind, places, RUNS / "platipus" / file)
        before = sorted(path.name for path in Path(place).rglob("*"))
        found = opened(folder)
        assert sorted(path.name for path in Path(place).rglob("*")) == before
    if not isinstance(found, Refused):
        for part in ("method", "meta", "step"):
            assert bool(eqx.tree_equal(getattr(found, part), getattr(whole, part)))


def places_of(content, path=()):
    """Every place of nested JSON."""
    for key, value in content.items() if isinstance(content, dict) else enumerate(content):
        yield (*path, key)
        if isinstance(value, dict | list):
            yield from places_of(value, (*path, key))


def put(content, path, value) -> None:
    for key in path[:-1]:
        content = content[key]
    content[path[-1]] = value


def forged(folder: Path, file: str, place: int, value) -> None:
    """Change one place of a file, and every checksum with it."""
    path = folder / file
    if file.endswith(".json"):
        content = json.loads(path.read_text())
        paths = [found for found in places_of(content) if found[0] not in ("sha256", "format", "version")]
        put(content, paths[place % len(paths)], value)
        path.write_text(json.dumps(content | {"sha256": seal(content)}))
        return
    raw = path.read_bytes()
    length = int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8 : 8 + length])
    paths = list(places_of(header))
    put(header, paths[place % len(paths)], value)
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + raw[8 + length :])
    name, where = ("manifest.json", ("checkpoints", -1)) if file.startswith("checkpoint") else ("run.json", ())
    content = json.loads((folder / name).read_text())
    put(content, (*where, "sha256" if where else "arrays"), digest(path.read_bytes()))
    (folder / name).write_text(json.dumps(content | {"sha256": seal(content)}))


@pytest.mark.filterwarnings("ignore")
@given(MODELS, FILES, st.integers(0, 2**16), ANYTHING)
def test_whoever_makes_a_model_cannot_make_it_do_harm(name, file, place, value):
    with tempfile.TemporaryDirectory() as where:
        folder = copied(name, where)
        if (folder / file).exists():
            forged(folder, file, place, value)
        before = {str(path): path.read_bytes() for path in Path(where).rglob("*") if path.is_file()}
        opened(folder)
        assert {str(path): path.read_bytes() for path in Path(where).rglob("*") if path.is_file()} == before
