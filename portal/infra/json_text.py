"""Reading JSON that somebody sent: strictly, and with exact numbers."""

import json
from decimal import Decimal, InvalidOperation
from typing import Any

import msgspec

from portal.core.errors import InvalidInput


class MalformedBody(InvalidInput):
    """The body as a whole cannot be read, so nothing of it was looked at."""

    code, status = "malformed_body", 400


class DuplicateName(ValueError):
    """The same name twice in one JSON object: readers disagree about which one counts, so neither does."""


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) != len(pairs):
        raise DuplicateName("An object of the body has the same name twice.")
    return document


_DECODER = msgspec.json.Decoder(float_hook=Decimal)
_ENCODER = msgspec.json.Encoder(decimal_format="number")


def read_documents(body: bytes) -> Any:
    """What `read_json` reads, with the same refusals and at a third of its price; but a whole number is an int.

    The fast decoder lets the last of two equal names win, so what it has read is counted: in a body without
    backslashes every quotation mark begins or ends a text, and a text that was lost is missing when written again.
    """
    if b"\\" not in body:
        try:
            documents = _DECODER.decode(body)
            if _ENCODER.encode(documents).count(b'"') == body.count(b'"'):
                return documents
        except (msgspec.MsgspecError, ValueError, ArithmeticError, RecursionError):
            pass  # read_json knows the sentence
    return read_json(body)


def read_json(body: bytes) -> Any:
    """Parse a body strictly: UTF-8, exact numbers, no name twice, no NaN. Raises MalformedBody."""
    try:
        return json.loads(
            body.decode("utf-8"),
            parse_float=Decimal,
            parse_int=Decimal,
            parse_constant=Decimal,
            object_pairs_hook=_no_duplicates,
        )
    except DuplicateName as error:
        raise MalformedBody(str(error)) from None
    except (ValueError, RecursionError, InvalidOperation):
        raise MalformedBody("The body is not valid JSON in UTF-8.") from None
