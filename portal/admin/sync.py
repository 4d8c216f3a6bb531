"""The way to Stripe: what waits, what was given up, what Stripe has told us; and sending again."""

from datetime import timedelta
from uuid import UUID

from flask import flash, redirect, render_template, url_for
from werkzeug.wrappers import Response

from portal.admin.refusing import refused
from portal.admin.staff import staff_blueprint
from portal.billing_cycle import sync_again
from portal.core.errors import InvalidTransition
from portal.core.lifecycle import SyncState
from portal.infra import clock
from portal.infra.outbox_health import dead_jobs, open_work
from portal.infra.pages import policy
from portal.invoicing.queries import counts_by_sync_state, invoice_of, invoices_by_id, invoices_needing_attention
from portal.payments.breaker import standing
from portal.payments.queries import latest_events

NOT_LATE, MINUTE = timedelta(0), timedelta(minutes=1)
bp = staff_blueprint("admin_sync")


@bp.get("/sync")
@policy("view organizations")
def index() -> str:
    """The health of everything between the portal and Stripe, read from PostgreSQL."""
    now = clock.now()
    dead = dead_jobs()
    counts = counts_by_sync_state()
    return render_template(
        "admin/sync/index.html",
        now=now,
        circuit=standing(),
        work=[(each, max(now - each.due_at, NOT_LATE) // MINUTE) for each in open_work()],
        dead=dead,
        invoice_of_job=invoices_by_id({job.arguments["invoice_id"] for job in dead if "invoice_id" in job.arguments}),
        counts=[(state, counts.get(state, 0)) for state in SyncState],
        attention=invoices_needing_attention(),
        events=latest_events(),
    )


@bp.post("/invoices/<uuid:public_id>/sync")
@policy("repair the Stripe sync")
def again(public_id: UUID) -> Response | tuple[str, int]:
    """Send an invoice whose sync has stopped once more; what Stripe has answered is not repeated."""
    try:
        sync_again(invoice_of(public_id).id)
    except InvalidTransition as refusal:
        return refused(public_id, refusal, title="Nothing was sent")
    flash("The invoice is sent again. Steps that Stripe has answered are not repeated.", "success")
    return redirect(url_for("admin_invoices.show", public_id=public_id), 303)
