"""Reading that ends, writing that is whole, and one training in a folder at a time."""

import contextlib
import os
import resource
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from cases import content, fixed_tasks, is_one_sentence, preset, sentence

import bmaml
from bmaml.errors import InputError
from bmaml.io import files
from bmaml.io.checkpoint import RunFolder
from bmaml.io.files import read_plain, replacing, write_atomically
from bmaml.io.lock import locked
from bmaml.tables import read_table
from bmaml.training.keeper import Keeper


def odd_files(folder):
    """A pipe, a socket, a device and a folder, of which no read may be tried, and a file that says it is large."""
    os.mkfifo(folder / "pipe")
    with socket.socket(socket.AF_UNIX) as server, contextlib.chdir(folder):
        server.bind("socket")
    (folder / "device").symlink_to("/dev/zero")
    (folder / "folder").mkdir()
    with (folder / "large").open("wb") as file:
        os.truncate(file.fileno(), 2**43)
    return {name: folder / name for name in ("pipe", "socket", "device", "folder", "large")}


def test_only_plain_files_of_a_size_that_fits_are_read(tmp_path):
    for path in odd_files(tmp_path).values():
        with pytest.raises(OSError, match=r"no plain file|more than"):
            read_plain(path)
    (tmp_path / "plain").write_bytes(b"12345")
    assert read_plain(tmp_path / "plain", 5) == b"12345"
    with pytest.raises(OSError, match="more than 4 bytes"):
        read_plain(tmp_path / "plain", 4)


@pytest.mark.parametrize("name", ["run.json", "manifest.json", "checkpoint-00000001.safetensors", "arrays.safetensors"])
def test_a_run_whose_file_is_a_pipe_or_a_link_or_endless_is_refused(tmp_path, name):
    made = RunFolder(tmp_path / "run")
    made.create({"method": preset("maml"), "tasks": fixed_tasks(2)}, {})
    made.save({"w": np.zeros(2)}, [], 1)
    (tmp_path / "odd").mkdir()
    odd = odd_files(tmp_path / "odd")
    (made.path / name).rename(tmp_path / "elsewhere")
    for path in (*odd.values(), tmp_path / "elsewhere"):
        if path.is_symlink() or path.name == "elsewhere":
            (made.path / name).symlink_to(path)
        else:
            path.rename(made.path / name)
        said = sentence(lambda: made.parts("tasks")) or sentence(lambda: made.load({"w": np.zeros(2)}))
        assert "cannot be read (it " in str(said)
        (made.path / name).rename(tmp_path / "away") if path.name != "folder" else (made.path / name).rmdir()


def test_tables_are_read_from_plain_files_alone(tmp_path):
    for name, path in odd_files(tmp_path).items():
        if name != "large":
            (tmp_path / f"{name}.csv").symlink_to(path)
            with pytest.raises(InputError, match="is not a file"):
                read_table(tmp_path / f"{name}.csv")


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_the_umask_gives_the_permissions(tmp_path, mask):
    before = os.umask(mask)
    try:
        write_atomically(tmp_path / "x", "text")
    finally:
        os.umask(before)
    assert (tmp_path / "x").stat().st_mode & 0o777 == 0o666 & ~mask


def test_a_full_disk_is_told_with_the_name_of_the_file(tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, hard))
    try:
        with pytest.raises(OSError, match="too large") as error:
            write_atomically(tmp_path / "x", bytes(100))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert error.value.filename == str(tmp_path / "x")
    with pytest.raises(FileNotFoundError) as error:
        write_atomically(tmp_path / "none" / "x", "")
    assert error.value.filename == str(tmp_path / "none" / "x")
    assert not list(tmp_path.iterdir())


def test_what_a_killed_process_left_is_removed_and_nothing_else(tmp_path):
    old = time.time() - 2 * files._AGE
    others = [".x.csv.0123456", ".x.csv.notes", "x.csv.0123456a", ".y.csv.0123456a"]
    for name in (".x.csv.0123456a", *others):
        (tmp_path / name).write_text("")
        os.utime(tmp_path / name, (old, old))
    with replacing(tmp_path / "x.csv") as file:
        (part,) = set(tmp_path.iterdir()) - {tmp_path / name for name in others}
        os.utime(part, (old, old))
        write_atomically(tmp_path / "x.csv", "another writer's")  # does not remove what is being written
        file.write(b"mine")
    assert sorted(f.name for f in tmp_path.iterdir()) == sorted(["x.csv", *others])
    assert (tmp_path / "x.csv").read_bytes() == b"mine"


def test_two_trainings_never_write_into_one_folder(tmp_path):
    """Whether the first has begun its folder or finished, and whatever the second wants to do there."""
    folder, method, tasks = tmp_path / "run", preset("maml"), fixed_tasks()
    with locked(folder):
        for overwrite in (False, True):
            with pytest.raises(InputError, match="is being written by another training") as error:
                bmaml.train(method, tasks, directory=folder, steps=2, overwrite=overwrite)
            assert is_one_sentence(error.value, tells="wait for its end")
    assert not folder.exists()
    shutil.copytree(Path(__file__).parents[1] / "fixtures" / "runs" / "maml", folder)
    for name in ("manifest.json", "checkpoint-00000002.safetensors"):
        (folder / name).unlink()
    (folder / ".manifest.json.0123abcd").write_text("what a killed process left")
    before = content(folder)
    with locked(folder):
        for action in (lambda: bmaml.resume(folder), lambda: RunFolder(folder).lock()):
            with pytest.raises(InputError, match="is being written by another training"):
                action()
    assert content(folder) == before
    assert bmaml.resume(folder).finished
    assert not list(folder.glob(".*"))


def test_a_training_that_comes_second_removes_nothing_of_the_first(tmp_path):
    """Both were compiled before either had a folder."""
    shutil.copytree(Path(__file__).parents[1] / "fixtures" / "runs" / "maml", tmp_path / "run")
    before, folder = content(tmp_path), RunFolder(tmp_path / "run")
    keeper = Keeper(folder, 1, create=lambda: folder.create({}, {}))
    with pytest.raises(InputError, match="already holds a run"):
        keeper.begin([])
    keeper.forget()
    assert content(tmp_path) == before


def test_a_lock_ends_with_its_process_and_follows_no_link(tmp_path):
    (tmp_path / "run").mkdir()
    code = "import fcntl, sys, time; f = open(sys.argv[1], 'w'); fcntl.flock(f, fcntl.LOCK_EX); "
    code += "print('held', flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", code, tmp_path / "run" / ".lock"], stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"held\n"
        with pytest.raises(InputError, match="another training"), locked(tmp_path / "run"):
            pass
        process.kill()
        process.wait()
    assert (tmp_path / "run" / ".lock").exists()
    with locked(tmp_path / "run"):
        pass
    (tmp_path / "run" / ".lock").symlink_to(tmp_path / "outside")
    with pytest.raises(InputError, match="cannot write to"):
        RunFolder(tmp_path / "run").lock()
    assert not (tmp_path / "outside").exists()
