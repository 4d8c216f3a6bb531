"""Checking an invoice's JSON file against itself, without a database: its hash, every line, and every sum.

The hash finds any change. Whoever changes the hash too still has to make all figures agree: each line is priced again
from its own terms and quantities (recomputing.py), and from the lines everything else is composed again.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any, NoReturn

from portal.core.commitments import CreditGrant
from portal.core.errors import InvalidInput
from portal.core.exact import plain
from portal.core.keys import content_hash
from portal.core.money import exponent_of, major_text
from portal.core.statement import TAKEN_OFF_OR_ADDED, Line, LineKind, Reduction, Statement, compose, tax_facts
from portal.core.taxes import TaxRounding, TaxTerms
from portal.invoicing.documents import moved_in
from portal.invoicing.recomputing import findings_in
from portal.invoicing.stated import UNREADABLE, Finding, Stated

LARGEST_FILE_BYTES = 64 * 1024 * 1024
_TAKES_OFF = TAKEN_OFF_OR_ADDED - {LineKind.TAX}
_COMPUTED = ("percent", "at_most", "base", "parts")


@dataclass(frozen=True, slots=True)
class Verified:
    """What a file says, and every place where it does not agree with itself; `total` is in minor units."""

    number: str
    lines: int
    currency: str
    total: int
    findings: tuple[str, ...]


def verify(body: bytes) -> Verified:
    """Compute the whole document again. Raises InvalidInput, with a sentence, for what is no such file."""
    file = _read(body)
    document = file.get("document")
    if not isinstance(document, dict) or not isinstance(file.get("content_sha256"), str):
        raise InvalidInput("This is no invoice: an invoice's JSON file has a document and its content_sha256.")
    changes = _hash_findings(file, document)
    try:
        stated = [Stated.of(number, line) for number, line in enumerate(document["lines"], 1)]
        currency, number, total = document["currency"], str(document["number"]), _whole(document["total"])
        exponent_of(currency)
    except UNREADABLE as error:
        words = " ".join([f"The document is not one of an invoice: {_reason(error)}.", *changes])
        raise InvalidInput(words) from error
    findings = [
        *changes,
        *(str(each) for each in findings_in(stated, currency)),
        *_composed_findings(document, stated),
        *_section_findings(document),
    ]
    return Verified(number, len(stated), currency, total, tuple(findings))


def _read(body: bytes) -> dict[str, Any]:
    if len(body) > LARGEST_FILE_BYTES:
        raise InvalidInput("This file is larger than any invoice.")
    try:
        file = json.loads(
            body.decode("utf-8-sig"),
            object_pairs_hook=_each_name_once,
            parse_float=_no_fraction,
            parse_constant=_no_fraction,
        )
    except InvalidInput:
        raise
    except (ValueError, RecursionError):
        raise InvalidInput("This file is not valid JSON in UTF-8.") from None
    if not isinstance(file, dict):
        raise InvalidInput("This is no invoice: an invoice's JSON file is one object.")
    return file


def _each_name_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A name that stands twice would be one thing to us and may be another to whoever else reads the file."""
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise InvalidInput(f"“{twice[:60]}” stands twice in one object of this file.")
    return found


def _no_fraction(text: str) -> NoReturn:
    raise InvalidInput(f"{text[:30]} is no number of an invoice: amounts are whole minor units, the rest are texts.")


def _hash_findings(file: Mapping[str, Any], document: Mapping[str, Any]) -> list[str]:
    found = content_hash(document)
    if found == file["content_sha256"]:
        return []
    return [f"The SHA-256 of the document is {found}, not {file['content_sha256'][:64]}: something in it was changed."]


def _composed_findings(document: Mapping[str, Any], stated: Sequence[Stated]) -> list[str]:
    """What does not agree when discounts, credits, tax and sums are composed again from the charged lines."""
    try:
        found = [_differences(_composed(document, stated, each), stated, document) for each in _roundings(stated)]
    except UNREADABLE as error:
        return [f"Discounts, credits, tax and sums cannot be computed again: {_reason(error)}."]
    return min(found, key=len)


def _section_findings(document: Mapping[str, Any]) -> Iterator[str]:
    """What does not agree in the sections of those that this invoice pays for, each computed as an invoice is."""
    for section in document.get("sections", ()):
        whole = {**section, "currency": document["currency"], "amount_due": section["amount"]}
        try:
            stated = [Stated.of(number, line) for number, line in enumerate(section["lines"], 1)]
        except UNREADABLE as error:
            yield f"{section['name']}: its lines cannot be read: {_reason(error)}."
            continue
        own = [*map(str, findings_in(stated, document["currency"])), *_composed_findings(whole, stated)]
        yield from (f"{section['name']}: {finding}" for finding in own)


def _composed(document: Mapping[str, Any], stated: Sequence[Stated], rounding: TaxRounding) -> Statement:
    credits_applied, balance = _whole(document.get("credits_applied", 0)), _whole(document["balance_applied"])
    if min(credits_applied, balance) < 0:
        raise ValueError("credit that was used is below zero")
    charged = [line for line in stated if line.kind not in TAKEN_OFF_OR_ADDED]
    # Older documents do not say what a line is of; there a reduction is of the lines that it names.
    named = any(line.derivation.get("product") for line in charged)
    return compose(
        _lines(charged, named=named),
        currency=document["currency"],
        balance=balance,
        reductions=[_reduction(line, named=named) for line in stated if line.kind in _TAKES_OFF],
        tax=TaxTerms(rounding=rounding, inclusive=bool((document.get("tax") or {}).get("included"))),
        prepaid=[CreditGrant(1, credits_applied)],
    )


