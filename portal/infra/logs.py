"""Logs as JSON lines: events with ids, never secrets, e-mail addresses or bodies."""

import json
import logging
import re
import sys
from datetime import UTC, datetime

from flask import g, has_app_context

_STANDARD = set(vars(logging.makeLogRecord({}))) | {"message", "asctime"}
# Where the database quotes the row that it refused.
_DETAIL = re.compile(r"^DETAIL:.*$", re.MULTILINE)


class JsonLines(logging.Formatter):
    """One JSON object a line; control characters in values cannot forge a line."""

    def format(self, record: logging.LogRecord) -> str:
        """Format one record, with the request, organization and job that it belongs to."""
        line: dict[str, object] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
        }
        if has_app_context():
            line |= {name: value for name, value in _ids().items() if value}
        line |= {name: value for name, value in vars(record).items() if name not in _STANDARD}
        if record.exc_info:
            line["exception"] = _DETAIL.sub("DETAIL: left out", self.formatException(record.exc_info))
        return json.dumps(line, default=str)


def _ids() -> dict[str, object]:
    """What the line belongs to: a request and the jobs that it has led to have the same request id."""
    organization_id = g.get("organization_id") or getattr(g.get("scope"), "organization_id", None)
    return {"request_id": g.get("request_id"), "job_id": g.get("job_id"), "organization_id": organization_id}


def configure(level: str) -> None:
    """Send all logs to standard error in one form."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    # The library logs every request at INFO, with the bodies at DEBUG; our journal already holds both.
    logging.getLogger("stripe").setLevel(logging.WARNING)
    logging.getLogger("alembic").setLevel(logging.WARNING)
