"""`dev.py translations`: bring the catalogs in translations/ up to date with the words of code and templates.

    translations           renew every catalog, and say what of each is not translated
    translations add LANG  begin a catalog of another language

A catalog keeps no places in the code and no dates, so that it changes only when words do.
"""

import io
import re
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

from babel import Locale, UnknownLocaleError
from babel.messages.catalog import Catalog
from babel.messages.extract import DEFAULT_KEYWORDS, extract_from_dir
from babel.messages.frontend import parse_mapping_cfg
from babel.messages.pofile import read_po, write_po

from devkit.words import Refusal, say, speaking
from portal.comparing_months import STEPS
from portal.core.subscriptions import Interval
from portal.mailing.models import MailState
from portal.organizations.roles import CUSTOMER_ROLES
from portal.usage.exploring import Resolution

ROOT = Path(__file__).resolve().parent.parent
REFUSALS = ("InvalidInput", "InvalidTransition", "NotAllowed", "NotFound", "NotReady", "PageNotOpened", "SignInRefused")
KEYWORDS = {**DEFAULT_KEYWORDS, **dict.fromkeys(("Said", "say", "_say", *REFUSALS))}

# What an invoice says on paper and its mail repeats; and what the activity lists.
PRINTED = ("Number", "Issued", "Due", "Period", "Purchase order", "Lines", "Total", "Prepaid credit", "Amount due")
HEAD = """# Renewed by `python3 dev.py translations`; see docs/languages.md.
msgid ""
msgstr ""
"Language: {language}\\n"
"Plural-Forms: {plural_forms}\\n"
"Content-Type: text/plain; charset=utf-8\\n"
"""
ACTION = re.compile(r"(?:record|record_change|change_of|Entry|_note|_record)\(\s*(?:\w+,\s*)?\"([A-Za-z -]{4,})\"")
SUBJECT = re.compile(r"subject=\"([a-z ]+)\"")
ACTORS = ("api key", "clock", "job", "operator", "stripe", "system", "user")


def main(words: Sequence[str]) -> int:
    """Renew the catalogs; 1 if something in one of them is missing."""
    if words[:1] == ["add"] and len(words) == 2:
        _add(words[1])
    elif words:
        raise Refusal("It is translations, or translations add LANGUAGE, for example translations add fr.")
    missing = 0
    for path in catalogs():
        renewed = renewed_catalog(path)
        path.write_bytes(written(renewed))
        left = untranslated(renewed)
        missing += len(left)
        say(f"{path.relative_to(ROOT)}: {len(renewed)} texts, {len(left)} without a translation.")
        for text in left[:20]:
            say(f"  {text[:100]}")
    return 1 if missing else 0


def catalogs() -> list[Path]:
    """The catalogs that there are."""
    return sorted(ROOT.glob("translations/*/LC_MESSAGES/messages.po"))


def renewed_catalog(path: Path) -> Catalog:
    """A catalog with exactly the texts of now; a text that has changed is not guessed from a similar one."""
    with path.open("rb") as file:
        known = read_po(file, locale=path.parts[-3])
    known.update(extracted(), no_fuzzy_matching=True)
    known.obsolete.clear()
    return known


@cache
def extracted() -> Catalog:
    """Every text for customers in code and templates."""
    found = Catalog()
    with (ROOT / "babel.cfg").open() as file:
        methods, options = parse_mapping_cfg(file)  # type: ignore[no-untyped-call]
    for place in ("portal", "templates"):
        beneath = [(pattern, method) for pattern, method in methods]
        for _name, _line, message, comments, context in extract_from_dir(
            ROOT / place,
            [(pattern.removeprefix(f"{place}/"), method) for pattern, method in beneath if pattern.startswith(place)],
            {pattern.removeprefix(f"{place}/"): each for pattern, each in options.items()},
            keywords=KEYWORDS,
        ):
            found.add(message, context=context, auto_comments=comments)
    for word in _words_of_data():
        found.add(word)
    return found


def _words_of_data() -> Iterator[str]:
    """Words that are data where they are made, and that customers read: pages look them up as they are."""
    yield from CUSTOMER_ROLES
    yield from map(str, Interval)
    yield from map(str, Resolution)
    yield from (f"{each}s" for each in Resolution)
    yield from ("app", "product", "meter", "App", "Product", "Meter")
    yield from ("counted now", "billed", "credited", "Amended", "Cancelled")
    yield from (each.lower() for each in STEPS.values())
    yield from (f"mail {state.replace('_', ' ')}" for state in MailState)
    yield from PRINTED
    yield from ACTORS
    for path in sorted((ROOT / "portal").rglob("*.py")):
        yield from ACTION.findall(path.read_text())
        yield from SUBJECT.findall(path.read_text())


def untranslated(catalog: Catalog) -> list[str]:
    """The texts that have no translation, or one that a person has yet to look at."""
    return [
        str(message.id)
        for message in catalog
        if message.id
        and (message.fuzzy or not all(message.string if isinstance(message.string, tuple) else (message.string,)))
    ]


def written(catalog: Catalog) -> bytes:
    """A catalog as it is kept: in the order of its texts, with a head that says only what readers of it need."""
    out = io.BytesIO()
    write_po(out, catalog, width=120, no_location=True, omit_header=True, sort_output=True, ignore_obsolete=True)
    head = HEAD.format(language=catalog.locale_identifier, plural_forms=catalog.plural_forms)
    return f"{head}\n{out.getvalue().decode().strip()}\n".encode()


def _add(language: str) -> None:
    path = ROOT / "translations" / language / "LC_MESSAGES" / "messages.po"
    try:
        locale = Locale(language)
    except (UnknownLocaleError, ValueError):
        raise Refusal(f"“{language}” is not a language; write its two letters, for example fr.") from None
    if path.exists():
        raise Refusal(f"There is a catalog of {locale.english_name} already.")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(written(Catalog(locale=locale)))


if __name__ == "__main__":
    raise SystemExit(speaking(main))
