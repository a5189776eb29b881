"""The folder of a run: what the run is (`run.json`), its arrays, and its last checkpoints with a manifest.

    run.json                    method, tasks and plan; versions; further notes of the caller
    arrays.safetensors          arrays of the method or the tasks
    checkpoint-STEP.safetensors meta-parameters, optimiser state, step and counters
    manifest.json               the steps of the checkpoints, newest last, with checksums and what else a resumed run
                                needs; the records of metrics up to the newest checkpoint
    metrics.jsonl               the same records as they come, one line each, for people and their tools

Every file but the last is written completely or not at all, the manifest after the files that it covers, and has a
checksum. The lines of metrics are never read: a resumed run writes them again. Randomness needs no state, because a
meta-step's keys are a function of the seed and the step. No file holds the name of a file: a manifest holds steps.
"""

from __future__ import annotations

import importlib.metadata
import json
import re
import tempfile
import warnings
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import safetensors.numpy
from safetensors import SafetensorError

from bmaml.errors import InputError, first_sentence
from bmaml.io.config import Arrays, completed, from_config, to_config
from bmaml.io.files import digest, open_plain, read_plain, write_atomically
from bmaml.io.lock import LOCK, locked
from bmaml.io.sealed import FORMAT, MAGIC, read_sealed, sealed

_MARK = {"format": MAGIC}
# What a process leaves behind that was killed while it wrote one of a run's files.
_NAMES = r"(run\.json|manifest\.json|metrics\.jsonl|arrays\.safetensors|checkpoint-\d{8,}\.safetensors)"
_OURS, _LEFT = re.compile(rf"{_NAMES}|\.{_NAMES}\.\w+", re.ASCII), re.compile(rf"\.{_NAMES}\.\w+", re.ASCII)


def versions() -> dict[str, str]:
    """Return the versions of the packages on which a result depends."""
    return {name: importlib.metadata.version(name) for name in ("bmaml", "jax", "jaxlib", "equinox", "optax", "numpy")}


def _names(tree: Any) -> list[str]:
    return [jax.tree_util.keystr(path, simple=True, separator=".") for path, _ in jax.tree.leaves_with_path(tree)]


def pack(tree: Any) -> bytes:
    """Return the leaves of the pytree `tree` as safetensors, each under its path."""
    leaves = [np.array(leaf, order="C") for leaf in jax.tree.leaves(tree)]
    return safetensors.numpy.save(dict(zip(_names(tree), leaves, strict=True)), _MARK)


def unpack(content: bytes, like: Any, where: str) -> Any:
    """Return safetensors `content` as a pytree in the shape of `like`; `where` names the content in messages.

    Raises: InputError if the content is damaged, or its names, shapes or types differ from those of `like`.
    """
    found = _tensors(content, where)
    names, leaves = _names(like), jax.tree.leaves(like)
    for name, leaf in zip(names, leaves, strict=True):
        if name not in found or found[name].shape != leaf.shape or found[name].dtype != leaf.dtype:
            raise InputError(
                f"{where} does not fit this method and outer optimiser ({name} is missing or has another shape): restore this "
                "run's own file, or pass method= and outer= as in training.",
                typed=f"{where} does not fit the method and the outer optimiser of this run: restore this run's own file.",
            )
    return jax.tree.unflatten(jax.tree.structure(like), [jnp.asarray(found[name]) for name in names])


def _tensors(content: bytes, where: str) -> Arrays:
    try:
        return safetensors.numpy.load(content)
    except (SafetensorError, ValueError, TypeError, KeyError) as error:
        raise InputError(f"{where} is damaged ({first_sentence(error)}): restore it from a copy.") from error


