"""POST /api/v1/events: usage comes in. GET /api/v1/meters: what can be reported; /api/v1/requests: what was."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import msgspec
from flask import Blueprint, Response, g, jsonify, request
from werkzeug.exceptions import HTTPException

from portal.api.bodies import format_of_request, read_batch
from portal.api.guard import require_key
from portal.api.limiting import add_limit_headers, count_request
from portal.catalog.queries import meters_by_code
from portal.core.errors import InvalidInput, PortalError
from portal.infra import clock
from portal.infra.metrics import count_events
from portal.infra.pages import csrf, policy
from portal.organizations.api_keys import KeyHolder
from portal.usage.batches import Stored, store_items
from portal.usage.request_log import line_of, log_refused, log_request, recent_requests

DEFAULT_PAGE, LARGEST_PAGE = 50, 200
bp = Blueprint("api", __name__, url_prefix="/api/v1")
bp.before_request(require_key)
bp.after_request(add_limit_headers)
csrf.exempt(bp)


@bp.post("/events")
@policy("api key: ingest")
def post_events() -> tuple[Response, int]:
    """Store a batch of events and say, item by item, what became of each.

    200 if any was accepted, is a duplicate or waits, 422 if none: good items are kept, whatever stands beside them.
    Idempotent: send a batch again whenever the answer did not arrive.
    """
    holder: KeyHolder = g.key_holder
    try:
        items = read_batch(from_platform=holder.organization_id is None)
    except (PortalError, HTTPException):
        count_request()
        raise
    count_request(events=len(items))
    stored = store_items(items, organization_id=holder.organization_id, now=clock.now(), and_then=_log)
    count_events(stored.counts)
    body = msgspec.json.encode({**stored.counts, "results": stored.results})
    return Response(body, mimetype="application/json"), _status_of(stored)


def _status_of(stored: Stored) -> int:
    counts = stored.counts
    return 200 if counts["accepted"] + counts["duplicate"] + counts["waiting"] else 422


def _log(stored: Stored) -> None:
    """Write the request into the ingest log, in the transaction that stores its events."""
    log_request(_line(status=_status_of(stored), counts=stored.counts, rejections=stored.rejections))


@bp.after_request
def log_refusal(response: Response) -> Response:
    """Write a batch that was refused whole into the ingest log, but none that failed by our fault."""
    is_batch = request.endpoint == "api.post_events" and request.method == "POST"
    if is_batch and "key_holder" in g and "logged" not in g and response.status_code < 500:
        log_refused(_line(status=response.status_code, counts={}, rejections=[_refusal(response)]))
    return response


def _line(*, status: int, counts: Mapping[str, int], rejections: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    g.logged = True
    holder: KeyHolder = g.key_holder
    return line_of(
        organization_id=holder.organization_id,
        api_key_id=holder.key_id,
        at=clock.now(),
        request_id=g.request_id,
        status=status,
        counts=counts,
        bytes_sent=g.get("body_bytes") or request.content_length or 0,
        sent_as=format_of_request(),
        rejections=rejections,
    )


@bp.get("/meters")
@policy("api key: ingest or read")
def list_meters() -> Response:
    """The meters that events can name, with their units and dimensions."""
    count_request()
    return jsonify(
        {
            "data": [
                {"code": meter.code, "name": meter.name, "unit": meter.unit, "dimensions": meter.dimensions}
                for meter in meters_by_code().values()
            ]
        }
    )


@bp.get("/requests")
@policy("api key: read")
def list_requests() -> Response:
    """The ingest log: the last requests of the key's organization, newest first; of the platform's keys for those."""
    count_request()
    holder: KeyHolder = g.key_holder
    lines = recent_requests(holder.organization_id, _page_size())
    return jsonify({"data": [{**asdict(line), "at": line.at.isoformat()} for line in lines]})


def _refusal(response: Response) -> dict[str, Any]:
    problem = response.get_json()
    return {"index": None, "id": None, "field": problem.get("field"), "message": problem["detail"]}


def _page_size() -> int:
    asked = request.args.get("limit", str(DEFAULT_PAGE))
    if not (asked.isdecimal() and asked.isascii() and len(asked) <= 3 and 1 <= int(asked) <= LARGEST_PAGE):
        raise InvalidInput(f"limit is a whole number from 1 to {LARGEST_PAGE}.", field="limit")
    return int(asked)
