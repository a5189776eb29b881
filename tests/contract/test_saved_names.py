"""The names and settings that saved runs hold, frozen: a run that was saved once loads for ever.

`python tests/contract/test_saved_names.py` adds what is new. Nothing is ever taken away or renamed: saved runs hold it.
"""

import dataclasses
import json
from pathlib import Path

import bmaml
from bmaml.io.registry import KINDS, ROOMS, names

FILE = Path(__file__).with_name("saved_names.json")


def own():
    """The library's own names, each with the settings that a file holds: True for one that has to be there."""
    found = {name: kind for name, kind in names().items() if name.split("/")[0] in KINDS}
    return {name: settings(kind) for name, kind in sorted(found.items())}


def settings(kind):
    missing = dataclasses.MISSING
    fields = [field for field in dataclasses.fields(kind) if field.init]
    return {field.name: field.default is missing and field.default_factory is missing for field in fields}


def test_every_frozen_name_and_setting_is_there():
    """A class that is renamed keeps its registered name; a setting that is renamed or removed makes old runs unreadable."""
    frozen, found = json.loads(FILE.read_text()), own()
    assert not frozen.keys() - found.keys(), "saved runs name these classes: register them again under these names."
    for name, fields in frozen.items():
        assert not fields.keys() - found[name].keys(), f"saved runs of {name} hold these settings: keep them."


def test_a_new_setting_has_a_default():
    """Runs that were saved before it was there do not hold it."""
    frozen, found = json.loads(FILE.read_text()), own()
    for name, fields in frozen.items():
        needed = {field for field, must in found[name].items() if must}
        assert needed <= {field for field, must in fields.items() if must}, f"{name}: give new settings a default."


def test_every_setting_of_a_frozen_name_is_listed():
    """A name that is not in the list yet is free to change until it is frozen, before the next release."""
    frozen, found = json.loads(FILE.read_text()), own()
    for name, fields in frozen.items():
        assert not found[name].keys() - fields.keys(), (
            f"{name}: write the list again, python tests/contract/test_saved_names.py"
        )


def test_every_folder_whose_classes_have_names_is_imported_to_load_a_run():
    package = Path(bmaml.__file__).parent
    naming = [file.relative_to(package) for file in package.rglob("*.py") if "\n@register(" in file.read_text()]
    places = [".".join(file.with_suffix("").parts) for file in naming]
    assert len(places) > 50
    assert not [place for place in places if not f"{place}.".startswith(tuple(f"{room}." for room in ROOMS))]


if __name__ == "__main__":
    kept = json.loads(FILE.read_text()) if FILE.exists() else {}
    merged = {name: own().get(name, {}) | kept.get(name, {}) for name in sorted(own().keys() | kept.keys())}
    FILE.write_text(json.dumps(merged, indent=1) + "\n")
