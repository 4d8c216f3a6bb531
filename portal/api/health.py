"""Health: /healthz says that the process answers, /readyz that it can do its work."""

from flask import Blueprint, Response, current_app, jsonify
from redis import RedisError
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from portal.infra.db import db
from portal.infra.pages import policy
from portal.infra.queue import connect

bp = Blueprint("health", __name__)


@bp.get("/healthz")
@policy("public")
def healthz() -> tuple[str, int]:
    """The process is alive."""
    return "ok", 200


@bp.get("/readyz")
@policy("public")
def readyz() -> tuple[Response, int]:
    """The database answers (needed), and Redis does (without it, work is only delayed)."""
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
    return jsonify({"database": database, "redis": redis}), 200 if database == "ok" else 503
