"""The table of methods in the docs says what the rows say."""

from method_page import PAGE, ROOT, page, readme


def test_the_tables_of_methods_are_up_to_date():
    assert PAGE.read_text() == page(), "Run `python tests/method_page.py` to write the page again."
    assert (ROOT / "README.md").read_text() == readme(), "Run `python tests/method_page.py` to write the README's table again."