def _described(parts: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
    """Return the descriptions of some parts, and their arrays as one file's content (empty without arrays)."""
    arrays: Arrays = {}
    config = {name: to_config(part, arrays, name) for name, part in parts.items()}
    return config, safetensors.numpy.save(arrays, _MARK) if arrays else b""


class RunFolder:
    """Reads and writes the folder of one run, and keeps its last checkpoints."""

    def __init__(self, path: str | Path, keep: int = 3):
        self.path, self.keep = Path(path), keep

    @property
    def exists(self) -> bool:
        """Whether the folder holds a run, or a part of one that would be overwritten."""
        return any((self.path / name).exists() for name in ("run.json", "manifest.json"))

    def lock(self) -> ExitStack:
        """Return a context that keeps other trainings out of the folder, which is made if it is not there.

        Raises: InputError if another training writes there, or the folder cannot be written.
        """
        held = ExitStack()
        try:
            held.enter_context(locked(self.path))
        except OSError as error:
            raise _unwritable(self.path, error) from error
        return held

    def clean(self) -> None:
        """Remove the half-written files that a killed process left in the run's folder, which has to be locked."""
        for file in self.path.iterdir():
            if _LEFT.fullmatch(file.name) and file.is_file():
                file.unlink(missing_ok=True)

    def create(self, parts: dict[str, Any], about: dict[str, Any], *, overwrite: bool = False) -> None:
        """Write what the run is: `parts` are library objects, `about` is JSON. With `overwrite` it replaces a run.

        Raises: InputError if the folder holds a run or anything else, or cannot be written, or JSON cannot hold `about`.
        """
        config, packed = _described(parts)
        head = {"format": MAGIC, "version": FORMAT, "versions": versions(), "about": about, "arrays": digest(packed)}
        content = sealed(head | {"parts": config})
        try:
            for file in self.replaced(overwrite):
                file.unlink()
            self.path.mkdir(parents=True, exist_ok=True)
            if packed:
                write_atomically(self.path / "arrays.safetensors", packed)
            write_atomically(self.path / "run.json", json.dumps(content, indent=1))
        except OSError as error:
            raise _unwritable(self.path, error) from error

    def describes(self, parts: dict[str, Any]) -> bool:
        """Return whether the run was made from the same `parts`, as far as a file can hold them.

        A field that is newer than the run counts as its default.
        Raises: InputError if there is no run, or a damaged one.
        """
        content = self._content()
        config, packed = _described(parts)
        kept = {name: content["parts"].get(name) for name in parts}
        now, then = (json.dumps(completed(each), sort_keys=True) for each in (config, kept))
        return now == then and content["arrays"] == digest(packed)

    def replaced(self, overwrite: bool = False) -> list[Path]:
        """Return the files that a new run here replaces, before anything is done. Files of others are never overwritten.

        These files are the remains of a run that was killed early, and with `overwrite` the files of a complete run. Other
        files in the folder stay as they are.
        Raises: InputError if a run or anything else is in the folder, or no file can be made there.
        """
        self._check_writable()
        found = sorted(self.path.iterdir()) if self.path.exists() else []
        found = [file for file in found if file.name != LOCK]
        if overwrite and (self.path / "run.json").exists():
            self._content()
            return [file for file in found if _OURS.fullmatch(file.name) and file.is_file()]
        if self.exists:
            held = f"{self.path} already holds a run"
            raise InputError(
                f"{held}: resume it, give another folder, or say overwrite=True.",
                typed=f"{held}: go on with bmaml resume {self.path}, or give another --out.",
            )
        foreign = [file.name for file in found if not _is_left(file)]
        if foreign:
            raise InputError(f"{self.path} is not empty (it holds {foreign[0]}) and is no run: give a new or an empty folder.")
        return found

    def _check_writable(self) -> None:
        parent = next(path for path in (self.path, *self.path.absolute().parents) if path.exists())
        if not parent.is_dir():
            raise _unwritable(self.path, NotADirectoryError())
        try:
            # A try tells more than the permissions: root has all of them, and there are folders that nobody can write to.
            with tempfile.TemporaryFile(dir=parent):
                pass
        except OSError as error:
            raise _unwritable(self.path, error) from error

    def forget(self) -> None:
        """Remove what `create` wrote, for a run that could not begin. The folder goes too if nothing else is in it."""
        for name in ("metrics.jsonl", "run.json", "arrays.safetensors"):
            (self.path / name).unlink(missing_ok=True)
        if not any(self.path.iterdir()):
            self.path.rmdir()

    def about(self) -> dict[str, Any]:
        """Return the caller's own record of the run."""
        return self._content()["about"]

    def made_with(self) -> dict[str, str]:
        """Return the versions of the packages that the run was made with."""
        found = self._content().get("versions")
        return {str(name): str(version) for name, version in found.items()} if isinstance(found, dict) else {}

    def _content(self) -> dict[str, Any]:
        """Return run.json, after a check that nothing in it has changed."""
        return read_sealed(self.path / "run.json", {"about": dict, "arrays": str, "parts": dict})

    def parts(self, *names: str, given: Mapping[str, Any] | None = None) -> tuple[Any, ...]:
        """Return the library objects called `names` (`method`, `tasks`, `plan`).

        `given` holds objects by the dotted names of the parts that they replace, such as `plan.outer`.
        Raises: InputError (NotSaved for a part that the file does not hold).
        """
        content, arrays = self._content(), self.path / "arrays.safetensors"
        try:
            packed = read_plain(arrays, links=False) if arrays.exists() else b""
        except OSError as error:
            raise InputError(f"{arrays} cannot be read ({error.strerror or error}): restore it from a copy.") from error
        if content["arrays"] != digest(packed):
            raise InputError(f"{arrays} is damaged (its checksum differs) or gone: restore it from a copy.")
        held = _tensors(packed, str(arrays)) if packed else {}
        return tuple(self._built(content["parts"], held, name, given or {}) for name in names)

    def _built(self, parts: dict[str, Any], arrays: Arrays, name: str, given: Mapping[str, Any]) -> Any:
        try:
            return from_config(parts.get(name) if name in given else parts[name], arrays, name, given)
        except InputError:
            raise
        except Exception as error:  # A file may hold anything, and a constructor may raise anything.
            why = f"{name} cannot be built: {first_sentence(error)}"
            raise InputError(f"{self.path / 'run.json'} is damaged ({why}): restore it from a copy.") from error

    def begin_log(self, lines: str) -> None:
        """Write the lines of records from the start.

        `lines` is the text to write.
        Raises: InputError if the disk is full or the folder cannot be written.
        """
        try:
            write_atomically(self.path / "metrics.jsonl", lines)
        except OSError as error:
            raise _unwritable(self.path, error) from error

    def log(self, line: str) -> None:
        """Add the `line` of a record.

        Raises: InputError if the disk is full or the folder cannot be written.
        """
        try:
            with (self.path / "metrics.jsonl").open("a") as file:
                file.write(line)
        except OSError as error:
            raise _unwritable(self.path, error) from error

    def save(self, state: Any, history: list[dict[str, float]], step: int, notes: Mapping[str, Any] | None = None) -> None:
        """Write a checkpoint, then the manifest, then remove the checkpoints before the last `keep`.

        - `state`: the training state, a pytree.
        - `history`: the records so far.
        - `step`: the meta-step.
        - `notes`: JSON that belongs to this checkpoint.

        Raises: InputError if the disk is full or the folder cannot be written. Older checkpoints stay.
        """
        content = pack(state)
        entries = [entry for entry in self._entries() if entry["step"] < step]
        entries = [*entries, {"step": step, "sha256": digest(content), "notes": dict(notes or {})}]
        manifest = {"format": MAGIC, "version": FORMAT, "checkpoints": entries[-self.keep :], "history": history}
        try:
            write_atomically(self._file(step), content)
            write_atomically(self.path / "manifest.json", json.dumps(sealed(manifest)))
            for entry in entries[: -self.keep]:
                self._file(entry["step"]).unlink(missing_ok=True)
        except OSError as error:
            raise _unwritable(self.path, error) from error

    def _file(self, step: int) -> Path:
        return self.path / f"checkpoint-{step:08d}.safetensors"

    def _manifest(self) -> dict[str, Any]:
        path = self.path / "manifest.json"
        if not path.exists():
            # One checkpoint without a manifest comes from a run that was killed between the two files. Several checkpoints once
            # had a manifest.
            if len(list(self.path.glob("checkpoint-*.safetensors"))) > 1:
                raise InputError(f"{path} is gone and the checkpoints that it listed are there: restore it from a copy.")
            return {"checkpoints": [], "history": []}
        content = read_sealed(path, {"checkpoints": list, "history": list})
        if not all(map(_is_entry, content["checkpoints"])) or not all(map(_is_record, content["history"])):
            raise InputError(f"{path} is damaged (it lists something else than checkpoints): restore it from a copy.")
        return content

    def _entries(self) -> list[dict[str, Any]]:
        return self._manifest()["checkpoints"]

    def _newest(self) -> dict[str, Any] | None:
        """Return the entry of the newest checkpoint whose file exists, because a user may delete a damaged one."""
        entries = self._entries()
        found = [entry for entry in entries if self._file(entry["step"]).exists()]
        if entries and not found:
            path = self._file(entries[-1]["step"])
            raise InputError(f"{path} is named by the manifest but is not there: restore it from a copy.")
        return found[-1] if found else None

    def history(self) -> list[dict[str, float]]:
        """Return the loss history up to the last checkpoint."""
        newest, history = self._newest(), self._manifest()["history"]
        return [record for record in history if newest is not None and record["step"] <= newest["step"]]

    def step(self) -> int:
        """Return the meta-step of the newest checkpoint, or 0 without one.

        Raises: InputError in the cases of `history`.
        """
        newest = self._newest()
        return 0 if newest is None else newest["step"]

    def notes(self) -> dict[str, Any]:
        """Return what was noted with the newest checkpoint.

        Raises: InputError in the cases of `history`.
        """
        newest = self._newest()
        return {} if newest is None else newest["notes"]

    def load(self, like: Any) -> Any | None:
        """Return the newest checkpoint as a pytree in the shape of `like`, or None if there is none yet.

        Raises: InputError if the checkpoint is missing or damaged.
        """
        entry = self._newest()
        if entry is None:
            return None
        path, last = self._file(entry["step"]), self._entries()[-1]
        if entry != last:
            warnings.warn(f"{self._file(last['step'])} is gone: {path.name} is used instead.", stacklevel=2)
        try:
            content = read_plain(path, links=False)
        except OSError as error:
            raise InputError(f"{path} cannot be read ({error.strerror or error}): restore it from a copy.") from error
        if digest(content) != entry["sha256"]:
            raise InputError(
                f"{path} is damaged (its checksum differs): restore it, or delete it to go on from the checkpoint before it."
            )
        return unpack(content, like, str(path))


def _is_entry(entry: Any) -> bool:
    return 0 <= _step(entry) < 2**31 and isinstance(entry.get("sha256"), str) and isinstance(entry.get("notes"), dict)


def _is_record(record: Any) -> bool:
    return _step(record) >= 0 and all(map(is_number, record.values()))


def is_number(value: Any) -> bool:
    """Return whether a `value` from JSON is a number."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def _step(entry: Any) -> int:
    """Return the meta-step of an entry of a manifest, or -1 if the entry has none."""
    step = entry.get("step") if isinstance(entry, dict) else None
    return step if isinstance(step, int) and not isinstance(step, bool) else -1


def _is_left(file: Path) -> bool:
    """Return whether a file is one that `create` leaves when it is killed before its last write."""
    if _LEFT.fullmatch(file.name):
        return file.is_file() and not file.is_symlink()
    if file.name != "arrays.safetensors" or not file.is_file() or file.is_symlink():
        return False
    try:
        with open_plain(file, links=False) as content:
            header = content.read(min(int.from_bytes(content.read(8), "little"), 2**24))
        return json.loads(header).get("__metadata__") == _MARK
    except (OSError, ValueError, AttributeError, RecursionError):
        return False


def _unwritable(path: Path, error: OSError) -> InputError:
    if isinstance(error, FileExistsError | NotADirectoryError):
        return InputError(f"cannot write to {path}, since a file is where a folder has to be: give another folder.")
    where = error.filename or path
    return InputError(f"cannot write to {where} ({error.strerror or error}): free some space or give another folder.")
