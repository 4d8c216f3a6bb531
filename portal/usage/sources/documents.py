"""From a row of a plain CSV or JSON-lines file to an event document: what is no field of an event is a property."""

from collections.abc import Mapping
from typing import Any

from portal.core.errors import InvalidInput
from portal.usage.events import FIELDS

NEEDED = ("id", "organization", "meter", "quantity", "time")
_TEXT_FIELDS = FIELDS - {"properties", "correction"}
_CORRECTION = {"true": True, "false": False}


def document_of_csv(row: Mapping[str, str], source: str) -> dict[str, Any]:
    """An event document; an empty cell is a field left out."""
    filled = {name: value for name, value in row.items() if value != ""}
    document: dict[str, Any] = {"source": source}
    document |= {name: value for name, value in filled.items() if name in _TEXT_FIELDS}
    if "correction" in filled:
        document["correction"] = _CORRECTION.get(filled["correction"].lower(), filled["correction"])
    document["properties"] = {
        name: value for name, value in filled.items() if name not in _TEXT_FIELDS and name != "correction"
    }
    return document


def document_of_json(document: Mapping[str, Any], source: str) -> dict[str, Any]:
    """An event document; `properties` may also stand beside the fields. Raises InvalidInput if both have a name."""
    properties = document.get("properties") or {}
    if not isinstance(properties, dict):
        raise InvalidInput("properties is an object of texts.", field="properties")
    beside = {name: value for name, value in document.items() if name not in FIELDS}
    both = sorted(set(beside) & set(properties))
    if both:
        raise InvalidInput(f"“{both[0][:60]}” stands both in properties and beside them.", field=both[0])
    fields = {name: value for name, value in document.items() if name in FIELDS}
    return {"source": source, **fields, "properties": properties | beside}
