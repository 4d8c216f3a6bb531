"""Activity: what was done in the organization, by whom, for its owners."""

from flask import Blueprint, render_template, request
from flask.typing import ResponseReturnValue
from werkzeug import Response

from portal.infra.audit_reading import Wanted, all_entries_wanted, entries_wanted
from portal.infra.db import SYSTEM, acting_as
from portal.infra.pages import csv_response, policy
from portal.organizations.queries import LONGEST_ID
from portal.signed_in import guard_page, my_seat

PER_PAGE = 50
HEAD = ("at", "kind_of_who", "who", "action", "subject")
bp = Blueprint("activity", __name__)
bp.before_request(guard_page)


@bp.get("/settings/activity")
@policy("manage members")
def show() -> ResponseReturnValue:
    """One page of what was done, newest first. Reasons that staff have written down are theirs."""
    with acting_as(SYSTEM):
        found = entries_wanted(_mine(), before=_cursor(), limit=PER_PAGE + 1)
        shown = found[:PER_PAGE]
        more = shown[-1].id if len(found) > PER_PAGE else None
        return render_template("web/activity/show.html", entries=shown, more=more, paged="after" in request.args)


@bp.get("/settings/activity.csv")
@policy("manage members")
def download() -> Response:
    """All of it as a file."""
    with acting_as(SYSTEM):
        rows = [
            (each.at.isoformat(), each.actor_kind, each.actor_name, each.action, each.subject_kind)
            for block in all_entries_wanted(_mine())
            for each in block
        ]
    return csv_response("activity", HEAD, rows)


def _mine() -> Wanted:
    return Wanted(my_seat().organization_id)


def _cursor() -> int | None:
    """The last row of the page before, as the link to this page names it."""
    after = request.args.get("after", "")
    return int(after) if after.isdecimal() and after.isascii() and len(after) <= LONGEST_ID else None
