"""The catalogs: up to date, complete, and with the same values and tags in every language."""

import re
from collections import Counter
from pathlib import Path

import pytest
from babel.messages.catalog import Catalog, Message
from babel.messages.pofile import read_po

from devkit import translations
from portal.infra.languages import ENGLISH, LANGUAGES, TRANSLATIONS

CATALOGS = translations.catalogs()
PARTS = re.compile(r"%\(\w+\)s|%%|\{\w+\}|</?[a-z]+[^>]*>")


@pytest.fixture(scope="module")
def renewed() -> dict[Path, Catalog]:
    return {path: translations.renewed_catalog(path) for path in CATALOGS}


def texts(catalog: Catalog) -> list[tuple[str, str]]:
    """Each text beside its translation; of those with a number, the form for many."""
    return [(many(message.id), many(message.string)) for message in catalog if message.id]


def many(text: str | tuple[str, ...]) -> str:
    return text if isinstance(text, str) else text[-1]


def test_the_languages_are_those_that_have_a_catalog():
    assert tuple(sorted(path.parts[-3] for path in CATALOGS)) == LANGUAGES[1:]
    assert "de" in LANGUAGES
    assert LANGUAGES[0] == ENGLISH
    assert translations.ROOT / "translations" == TRANSLATIONS


@pytest.mark.parametrize("path", CATALOGS, ids=lambda path: path.parts[-3])
def test_a_catalog_is_what_the_command_makes_of_it(path, renewed):
    assert path.read_bytes() == translations.written(renewed[path]), "run: python3 dev.py translations"


@pytest.mark.parametrize("path", CATALOGS, ids=lambda path: path.parts[-3])
def test_nothing_is_left_to_translate(path, renewed):
    assert translations.untranslated(renewed[path]) == []


@pytest.mark.parametrize("path", CATALOGS, ids=lambda path: path.parts[-3])
def test_values_and_tags_are_those_of_the_english_text(path, renewed):
    assert [str(error) for _message, errors in renewed[path].check() for error in errors] == []
    wrong = [(text, said) for text, said in texts(renewed[path]) if Counter(parts(text)) != Counter(parts(said))]
    assert wrong == []


def parts(text: str) -> list[str]:
    return PARTS.findall(text)


@pytest.mark.parametrize("path", CATALOGS, ids=lambda path: path.parts[-3])
def test_a_translation_fits_into_an_attribute_and_keeps_the_spaces_around_it(path, renewed):
    for text, said in texts(renewed[path]):
        without_tags = re.sub(r"<[^>]*>", "", said)
        assert '"' not in without_tags, said
        assert (text[0] == " ", text[-1] == " ") == (said[0] == " ", said[-1] == " "), said


def test_a_text_that_is_new_is_missing_and_one_that_is_gone_is_not_kept(tmp_path):
    path = tmp_path / "de" / "LC_MESSAGES" / "messages.po"
    path.parent.mkdir(parents=True)
    catalog = Catalog(locale="de")
    catalog.add("Invoices", "Rechnungen")
    catalog.add("Nobody says this", "Das sagt niemand")
    path.write_bytes(translations.written(catalog))
    renewed = translations.renewed_catalog(path)
    left = translations.untranslated(renewed)
    assert renewed.get("Invoices") is not None
    assert "Invoices" not in left
    assert "Draft invoice" in left
    assert "Nobody says this" not in {str(each.id) for each in renewed} | set(renewed.obsolete)


def test_a_fuzzy_translation_is_one_to_look_at():
    catalog = Catalog(locale="de")
    catalog.add("Invoices", "Rechnungen")
    assert translations.untranslated(catalog) == []
    catalog["Invoices"] = Message("Invoices", "Rechnungen", flags=("fuzzy",))
    assert translations.untranslated(catalog) == ["Invoices"]


def test_a_catalog_is_read_as_it_is_written(renewed, tmp_path):
    for path, catalog in renewed.items():
        copy = tmp_path / "messages.po"
        copy.write_bytes(translations.written(catalog))
        with copy.open("rb") as file:
            assert texts(read_po(file, locale=path.parts[-3])) == sorted(texts(catalog))
