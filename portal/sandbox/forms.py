"""Stripe's form encoding: `lines[0][period][start]=1&expand[]=customer` becomes nested data."""

import re
from collections.abc import Iterable
from typing import Any
from urllib.parse import parse_qsl

from .errors import StripeError

_NAME = re.compile(r"^([^\[\]]+)((?:\[[^\[\]]*\])*)$")
_SUBSCRIPT = re.compile(r"\[([^\[\]]*)\]")

# Their keys are the caller's own words, so digits there are names and not positions.
_FREE_KEYED = ("metadata", "invoice_metadata", "payload")


def decode(encoded: str) -> dict[str, Any]:
    """Decode a form body or a query string; later values of one name win."""
    return nest(parse_qsl(encoded, keep_blank_values=True))


def nest(pairs: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """Build the nested data that the bracketed names describe.

    :raise StripeError: one name is both a value and an object
    """
    root: dict[str, Any] = {}
    for name, value in pairs:
        *parents, last = _path(name)
        place = root
        for step in parents:
            below = place.setdefault(step, {})
            if not isinstance(below, dict):
                raise StripeError(f"Invalid object: {name} is given as a value as well.", param=name)
            place = below
        position = str(len(place)) if last == "" else last
        if isinstance(place.get(position), dict):
            raise StripeError(f"Invalid value: {name} is given as an object as well.", param=name)
        place[position] = value
    return {name: _with_lists(value, name) for name, value in root.items()}


def _path(name: str) -> list[str]:
    match = _NAME.match(name)
    if match is None:
        return [name]
    return [match[1], *_SUBSCRIPT.findall(match[2])]


def _with_lists(value: Any, name: str) -> Any:
    if not isinstance(value, dict) or name in _FREE_KEYED:
        return value
    built = {key: _with_lists(item, key) for key, item in value.items()}
    if built and all(key.isdecimal() for key in built):
        return [built[key] for key in sorted(built, key=int)]
    return built
