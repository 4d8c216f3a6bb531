"""Logs as JSON lines: events with ids, never secrets, e-mail addresses or bodies."""

import json
import logging
import sys
from datetime import UTC, datetime

from flask import g, has_app_context

_STANDARD = set(vars(logging.makeLogRecord({}))) | {"message", "asctime"}


class JsonLines(logging.Formatter):
    """One JSON object a line; control characters in values cannot forge a line."""

    def format(self, record: logging.LogRecord) -> str:
        """Format one record, with the request, organization and job that it belongs to."""
        line = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
        }
        if has_app_context():
            line |= {name: g.get(name) for name in ("request_id", "job_id") if g.get(name)}
        line |= {name: value for name, value in vars(record).items() if name not in _STANDARD}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def configure(level: str) -> None:
    """Send all logs to standard error in one form."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    # The library logs every request at INFO, with the bodies at DEBUG; our journal already holds both.
    logging.getLogger("stripe").setLevel(logging.WARNING)
    logging.getLogger("alembic").setLevel(logging.WARNING)
