"""What anybody may ask: whether the process answers, whether it can do its work, and how the API is spoken to."""

import json
from functools import cache
from pathlib import Path

import yaml
from flask import Blueprint, Response, current_app, jsonify
from redis import RedisError
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from portal.infra.db import db
from portal.infra.pages import policy
from portal.infra.queue import connect

bp = Blueprint("health", __name__)
_DESCRIPTION = Path(__file__).parents[2] / "docs" / "openapi.yaml"


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


@bp.get("/api/v1/openapi.json")
@policy("public")
def openapi() -> Response:
    """The description of the API, docs/openapi.yaml, for programs."""
    return Response(_description(), mimetype="application/json")


@cache
def _description() -> str:
    return json.dumps(yaml.safe_load(_DESCRIPTION.read_text()))
