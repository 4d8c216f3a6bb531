"""Today: what needs somebody, and how the months stand."""

from flask import render_template

from portal.admin.staff import staff_blueprint
from portal.catalog.seconding import prices_waiting
from portal.core.lifecycle import InvoiceState
from portal.core.periods import Month
from portal.infra import clock
from portal.infra.outbox_health import count_dead_jobs
from portal.infra.pages import policy
from portal.invoicing.queries import (
    counts_by_state,
    drafts_in_review,
    invoices_needing_attention,
)
from portal.invoicing.seconding import drafts_waiting
from portal.usage.waiting_queries import count_waiting

SHOWN = 10
bp = staff_blueprint("admin")


@bp.get("")
@policy("view organizations")
def today() -> str:
    """What needs me, and the months that are on the way."""
    month = Month.of(clock.now())
    months = [month, month.previous]
    counts = counts_by_state(months)
    is_over = [count for (day, state), count in counts.items() if state == InvoiceState.DRAFT and day < month.first_day]
    approvals, approvals_count = drafts_waiting(now=clock.now(), limit=SHOWN)
    attention = invoices_needing_attention()
    return render_template(
        "admin/today.html",
        drafts=drafts_in_review(month.previous, limit=SHOWN),
        drafts_count=sum(is_over),
        attention=attention[:SHOWN],
        attention_count=len(attention),
        dead_count=count_dead_jobs(),
        waiting_count=count_waiting(),
        approvals=approvals,
        approvals_count=approvals_count,
        prices=prices_waiting(now=clock.now()),
        states=list(InvoiceState),
        months=[(each, [counts.get((each.first_day, state), 0) for state in InvoiceState]) for each in months],
    )
