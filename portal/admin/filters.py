"""Saved filters: what a person of the staff has chosen in a list, kept under a name beside the list's form."""

from typing import Any
from urllib.parse import parse_qsl, urlencode

from flask import flash, redirect, request, url_for
from werkzeug.wrappers import Response as Answer

from portal.admin.staff import staff_blueprint
from portal.core.errors import InvalidInput
from portal.infra.db import transaction
from portal.infra.pages import policy
from portal.organizations.models import SavedFilter
from portal.organizations.saved_filters import filters_of, remove_filter, save_filter
from portal.signed_in import me

# The lists that have them, and the parts of their addresses that choose.
PAGES = {
    "admin_invoices.index": ("month", "state"),
    "admin_organizations.index": ("search",),
    "admin_audit.index": ("organization", "who", "action", "request"),
    "admin_mails.index": ("organization", "state"),
}
bp = staff_blueprint("admin_filters")


@bp.app_context_processor
def _offer() -> dict[str, Any]:
    """Lists show the filters of whoever looks."""
    return {"saved_filters": _filters_here, "chosen_filter": _chosen_here}


def _filters_here() -> list[SavedFilter]:
    return filters_of(me().user_id, request.endpoint or "")


def _chosen_here() -> str:
    """What is chosen on this page, as its address has it; empty for nothing."""
    return _only_choices(request.endpoint or "", request.query_string.decode("latin-1"))


@bp.post("/filters")
@policy("view organizations")
def save() -> Answer:
    """Keep what is chosen; back to the list, which says what became of it."""
    page, query = _page(), request.form.get("query", "")
    query = _only_choices(page, query)
    try:
        with transaction():
            save_filter(me().user_id, page, request.form.get("name", ""), query)
    except InvalidInput as refusal:
        flash(refusal.sentence, "error")
    return _back(page, query)


@bp.post("/filters/remove")
@policy("view organizations")
def remove() -> Answer:
    """Forget one; back to the list."""
    page = _page()
    with transaction():
        remove_filter(me().user_id, page, request.form.get("name", ""))
    return _back(page, _only_choices(page, request.form.get("query", "")))


def _page() -> str:
    page = request.form.get("page", "")
    if page not in PAGES:
        raise InvalidInput("There are no saved filters of this page.", field="page")
    return page


def _only_choices(page: str, query: str) -> str:
    """The part of an address that chooses: without the place in the list and without what is empty."""
    return urlencode([(name, value) for name, value in parse_qsl(query) if name in PAGES.get(page, ())])


def _back(page: str, query: str) -> Answer:
    return redirect(f"{url_for(page)}?{query}" if query else url_for(page), 303)
