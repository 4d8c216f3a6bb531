"""What anybody may ask: whether the process answers, whether it can do its work, and how the API is spoken to."""

import json

from flask import Blueprint, Response, current_app, jsonify
from redis import RedisError
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from portal.api_description import document
from portal.infra.db import SYSTEM, act_as, db
from portal.infra.pages import policy
from portal.infra.queue import connect
from portal.payments.breaker import Standing, standing

bp = Blueprint("health", __name__)


@bp.get("/healthz")
@policy("public")
def healthz() -> tuple[str, int]:
    """The process is alive."""
    return "ok", 200


@bp.get("/readyz")
@policy("public")
def readyz() -> tuple[Response, int]:
    """The database answers (needed), and Redis and Stripe do (without them, work is only delayed)."""
    try:
        with db.engine.connect() as connection:
            connection.execute(text("SELECT 1"))
        database = "ok"
    except DBAPIError:
        database = "away"
    try:
        connect(current_app.config["SETTINGS"].redis_url).ping()
        redis = "ok"
    except RedisError:
        redis = "away"
    found = {"database": database, "redis": redis}
    if database == "ok" and (circuit := _circuit()) is not None:
        found["stripe"] = f"Stripe has not answered since {circuit.opened_at:%Y-%m-%d %H:%M} UTC; its work waits."
    return jsonify(found), 200 if database == "ok" else 503


def _circuit() -> Standing | None:
    act_as(SYSTEM)
    return standing()


@bp.get("/api/v1/openapi.json")
@policy("public")
def openapi() -> Response:
    """The description of the API, docs/openapi.yaml, for programs."""
    return Response(json.dumps(document()), mimetype="application/json")
