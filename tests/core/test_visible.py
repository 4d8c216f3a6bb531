"""What hides in a text is written out, and nothing else is touched."""

import pytest

from portal.core.visible import hides_something, visible


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\u202egpj.exe", "[U+202E]gpj.exe"),
        ("a\u200bb\u2060", "a[U+200B]b[U+2060]"),
        ("\ufeffid", "[U+FEFF]id"),
        ("soft\u00adhyphen", "soft[U+00AD]hyphen"),
        ("\U000e0041", "[U+E0041]"),
    ],
)
def test_a_character_that_hides_is_shown_by_its_number(text, shown):
    assert hides_something(text)
    assert visible(text) == shown


@pytest.mark.parametrize("text", ["", "plain", "Größe 5 €", "सं‌युक्त", "👩\u200d🚀", "\u200eab"])
def test_what_hides_nothing_stays_as_it_is(text):
    assert not hides_something(text)
    assert visible(text) == text
