"""Lives the year in this process' time zone and tells what came of it, as JSON: files, hashes, and the zones seen.

Public ids, which documents name, are counted instead of drawn, so that two years can be compared to the byte.
"""

import json
import os
import sys
from itertools import count
from types import SimpleNamespace
from typing import Any

from sqlalchemy import text

from portal import create_app
from portal.config import settings_from_env
from portal.infra import ids
from portal.infra.db import db, transaction
from portal.invoicing.credit_note_queries import notes_on
from portal.invoicing.exporting.files import csv_file, json_file
from tests.factories import acting, reload
from tests.scenarios.year import Year


def main() -> None:
    """Live the year and print it."""
    numbers = count(1)
    ids.os = SimpleNamespace(urandom=lambda size: next(numbers).to_bytes(size, "big"))  # type: ignore[assignment]
    ids.time = SimpleNamespace(time_ns=lambda: 1_800_000_000_000_000_000)  # type: ignore[assignment]
    app = create_app(settings_from_env(os.environ))
    with acting(app):
        json.dump(_told(), sys.stdout)
        db.session.remove()
        db.engine.dispose()


def _told() -> dict[str, Any]:
    year = Year()
    zones = [os.environ["TZ"], *_zones_of_the_database()]
    year.live()
    issued = [reload(each) for each in year.issued]
    with transaction():
        notes = [note for invoice in issued for note in notes_on(invoice.id)]
        files = {each.number: [json_file(each).make().decode(), csv_file(each).make().decode()] for each in issued}
    return {
        "zones": zones,
        "files": files,
        "hashes": [each.content_sha256 for each in (*issued, *notes)],
    }


def _zones_of_the_database() -> list[str]:
    """Of the database, and of a session that nobody has told one."""
    with db.engine.connect() as connection:
        session = connection.execute(text("SHOW timezone")).scalar_one()
        stored = connection.execute(
            text(
                "SELECT split_part(setting, '=', 2) FROM pg_db_role_setting, unnest(setconfig) AS setting"
                " WHERE setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database())"
                " AND setting ILIKE 'timezone=%'"
            )
        ).scalar_one()
    return [stored, session]


if __name__ == "__main__":
    main()
