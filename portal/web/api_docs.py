"""The API for people to read: every operation with its fields, answers and examples. For anybody, signed in or not."""

from flask import Blueprint, current_app, render_template

from portal.api_description import document, operations_by_tag, shared_answers, shared_objects
from portal.infra.pages import policy
from portal.signed_in import guard_page

bp = Blueprint("api_docs", __name__)
bp.before_request(guard_page)


@bp.get("/api/docs")
@policy("public")
def show() -> str:
    """All of it on one page, from the same file that programs read."""
    return render_template(
        "web/api_docs/show.html",
        info=document()["info"],
        groups=operations_by_tag(),
        refusals=shared_answers(),
        objects=shared_objects(),
        portal_url=current_app.config["SETTINGS"].portal_url,
    )
