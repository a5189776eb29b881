"""Compiled programs kept between processes: where, for whom, and what is removed."""

import os
import subprocess
import sys
import time

import pytest
from cases import is_one_sentence

import bmaml
from bmaml.errors import InputError
from bmaml.io import programs


@pytest.fixture
def told(monkeypatch, tmp_path):
    """A cache folder of the test's own, and what JAX would be told of it."""
    told = []
    monkeypatch.setenv("BMAML_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(programs, "_tell_jax", told.append)
    return told


def test_programs_lie_in_a_private_folder_of_jaxlib_and_processor(told, tmp_path):
    before = os.umask(0o002)
    try:
        folder = bmaml.keep_programs()
    finally:
        os.umask(before)
    assert told == [folder]
    assert folder.parent == tmp_path / "cache" / "programs"
    assert folder.name.startswith(programs.version("jaxlib") + "-")
    assert [path.stat().st_mode & 0o777 for path in (folder, folder.parent)] == [0o700, 0o700]


def test_a_folder_that_others_can_write_is_refused(told, tmp_path):
    folder = bmaml.keep_programs()
    for path, mode in ((folder, 0o770), (folder.parent, 0o707), (tmp_path / "cache", 0o777)):
        path.chmod(mode)
        with pytest.raises(InputError, match=f"others can write into {path} and") as refusal:
            bmaml.keep_programs()
        assert is_one_sentence(str(refusal.value))
        path.chmod(0o700)
    (tmp_path / "cache").chmod(0o1777)
    assert bmaml.keep_programs() == folder
    moved = folder.rename(tmp_path / "moved")
    folder.symlink_to(moved)
    with pytest.raises(InputError, match="others can write"):
        bmaml.keep_programs()
    assert len(told) == 2


def test_nothing_is_kept_where_the_user_says_so(told, monkeypatch, tmp_path):
    monkeypatch.setattr(programs, "_chosen_by_user", lambda: True)
    assert bmaml.keep_programs() is None
    monkeypatch.setattr(programs, "_chosen_by_user", lambda: False)
    monkeypatch.setenv("BMAML_CACHE", "off")
    assert bmaml.keep_programs() is None
    assert (told, list(tmp_path.iterdir())) == ([], [])
    monkeypatch.setenv("BMAML_CACHE", str(tmp_path / "file" / "below"))
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be kept in"):
        bmaml.keep_programs()


def test_what_a_killed_process_may_have_half_written_is_removed(told, tmp_path):
    folder = bmaml.keep_programs()
    (ours,) = folder.glob(".writing-*")
    old, new = folder / "old-cache", folder / "new-cache"
    for path in (old, new):
        path.write_bytes(b"program")
    os.utime(old, (1e9, 1e9))
    bmaml.keep_programs()
    assert new.exists(), "the mark of a living process removes nothing"
    killed = folder / ".writing-1-aaaaaaaa"
    killed.touch()
    os.utime(killed, (time.time() - 60,) * 2)
    bmaml.keep_programs()
    assert (old.exists(), new.exists(), killed.exists(), ours.exists()) == (True, False, False, True)


def test_programs_read_longest_ago_go_first(told, monkeypatch):
    folder = bmaml.keep_programs()
    for age in range(4):
        (folder / f"{age}-cache").write_bytes(b"x" * 100)
        os.utime(folder / f"{age}-cache", (1e9 - age,) * 2)
    monkeypatch.setattr(programs, "_MOST", 399)
    bmaml.keep_programs()
    assert [(kept.programs, kept.size) for kept in programs.kept_programs()] == [(1, 100)]
    assert (folder / "0-cache").exists()
    assert programs.clear_programs()[0].programs == 1
    assert programs.kept_programs()[0].programs == 0


def test_a_second_process_compiles_nothing_again(tmp_path):
    """The one test with JAX's own cache: in a process of its own, which asks for it."""
    code = """
import bmaml
bmaml.keep_programs()
import jax, jax.numpy as jnp
asked = []
jax.monitoring.register_event_listener(lambda event, **_: asked.append(event.rsplit("/", 1)[-1]))
assert float(jax.jit(lambda x: jnp.sin(x) @ x)(jnp.ones(3))) > 2
print(asked.count("cache_hits"), asked.count("cache_misses"))
"""
    environment = os.environ | {"BMAML_CACHE": str(tmp_path)}
    environment.pop("TF_CPP_MIN_LOG_LEVEL", None)  # This process's JAX has set it.
    seen = [
        subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
        for _ in range(2)
    ]
    (hits, misses), (more, none) = (map(int, process.stdout.split()) for process in seen)
    assert (hits, none, seen[1].stderr) == (0, 0, "")
    assert more == misses > 0
    assert not list(tmp_path.rglob(".writing-*"))
