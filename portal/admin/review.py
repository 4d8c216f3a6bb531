"""Reviewing drafts: the way to the queue, and one organization of a run with why its total has moved."""

from collections.abc import Iterable
from uuid import UUID

from flask import Response, redirect, render_template, url_for
from werkzeug.wrappers import Response as Answer

from portal.admin.staff import staff_blueprint
from portal.admin.waterfalls import picture_of
from portal.bill_runs.models import AT_WORK, BillRunItem
from portal.bill_runs.queries import item_of, run_in_review, run_of
from portal.bill_runs.waterfall import Billed, Waterfall, waterfall
from portal.core.lifecycle import InvoiceState
from portal.core.money import major_text
from portal.core.periods import Month
from portal.infra.audit_reading import entries_about
from portal.infra.pages import csv_response, policy
from portal.invoicing.drafting import draft_of
from portal.invoicing.queries import invoice_for_month, items_of

bp = staff_blueprint("admin_review")


@bp.get("/review")
@policy("view organizations")
def index() -> Answer:
    """To the queue of the earliest month whose run is at work, or to the runs if none is."""
    run = run_in_review()
    if run is None:
        return redirect(url_for("admin_runs.index"), 303)
    return redirect(url_for("admin_runs.show", public_id=run.public_id, _anchor="queue"), 303)


@bp.get("/runs/<uuid:public_id>/organizations/<uuid:organization>")
@policy("view organizations")
def show(public_id: UUID, organization: UUID) -> str:
    """One organization of a run: the reasons to look, the way from last month's total, and what can be done."""
    run = run_of(public_id)
    item = item_of(run, organization)
    found = _waterfall(item, run.period)
    names = (f"{run.period.previous.first_day:%B}", f"{run.period.first_day:%B}")
    return render_template(
        "admin/runs/organization.html",
        run=run,
        item=item,
        found=found,
        names=names,
        picture=picture_of(found, names, item.currency),
        may_decide=run.stage in AT_WORK and not run.is_rehearsal,
        entries=entries_about("invoice", item.invoice_id) if item.invoice_id else [],
    )


@bp.get("/runs/<uuid:public_id>/organizations/<uuid:organization>/steps.csv")
@policy("view organizations")
def as_csv(public_id: UUID, organization: UUID) -> Response:
    """The steps from last month's total to this month's."""
    run = run_of(public_id)
    item = item_of(run, organization)
    found = _waterfall(item, run.period)
    rows = [
        (f"Total of {run.period.previous}", found.before),
        *((step.name, step.change) for step in found.steps),
        (f"Total of {run.period}", found.after),
    ]
    written = ((name, major_text(amount, item.currency), item.currency) for name, amount in rows)
    return csv_response(f"steps-{item.organization.slug}-{run.period}", ("step", "amount", "currency"), written)


def _waterfall(item: BillRunItem, month: Month) -> Waterfall:
    return waterfall(_billed(item, month.previous), _billed(item, month))


def _billed(item: BillRunItem, month: Month) -> Iterable[Billed]:
    """The lines of a month: as they were frozen, or as they are now. A month without a final invoice is its draft."""
    invoice = invoice_for_month(item.organization_id, month)
    if invoice is not None and invoice.state in (InvoiceState.FINALIZED, InvoiceState.SCHEDULED):
        return items_of(invoice.id)
    return draft_of(item.organization, month).statement.lines
