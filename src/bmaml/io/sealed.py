"""JSON files of a run with a checksum of their own, so that a changed digit is noticed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bmaml.errors import InputError
from bmaml.io.files import digest, read_plain

FORMAT = 2
MAGIC = "bmaml-run"
# Bytes of memory that a byte of JSON may take: an empty list is written as 3 bytes.
_GROWTH = 32


def seal(content: dict[str, Any]) -> str:
    """Return the checksum of `content`, without the one that it may hold."""
    return digest(json.dumps({k: v for k, v in content.items() if k != "sha256"}, sort_keys=True).encode())


def sealed(content: dict[str, Any]) -> dict[str, Any]:
    """Return the JSON `content` with its checksum.

    Without the checksum a changed digit would still be valid JSON, but a model with other numbers.
    Raises: InputError if JSON cannot hold the content.
    """
    try:
        whole = json.loads(json.dumps(content))
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(f"about cannot be written as JSON ({error}): give numbers, texts, lists and dictionaries.") from error
    return whole | {"sha256": seal(whole)}


def read_sealed(path: Path, kinds: Mapping[str, type]) -> dict[str, Any]:
    """Return one of a run's JSON files, after a check that nothing in it has changed.

    - `path`: the file.
    - `kinds`: the fields that it must have, and the type of each.

    Raises: InputError if the file is missing, damaged, of another format or too large.
    """
    try:
        content = json.loads(read_plain(path, growth=_GROWTH, links=False))
        intact = not isinstance(content, dict) or content.get("sha256") == seal(content)
    except (FileNotFoundError, NotADirectoryError):
        lacks = f"no {path.name}" if path.parent.exists() else "there is no such folder"
        raise InputError(f"{path.parent} is not a run of bmaml ({lacks}): give the folder that training wrote.") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror or error}): restore it from a copy.") from error
    except (ValueError, RecursionError):  # Also too many digits, and brackets deeper than the interpreter can follow.
        raise InputError(f"{path} is damaged (not JSON): restore it from a copy.") from None
    if not isinstance(content, dict) or content.get("format") != MAGIC:
        raise InputError(f"{path} is not a file of bmaml's: give the folder that training wrote.")
    if content.get("version") != FORMAT:
        found = f"{path} has format {content.get('version')} and this bmaml reads format {FORMAT}"
        raise InputError(f"{found}: use the version of bmaml that wrote it.")
    if not intact or not all(isinstance(content.get(name), kind) for name, kind in kinds.items()):
        raise InputError(f"{path} is damaged (its checksum differs, or a part is missing): restore it from a copy.")
    return content
