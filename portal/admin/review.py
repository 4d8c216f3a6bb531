"""Reviewing drafts: the way to the queue, and one organization of a run with why its total has moved."""

from uuid import UUID

from flask import redirect, render_template, url_for
from werkzeug.wrappers import Response as Answer

from portal.admin.run_decisions import reviewers
from portal.admin.staff import staff_blueprint
from portal.bill_runs.models import AT_WORK
from portal.bill_runs.queries import item_of, run_in_review, run_of
from portal.comparing_months import comparison_page
from portal.infra.audit_reading import entries_about
from portal.infra.pages import policy

bp = staff_blueprint("admin_review")


@bp.get("/review")
@policy("view organizations")
def index() -> Answer:
    """To the queue of the earliest month whose run is at work, or to the runs if none is."""
    run = run_in_review()
    if run is None:
        return redirect(url_for("admin_runs.index"), 303)
    return redirect(url_for("admin_runs.show", public_id=run.public_id, _anchor="queue"), 303)


@bp.get("/runs/<uuid:public_id>/organizations/<uuid:organization_id>")
@policy("view organizations")
def show(public_id: UUID, organization_id: UUID) -> str:
    """One organization of a run: the reasons to look, the way from last month's total, and what can be done."""
    run = run_of(public_id)
    item = item_of(run, organization_id)
    return render_template(
        "admin/runs/organization.html",
        run=run,
        item=item,
        comparison=comparison_page(item.invoice) if item.invoice else None,
        reviewers=reviewers(),
        may_decide=run.stage in AT_WORK and not run.is_rehearsal,
        entries=entries_about("invoice", item.invoice_id) if item.invoice_id else [],
    )
