"""A run's folder: what it is (`run.json`), its arrays, and its last checkpoints with a manifest.

    run.json                    method, tasks and plan; versions; whatever the caller wants remembered
    arrays.safetensors          arrays that the method or the tasks hold
    checkpoint-STEP.safetensors meta-parameters, optimiser state, step and counters
    manifest.json               the checkpoints there are, newest last, with checksums; the loss history

Every file is written whole or not at all, the manifest after what it names. Randomness needs no state: a meta-step's keys
are a function of the seed and the step.
"""

from __future__ import annotations

import importlib.metadata
import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import safetensors.numpy
from safetensors import SafetensorError

from bmaml.errors import InputError
from bmaml.io.config import Arrays, from_config, to_config
from bmaml.io.files import digest, write_atomically

FORMAT = 1
_MAGIC = "bmaml-run"


def versions() -> dict[str, str]:
    """Return the versions of what a result depends on."""
    return {name: importlib.metadata.version(name) for name in ("bmaml", "jax", "jaxlib", "equinox", "optax", "numpy")}


def _names(tree: Any) -> list[str]:
    return [jax.tree_util.keystr(path, simple=True, separator=".") for path, _ in jax.tree.leaves_with_path(tree)]


def pack(tree: Any) -> bytes:
    """Return a pytree's leaves as safetensors, each under its path."""
    leaves = [np.array(leaf, order="C") for leaf in jax.tree.leaves(tree)]
    return safetensors.numpy.save(dict(zip(_names(tree), leaves, strict=True)), {"format": _MAGIC})


def unpack(content: bytes, like: Any, where: str) -> Any:
    """Return safetensors content as a pytree shaped like `like`.

    Raises: InputError where the content is damaged, or its names, shapes or types are not those of `like`.
    """
    found = _tensors(content, where)
    names, leaves = _names(like), jax.tree.leaves(like)
    for name, leaf in zip(names, leaves, strict=True):
        if name not in found or found[name].shape != leaf.shape or found[name].dtype != leaf.dtype:
            raise InputError(
                f"{where} does not fit this method ({name} is missing or has another shape): restore this run's own file."
            )
    return jax.tree.unflatten(jax.tree.structure(like), [jnp.asarray(found[name]) for name in names])


def _tensors(content: bytes, where: str) -> Arrays:
    try:
        return safetensors.numpy.load(content)
    except (SafetensorError, ValueError, KeyError) as error:
        raise InputError(f"{where} is damaged ({str(error).splitlines()[0]}): restore it from a copy.") from error


def _seal(content: dict[str, Any]) -> str:
    return digest(json.dumps({k: v for k, v in content.items() if k != "sha256"}, sort_keys=True).encode())


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text())
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(
            f"{path.parent} is not a run of bmaml (no {path.name}): give the folder that training wrote."
        ) from None
    except (UnicodeDecodeError, json.JSONDecodeError):
        raise InputError(f"{path} is damaged (not JSON): restore it from a copy.") from None
    if not isinstance(content, dict) or content.get("format") != _MAGIC:
        raise InputError(f"{path} is not a file of bmaml's: give the folder that training wrote.")
    if not isinstance(content.get("version"), int) or content["version"] > FORMAT:
        raise InputError(f"{path} has format {content.get('version')} and this bmaml reads up to {FORMAT}: update bmaml.")
    return content


