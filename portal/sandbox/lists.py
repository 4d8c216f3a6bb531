"""Stripe's lists: newest first, read by cursors."""

from collections.abc import Iterable
from typing import Any

from .errors import StripeError, no_such
from .store import Json

DEFAULT_LIMIT = 10
HIGHEST_LIMIT = 100


def newest_first(rows: Iterable[Json]) -> list[Json]:
    """Order rows by their creation; of two in the same second the later one comes first."""
    ordered = sorted(rows, key=lambda row: row["created"])
    ordered.reverse()
    return ordered


def within(moment: int | None, bounds: dict[str, int] | None) -> bool:
    """Whether the moment lies inside a `created`-like filter."""
    if not bounds:
        return True
    if moment is None:
        return False
    return (
        moment > bounds.get("gt", moment - 1)
        and moment >= bounds.get("gte", moment)
        and moment < bounds.get("lt", moment + 1)
        and moment <= bounds.get("lte", moment)
    )


def page(rows: list[Json], params: dict[str, Any], url: str, kind: str) -> Json:
    """Cut one page out of the ordered rows."""
    limit = params.get("limit", DEFAULT_LIMIT)
    if not 1 <= limit <= HIGHEST_LIMIT:
        raise StripeError(
            f"This value must be between 1 and {HIGHEST_LIMIT} (it currently is {limit}).",
            code="parameter_invalid_integer",
            param="limit",
        )
    if cursor := params.get("starting_after"):
        rest = rows[_position(rows, cursor, kind, "starting_after") + 1 :]
        chosen, has_more = rest[:limit], len(rest) > limit
    elif cursor := params.get("ending_before"):
        rest = rows[: _position(rows, cursor, kind, "ending_before")]
        chosen, has_more = rest[-limit:], len(rest) > limit
    else:
        chosen, has_more = rows[:limit], len(rows) > limit
    return {"object": "list", "data": chosen, "has_more": has_more, "url": url}


def _position(rows: list[Json], id: str, kind: str, param: str) -> int:
    for position, row in enumerate(rows):
        if row["id"] == id:
            return position
    raise no_such(kind, id, param=param)
