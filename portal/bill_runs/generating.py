"""Computing the drafts of a chunk: totals, and why somebody should look. Nothing of the invoices is changed."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import select, text

from portal.bill_runs.history import before_of_many
from portal.bill_runs.models import AT_WORK, BillRun, BillRunItem, ItemState
from portal.bill_runs.scoring import ASKS, Before, flags_of, score_of
from portal.bill_runs.work import NOT_ITS_FAULT, claim, hold_run, items_in, move, settle, words_of
from portal.core.lifecycle import InvoiceState
from portal.core.periods import Month
from portal.infra.db import among, db
from portal.infra.many_rows import save_together
from portal.infra.outbox import Lease
from portal.invoicing.drafting import Draft
from portal.invoicing.linked_drafts import whole_drafts_of
from portal.invoicing.models import Invoice
from portal.organizations.models import Organization

log = logging.getLogger(__name__)
# Those that have one are found by the unique key. Asking for them would read all invoices of the month for every chunk,
# wherever the database has not heard yet how many there are.
_OPEN_DRAFTS = text("""
    INSERT INTO invoices (public_id, organization_id, period_start, period_end, currency)
    SELECT gen_random_uuid(), id, :month, CAST(:month AS date) + interval '1 month', currency
    FROM organizations
    WHERE id = ANY(:organizations)
    ON CONFLICT DO NOTHING
""")
# A plan that was kept for any ids grows with the invoices of the month. Not for freezing: the checks of foreign keys
# would be planned for every row.
_PLAN_FOR_THESE_IDS = text("SET LOCAL plan_cache_mode = force_custom_plan")
# What computing a draft may change of an item.
_COMPUTED = (
    *("state", "reason", "attempts", "flags", "currency", "invoice_id", "total_before"),
    *("total", "amount_due", "fingerprint", "score", "decided_by", "decided_at"),
)


@dataclass(frozen=True, slots=True)
class _Known:
    """What is read of a whole chunk at once."""

    organizations: dict[int, Organization]
    invoices: dict[int, Invoice]
    before: dict[int, Before]


def generate_chunk(lease: Lease, run_id: int, chunk: int) -> None:
    """Compute what waits in a chunk. One organization that cannot be computed fails alone. Idempotent."""
    while claimed := claim(lease, run_id, chunk, ItemState.WAITING):
        with lease.transaction():
            run = hold_run(run_id, *AT_WORK)
            if run is None:
                return
            db.session.execute(_PLAN_FOR_THESE_IDS)
            if not run.is_rehearsal:
                db.session.execute(_OPEN_DRAFTS, {"month": run.month, "organizations": claimed})
            _generate_together(run, items_in(run_id, claimed, ItemState.WAITING))


def _generate_together(run: BillRun, items: Sequence[BillRunItem]) -> None:
    """Compute many organizations' drafts in one savepoint; if that fails, each in one of its own."""
    try:
        with db.session.begin_nested():
            _compute(run, items)
    except NOT_ITS_FAULT:
        raise
    except Exception:
        log.warning("drafts cannot be computed together", extra={"bill_run_id": run.id, "drafts": len(items)})
        for item in items:
            _generate(run, item)


def _generate(run: BillRun, item: BillRunItem) -> None:
    """Compute one organization's draft in a savepoint, so that its errors are its own."""
    try:
        with db.session.begin_nested():
            _compute(run, [item])
    except NOT_ITS_FAULT:
        raise
    except Exception as error:
        log.exception("draft cannot be computed", extra={"organization_id": item.organization_id})
        move(item, ItemState.FAILED, reason=words_of(error))


def generate_again(run: BillRun, item: BillRunItem) -> None:
    """Compute the draft of one item anew, because it has changed since."""
    _generate(run, item)


def _compute(run: BillRun, items: Sequence[BillRunItem]) -> None:
    known = _known(run.period, [item.organization_id for item in items])
    live = []
    for item in items:
        organization = known.organizations[item.organization_id]
        invoice = known.invoices.get(item.organization_id)
        item.currency, item.total_before = organization.currency, known.before[item.organization_id].total
        item.invoice_id = invoice.id if invoice and not run.is_rehearsal else None
        item.decided_by = item.decided_at = None
        if invoice is not None and invoice.state == InvoiceState.FINALIZED:
            adopt_final(item, invoice)
        elif invoice is not None and invoice.state == InvoiceState.SCHEDULED:
            # Somebody has frozen it by hand, and its own job will finish it.
            item.total, item.amount_due, item.fingerprint = invoice.total, invoice.amount_due, invoice.fingerprint
            move(item, ItemState.SCHEDULED)
        else:
            live.append(item)
    if live:
        # Each row is changed once, at the end.
        with db.session.no_autoflush:
            live_ones = [known.organizations[item.organization_id] for item in live]
            drafts = whole_drafts_of(live_ones, run.period, frozen={})
            for item in live:
                _take_draft(item, drafts[item.organization_id], known.before[item.organization_id])
            save_together(live, _COMPUTED)
    db.session.flush()


def _take_draft(item: BillRunItem, draft: Draft, before: Before) -> None:
    flags = flags_of(draft, before)
    item.total, item.amount_due = draft.statement.total, draft.amount_due
    item.fingerprint = draft.fingerprint
    item.flags = [flag.facts() for flag in flags]
    item.score = score_of(flags)
    settle(item, ItemState.GENERATED if item.score >= ASKS else ItemState.APPROVED)


def adopt_final(item: BillRunItem, invoice: Invoice) -> None:
    """An invoice that is final is done, whoever has finalized it."""
    item.total, item.amount_due, item.fingerprint = invoice.total, invoice.amount_due, invoice.fingerprint
    move(item, ItemState.FINALIZED)


def _known(month: Month, organization_ids: Sequence[int]) -> _Known:
    organizations = db.session.scalars(
        select(Organization).where(among(Organization.id, organization_ids)).execution_options(populate_existing=True)
    )
    invoices = db.session.scalars(
        select(Invoice)
        .where(
            among(Invoice.organization_id, organization_ids),
            Invoice.period_start == month.first_day,
            Invoice.kind == "monthly",
            Invoice.state != InvoiceState.VOID,
        )
        .execution_options(populate_existing=True)
    )
    found = {each.id: each for each in organizations}
    return _Known(
        organizations=found,
        invoices={each.organization_id: each for each in invoices},
        before=before_of_many(found, month),
    )
