"""Putting an announcement away."""

from uuid import UUID

from flask import Blueprint, redirect, request
from flask.typing import ResponseReturnValue

from portal.announcements.queries import announcement_of
from portal.announcements.writing import put_away
from portal.infra import clock
from portal.infra.db import SYSTEM, acting_as, transaction
from portal.infra.pages import policy
from portal.signed_in import guard_page, me, safe_next

bp = Blueprint("announcements", __name__)
bp.before_request(guard_page)


@bp.post("/announcements/<uuid:public_id>/put-away")
@policy("signed in")
def dismiss(public_id: UUID) -> ResponseReturnValue:
    """Show it to me no more, and go back to the page."""
    announcement = announcement_of(public_id)
    with acting_as(SYSTEM), transaction():
        put_away(announcement.id, me().user_id, now=clock.now())
    return redirect(safe_next(request.form.get("next")), 303)