def _roundings(stated: Sequence[Stated]) -> list[TaxRounding]:
    """How the tax was rounded: as its lines say; where prices include it no line does, so any way may be the one."""
    named = {TaxRounding(line.derivation["rounding"]) for line in stated if "rounding" in line.derivation}
    return sorted(named) or list(TaxRounding)


def _lines(charged: Sequence[Stated], *, named: bool) -> list[Line]:
    """The charged lines as they were before anything was taken off."""
    given_back = _given_back_later(charged)
    lines = [line.as_line(given_back=given_back.get(line.number, 0)) for line in charged]
    return lines if named else [replace(line, product=_place(at)) for at, line in enumerate(lines, 1)]


def _given_back_later(charged: Sequence[Stated]) -> dict[int, int]:
    """By the number of a fee's line: what a later line of the same invoice gives back of it."""
    found: dict[int, int] = {}
    for line in charged:
        if line.kind is LineKind.RECURRING and line.derivation.get("given_back") and "billed" not in line.derivation:
            fee = next(
                (each for each in charged if each.number not in found and line.gives_back(each)),
                None,
            )
            if fee is not None:
                found[fee.number] = -line.amount
    return found


def _place(number: int) -> str:
    return f"line {number}"


def _reduction(line: Stated, *, named: bool) -> Reduction:
    derivation = line.derivation
    products, meters = (frozenset(derivation.get(name) or ()) for name in ("products", "meters"))
    if (products or meters) and not named:
        products = frozenset(_place(number) for number, _ in derivation["parts"])
    return Reduction(
        kind=line.kind,
        description=line.description,
        percent=Decimal(derivation["percent"]) if "percent" in derivation else None,
        fixed=_whole(derivation["at_most"]) if "at_most" in derivation else None,
        products=products,
        meters=meters,
        references={"credit_grant_id": line.number},
        derivation={name: value for name, value in derivation.items() if name not in _COMPUTED},
    )


def _differences(statement: Statement, stated: Sequence[Stated], document: Mapping[str, Any]) -> list[str]:
    lines = _line_differences(statement, stated, document["currency"])
    return [*lines, *_sum_differences(statement, document)]


def _line_differences(statement: Statement, stated: Sequence[Stated], currency: str) -> list[str]:
    """What each line loses and is taxed, and the lines that take off and add, beside what the document says."""
    if len(statement.lines) != len(stated):
        return [
            f"There are {len(stated)} lines, and {len(statement.lines)} come out: a line that takes off or adds tax is"
            " missing, or one too many."
        ]
    found = []
    for line, expected in zip(stated, statement.lines, strict=True):
        if (line.kind, line.description, line.quantity) != (expected.kind, expected.description, expected.quantity):
            found.append(Finding(line, f"here should stand {plain(expected.quantity)} of “{expected.description}”"))
            continue
        for name in ("amount", "discount", "credited", "tax"):
            says, comes_to = getattr(line, name), getattr(expected, name)
            if says != comes_to:
                words = f"{_NAMES[name]} is {major_text(says, currency)} and comes to {major_text(comes_to, currency)}"
                found.append(Finding(line, words))
        if line.kind in TAKEN_OFF_OR_ADDED and line.derivation != expected.derivation:
            found.append(Finding(line, "how it is split over the lines is not what comes out"))
    return [str(each) for each in found]


_NAMES = {"amount": "its amount", "discount": "its discount", "credited": "its credit", "tax": "its tax"}


def _sum_differences(statement: Statement, document: Mapping[str, Any]) -> list[str]:
    currency = document["currency"]
    pairs = [
        ("The total", _whole(document["total"]), statement.total),
        ("The prepaid credit", _whole(document.get("credits_applied", 0)), statement.credits_applied),
        ("The credit from earlier months", _whole(document["balance_applied"]), statement.balance_applied),
        ("The amount due", _whole(document["amount_due"]), statement.amount_due + moved_in(document)),
    ]
    if "billed_to" in document:
        moved = _whole(document["billed_to"]["amount"])
        pairs.append((f"What is billed to {document['billed_to']['name']}", moved, statement.amount_due))
    found = [
        f"{name} is {major_text(says, currency)} and comes to {major_text(comes_to, currency)}."
        for name, says, comes_to in pairs
        if says != comes_to
    ]
    says, comes_to = document.get("tax"), tax_facts(statement)
    if _figures(says) != _figures(comes_to):
        found.append(f"The tax by rate is {_rates(says, currency)} and comes to {_rates(comes_to, currency)}.")
    return found


def _figures(tax: Mapping[str, Any] | None) -> Any:
    """The figures of a tax table; one without any is as good as none, whatever sentence it has."""
    return (tax["amount"], tax["rates"]) if tax and (tax["amount"] or tax["rates"]) else None


def _rates(tax: Mapping[str, Any] | None, currency: str) -> str:
    rates = (tax or {}).get("rates", ())
    words = [
        f"{each['percent']}% of {major_text(each['net'], currency)} = {major_text(each['tax'], currency)}"
        for each in rates
    ]
    return ", ".join([*words, f"{major_text((tax or {}).get('amount', 0), currency)} in all"])


def _whole(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{str(value)[:40]!r} stands where whole minor units should")
    return value


def _reason(error: Exception) -> str:
    return f"{error.args[0]!r} is missing" if isinstance(error, KeyError) else str(error).rstrip(".")[:200]
