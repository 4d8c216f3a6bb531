"""GET /metrics for Prometheus: how the portal stands, and what its web processes have done. Off without a token."""

import hmac

from flask import Blueprint, Response, abort, current_app, request
from sqlalchemy.exc import DBAPIError

from portal.gauges import Gauge, gauges, written
from portal.infra import clock
from portal.infra.db import SYSTEM, act_as
from portal.infra.metrics import metrics_of_process
from portal.infra.pages import policy

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
bp = Blueprint("metrics", __name__)


@bp.get("/metrics")
@policy("token")
def show() -> Response:
    """Counters of this host's web processes, then gauges of the portal; only the former while the database is away."""
    metrics, token = metrics_of_process(), current_app.config["SETTINGS"].metrics_token
    if metrics is None or token is None:
        abort(404)
    if not hmac.compare_digest(request.headers.get("Authorization", "").encode(), f"Bearer {token}".encode()):
        abort(401)
    counted = metrics.written().decode()
    act_as(SYSTEM)
    try:
        stands = written([*gauges(now=clock.now()), _database(is_away=False)])
    except DBAPIError:
        stands = written([_database(is_away=True)])
    return Response(counted + stands, content_type=CONTENT_TYPE)


def _database(*, is_away: bool) -> Gauge:
    return Gauge("portal_database_away", "1 while PostgreSQL does not answer.", (), int(is_away))
