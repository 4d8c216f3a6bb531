"""Search everything: one field for names, numbers, addresses and ids, ours and Stripe's."""

from flask import redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from portal.admin.staff import staff_blueprint
from portal.core.errors import InvalidInput
from portal.infra.pages import policy
from portal.searching import Found, search

bp = staff_blueprint("admin_searching")
KINDS = {
    "organization": "Organizations",
    "invoice": "Invoices",
    "credit note": "Credit notes",
    "person": "People",
    "item": "One-off items",
    "API key": "API keys",
    "request": "Requests",
}
_PAGES = {
    "organization": "admin_organizations.show",
    "invoice": "admin_invoices.show",
    "credit note": "admin_credit_notes.show",
    "person": "admin_organizations.show",
    "item": "admin_invoices.show",
    "API key": "admin_organizations.show",
}


@bp.get("/search")
@policy("view organizations")
def index() -> ResponseReturnValue:
    """What fits the words; straight to the page if one thing is exactly what was typed."""
    typed = request.args.get("q", "")
    if not typed.strip():
        return render_template("admin/search/index.html", typed="", groups=None, sentence=None)
    try:
        found = search(typed)
    except InvalidInput as refusal:
        return render_template("admin/search/index.html", typed=typed, groups=None, sentence=refusal.sentence), 422
    exact = [each for each in found if each.is_exact]
    if len(exact) == 1:
        return redirect(_address(exact[0]) or url_for(".index"), 303)
    groups = [(label, [(each, _address(each)) for each in found if each.kind == kind]) for kind, label in KINDS.items()]
    return render_template(
        "admin/search/index.html", typed=typed, groups=[group for group in groups if group[1]], sentence=None
    )


def _address(found: Found) -> str | None:
    if found.kind == "request":
        return url_for("admin_audit.index", request=found.name)
    if found.public_id is None:
        return None
    return url_for(_PAGES[found.kind], public_id=found.public_id)
