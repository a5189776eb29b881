"""The docs say what the code says."""

from pathlib import Path

import pytest
from rooms import ROOMS, page

import bmaml

ROOT = Path(__file__).parent.parent.parent
PACKAGE = Path(bmaml.__file__).parent


def test_the_page_of_rooms_is_up_to_date():
    assert (ROOT / "docs" / "rooms.md").read_text() == page(PACKAGE), "Run `python tests/rooms.py` to write the page again."


@pytest.mark.parametrize("room", [room for room in ROOMS if (PACKAGE / room).is_dir()])
def test_every_room_says_what_belongs_there_and_what_a_new_file_needs(room):
    for init in (PACKAGE / room).rglob("__init__.py"):
        first, _, rest = (init.read_text().split('"""')[1]).partition("\n\n")
        assert first.strip().endswith(".")
        words = rest.lower().split()
        assert sum(word.endswith(".") for word in words) >= 3, f"{init}: say what belongs in this folder."
        assert "new" in words, f"{init}: say what a new file in this folder needs."
