"""YAML that keeps every digit: what is read, what is refused and where, and what is written."""

from datetime import date
from decimal import Decimal

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from portal.core.errors import InvalidInput
from portal.infra.yaml_text import read_yaml, write_yaml


@pytest.mark.parametrize(
    "word",
    ["0.08", "0.10", "1e3", "010", "0x1F", "1_000", "12:30:00", "2026-11-01", ".inf", ".nan", "yes", "NO", "on", "y"]
    + ["=", "<<", "123456789012345678901234567890.123456789012", "-7"],
)
def test_a_plain_word_stays_the_text_that_it_is(word):
    assert read_yaml(f"price: {word}") == {"price": word}
    assert read_yaml(f"[{word}]") == [word]


@pytest.mark.parametrize(
    ("word", "value"),
    [("true", True), ("False", False), ("null", None), ("~", None), ("", None), ("'true'", "true"), ('"~"', "~")],
)
def test_only_true_false_and_null_are_more_than_text(word, value):
    assert read_yaml(f"a: {word}\n") == {"a": value}
    assert read_yaml(f"a: {word}\n")["a"] is value or isinstance(value, str)


def test_an_empty_text_is_no_document():
    assert read_yaml("") is None
    assert read_yaml("# nothing but a comment\n") is None


def test_names_keep_their_order():
    assert list(read_yaml("z: 1\na: 2\nm: 3\n")) == ["z", "a", "m"]


def test_json_is_read_too():
    assert read_yaml('{"price": {"unit_amount": 0.10, "up_to": null}}') == {
        "price": {"unit_amount": "0.10", "up_to": None}
    }


@pytest.mark.parametrize(
    ("text", "place", "says"),
    [
        ("a: [1, 2", "Line 1, column 9", "expected ',' or ']'"),
        ("a: 1\nb: c: d\n", "Line 2, column 5", "not allowed here"),
        ("a:\n\t- 1", "Line 2, column 1", "'\\t'"),
        ("a: 1\nb: 2\na: 3\n", "Line 3, column 1", "“a” stands twice"),
        ("x: {a: 1, a: 2}", "Line 1, column 11", "“a” stands twice"),
        ("a: &one [1]\nb: *one\n", "Line 2, column 4", "an alias"),
        ("&loop [*loop]", "Line 1, column 8", "an alias"),
        ("a: !!float 0.1", "Line 1, column 4", "a tag"),
        ("a: !!python/object/apply:os.getcwd []", "Line 1, column 4", "a tag"),
        ("a: !!bool yes", "Line 1, column 4", "a tag"),
        ("a: !!set {x}", "Line 1, column 4", "a tag"),
        ("true: 1", "Line 1, column 1", "not text"),
        ("? [a]\n: 1", "Line 1, column 3", "not text"),
        ("? !!str [a]\n: 1", "Line 1, column 3", "not text"),
        ("a: 1\n---\nb: 2\n", "Line 2, column 1", "another document"),
        ("a: 1\nb: \x07\n", "Line 2, column 4", "not printable"),
        ('a: "\\U00110000"', "Line 1, column 7", "no character"),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_place(text, place, says):
    with pytest.raises(InvalidInput) as refused:
        read_yaml(text)
    assert refused.value.sentence.startswith(f"{place}: ")
    assert says in refused.value.sentence


def test_deep_nesting_is_refused_and_no_crash():
    with pytest.raises(InvalidInput, match="too deeply"):
        read_yaml("[" * 20_000)


def test_texts_that_some_reader_would_take_for_something_else_are_quoted():
    document = {"price": "0.08", "day": "2026-11-01", "no": "no", "name": "Egress", "none": None, "on": True, "n": 7}
    text = write_yaml(document)
    assert text == (
        "price: '0.08'\nday: '2026-11-01'\n'no': 'no'\nname: Egress\nnone: null\n'on': true\nn: 7\n"
    )  # fmt: skip
    assert yaml.safe_load(text) == document


def test_parts_that_occur_twice_are_written_out_twice():
    tier = {"up_to": None}
    assert write_yaml([tier, tier]) == "- up_to: null\n- up_to: null\n"


@pytest.mark.parametrize("value", [0.1, Decimal("0.1"), date(2026, 11, 1), {1, 2}, b"x"])
def test_what_is_not_plain_is_not_written(value):
    with pytest.raises(yaml.representer.RepresenterError):
        write_yaml({"a": value})


_TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=30) | st.sampled_from(
    [
        "",
        "~",
        "true",
        "0.08",
        "a: b",
        "- a",
        "# a",
        " a ",
        "a\nb\n",
        "a\r\nb",
        "a\u2028b",
        "a\x85",
        "x" * 300,
        "1e3",
        "<<",
        "=",
        "!a",
    ]
)
_DOCUMENTS = st.recursive(
    _TEXTS | st.none() | st.booleans(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_TEXTS, inner, max_size=4),
    max_leaves=12,
)


@given(_DOCUMENTS)
@settings(max_examples=200, deadline=None)
def test_what_was_written_is_read_back(document):
    text = write_yaml(document)
    assert read_yaml(text) == document
    assert write_yaml(read_yaml(text)) == text
    assert yaml.safe_load(text) == document