class RunFolder:
    """Reads and writes one run's folder; keeps the last `keep` checkpoints."""

    def __init__(self, path: str | Path, keep: int = 3):
        self.path, self.keep = Path(path), keep

    @property
    def exists(self) -> bool:
        """Whether the folder holds a run, or a part of one that would be written over."""
        return any((self.path / name).exists() for name in ("run.json", "manifest.json", "arrays.safetensors"))

    def create(self, parts: dict[str, Any], about: dict[str, Any]) -> None:
        """Write what the run is: `parts` are library objects, `about` is JSON.

        Raises: InputError where a run is there already or the folder cannot be written.
        """
        if self.exists:
            raise InputError(f"{self.path} already holds a run: resume it, or give another folder.")
        arrays: Arrays = {}
        config = {name: to_config(part, arrays, name) for name, part in parts.items()}
        packed = safetensors.numpy.save(arrays) if arrays else b""
        content = {"format": _MAGIC, "version": FORMAT, "versions": versions(), "about": about, **config}
        content["arrays"] = digest(packed)
        # A changed digit would still be JSON, and a model of other numbers.
        content["sha256"] = _seal(json.loads(json.dumps(content)))
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            if arrays:
                write_atomically(self.path / "arrays.safetensors", packed)
            write_atomically(self.path / "run.json", json.dumps(content, indent=1))
        except OSError as error:
            raise _unwritable(self.path, error) from error

    def forget(self) -> None:
        """Remove what `create` wrote, for a run that could not begin; the folder, too, where nothing else is in it."""
        for name in ("run.json", "arrays.safetensors"):
            (self.path / name).unlink(missing_ok=True)
        if not any(self.path.iterdir()):
            self.path.rmdir()

    def about(self) -> dict[str, Any]:
        """Return the caller's own record of the run."""
        return self._content()["about"]

    def _content(self) -> dict[str, Any]:
        """Return run.json, after checking that nothing in it has changed."""
        path = self.path / "run.json"
        content = _read_json(path)
        if content.get("sha256", _seal(content)) != _seal(content):
            raise InputError(f"{path} is damaged (its checksum differs): restore it from a copy.")
        return content

    def part(self, name: str) -> Any:
        """Return a library object of the run (`method`, `tasks`, `plan`).

        Raises: InputError (NotSaved for one that held Python functions).
        """
        content = self._content()
        file = self.path / "arrays.safetensors"
        packed = file.read_bytes() if file.exists() else b""
        if content.get("arrays", digest(packed)) != digest(packed):
            raise InputError(f"{file} is damaged (its checksum differs) or gone: restore it from a copy.")
        arrays = _tensors(packed, str(file)) if packed else {}
        try:
            return from_config(content[name], arrays, name)
        except (KeyError, TypeError, ValueError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(
                f"{self.path / 'run.json'} is damaged ({name} cannot be built): restore it from a copy."
            ) from error

    def save(self, state: Any, history: list[dict[str, float]], step: int) -> None:
        """Write a checkpoint, then the manifest, then remove the checkpoints past the last `keep`.

        Raises: InputError where the disk is full or the folder cannot be written; older checkpoints stay.
        """
        name = f"checkpoint-{step:08d}.safetensors"
        content = pack(state)
        entries = [e for e in self._entries() if e["step"] != step]
        entries = [*entries, {"step": step, "file": name, "sha256": digest(content)}]
        kept = entries[-self.keep :]
        manifest = {"format": _MAGIC, "version": FORMAT, "checkpoints": kept, "history": history}
        try:
            write_atomically(self.path / name, content)
            write_atomically(self.path / "manifest.json", json.dumps(manifest))
            for entry in entries[: -self.keep]:
                (self.path / entry["file"]).unlink(missing_ok=True)
        except OSError as error:
            raise _unwritable(self.path, error) from error

    def _manifest(self) -> dict[str, Any]:
        path = self.path / "manifest.json"
        # One checkpoint without a manifest is a run that was killed between the two; several had one.
        if not path.exists() and len(list(self.path.glob("checkpoint-*.safetensors"))) > 1:
            raise InputError(f"{path} is gone and the checkpoints that it listed are there: restore it from a copy.")
        content = _read_json(path) if path.exists() else {"checkpoints": [], "history": []}
        entries = content.get("checkpoints")
        whole = isinstance(entries, list) and all(
            isinstance(e, dict) and {"step", "file", "sha256"} <= e.keys() for e in entries
        )
        if not whole or not isinstance(content.get("history"), list):
            raise InputError(f"{path} is damaged (it lists no checkpoints or no history): restore it from a copy.")
        return content

    def _entries(self) -> list[dict[str, Any]]:
        return self._manifest()["checkpoints"]

    def history(self) -> list[dict[str, float]]:
        """Return the loss history up to the last checkpoint."""
        return self._manifest()["history"]

    def load(self, like: Any) -> Any | None:
        """Return the newest checkpoint as a pytree shaped like `like`, or None where there is none yet.

        Raises: InputError where it is missing or damaged.
        """
        entries = self._entries()
        if not entries:
            return None
        path = self.path / entries[-1]["file"]
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            raise InputError(f"{path} is named by the manifest but is not there: restore it from a copy.") from None
        if digest(content) != entries[-1]["sha256"]:
            raise InputError(f"{path} is damaged (its checksum differs): restore it, or delete its entry in manifest.json.")
        return unpack(content, like, str(path))


def _unwritable(path: Path, error: OSError) -> InputError:
    if isinstance(error, FileExistsError | NotADirectoryError):
        return InputError(f"cannot write to {path}, since a file is where a folder has to be: give another folder.")
    return InputError(f"cannot write to {path} ({error.strerror or error}): free some space or give another folder.")
