"""POST /api/v1/events: usage comes in; GET /api/v1/meters: what can be reported."""

from typing import Any

from flask import Blueprint, Response, g, jsonify, request

from portal.api.guard import require_key
from portal.catalog.queries import meters_by_code
from portal.core.errors import InvalidInput
from portal.infra import clock
from portal.infra.db import SYSTEM, acting_as, transaction
from portal.infra.pages import csrf, policy
from portal.organizations.api_keys import KeyHolder
from portal.organizations.queries import ids_by_slug
from portal.usage.events import Reader, UsageRecord, read_json, storable
from portal.usage.ingesting import Outcome, ingest

MOST_EVENTS = 5_000
LARGEST_BODY_BYTES = 5 * 1024 * 1024
bp = Blueprint("api", __name__, url_prefix="/api/v1")
bp.before_request(require_key)
csrf.exempt(bp)


@bp.post("/events")
@policy("api key: ingest")
def post_events() -> tuple[Response, int]:
    """Store a batch of events and say, item by item, what became of each.

    200 if any was accepted or is a duplicate, 422 if none: good items are kept, whatever stands beside them.
    Idempotent: send a batch again whenever the answer did not arrive.
    """
    request.max_content_length = LARGEST_BODY_BYTES
    if request.mimetype != "application/json":
        raise UnsupportedContent("Send application/json: one event or a list of events.")
    documents = read_json(request.get_data())
    if isinstance(documents, dict):
        documents = [documents]
    if not isinstance(documents, list) or not documents:
        raise InvalidInput("The body is one event or a list of at least one.")
    if len(documents) > MOST_EVENTS:
        raise InvalidInput(f"A batch holds at most {MOST_EVENTS} events; this one has {len(documents)}.")
    results = _store(documents)
    counts = {outcome: sum(result["status"] == outcome for result in results) for outcome in _STATUSES}
    kept = counts["accepted"] + counts["duplicate"]
    return jsonify({**counts, "results": results}), 200 if kept else 422


@bp.get("/meters")
@policy("api key: ingest")
def list_meters() -> Response:
    """The meters that events can name, with their units and dimensions."""
    return jsonify(
        {
            "data": [
                {"code": meter.code, "name": meter.name, "unit": meter.unit, "dimensions": meter.dimensions}
                for meter in meters_by_code().values()
            ]
        }
    )


class UnsupportedContent(InvalidInput):
    """The body is of a kind that this address does not take."""

    code, status = "unsupported_content", 415


_STATUSES = ("accepted", "duplicate", "conflict", "rejected")


def _store(documents: list[Any]) -> list[dict[str, Any]]:
    reader = _reader(documents)
    results: list[dict[str, Any]] = [{} for _ in documents]
    records: list[UsageRecord] = []
    places: list[int] = []
    for index, document in enumerate(documents):
        try:
            records.append(reader.read(document))
            places.append(index)
        except InvalidInput as error:
            results[index] = {
                "index": index,
                "id": _id_of(document),
                "status": "rejected",
                "field": error.field,
                "message": error.sentence,
            }
    with transaction():
        outcomes = ingest(records, now=clock.now())
    for index, record, outcome in zip(places, records, outcomes, strict=True):
        results[index] = {"index": index, "id": record.event_id, "status": outcome.value}
        if outcome is Outcome.CONFLICT:
            results[index]["message"] = (
                "An event with this id and other content is already stored; the first one stays."
            )
    return results


def _reader(documents: list[Any]) -> Reader:
    holder: KeyHolder = g.key_holder
    named = {
        document["organization"]
        for document in documents
        if isinstance(document, dict)
        and isinstance(document.get("organization"), str)
        and storable(document["organization"])
    }
    # Names of organizations are looked up as the system; whether the key may write to one is the reader's rule.
    with acting_as(SYSTEM):
        organizations = ids_by_slug(named)
    return Reader(
        meters_by_code(), now=clock.now(), organization_id=holder.organization_id, organizations=organizations
    )


def _id_of(document: Any) -> str | None:
    found = document.get("id") if isinstance(document, dict) else None
    return found[:255] if isinstance(found, str) and found.isprintable() else None
