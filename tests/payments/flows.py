"""Every flow between the portal and Stripe: how it begins, which calls it makes, and what must be true at its end."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import uuid4

from portal import billing_cycle
from portal.core.lifecycle import SyncState
from portal.infra import clock, outbox
from portal.infra.db import transaction
from portal.invoicing.credit_notes import Wish, issue_credit_note
from portal.invoicing.models import Invoice
from portal.invoicing.voiding import void_invoice
from portal.invoicing.writing_off import write_off
from portal.payments import reconciling
from portal.payments.crediting import sync_credit_note_again
from portal.payments.receiving import store_event
from portal.payments.replaying import replay
from portal.payments.sweeping import LOOK_AGAIN, sweep_open_invoices
from tests.factories import NOW, make_final, make_organization, reload, sql

CUSTOMERS, INVOICES = "/v1/customers", "/v1/invoices"
INVOICE, LINES, NOTES = "/v1/invoices/*", "/v1/invoices/*/lines", "/v1/credit_notes"
SYNCING = [
    f"POST {CUSTOMERS}",
    f"POST {INVOICES}",
    f"POST {INVOICE}/add_lines",
    f"GET {LINES}",
    f"POST {INVOICE}/finalize",
]


@dataclass(frozen=True)
class Flow:
    """`begin` makes an invoice and queues the flow's job; `is_done` looks at both sides when nothing is open."""

    begin: Callable[[Any, str], Invoice]
    calls: list[str]
    is_done: Callable[[Any, Invoice], bool]


def newest_job() -> int:
    """The job that was queued last and is not done."""
    return int(sql("SELECT max(id) FROM outbox WHERE finished_at IS NULL AND dead_at IS NULL")[0][0])


def due(slug: str) -> Invoice:
    """An invoice of 35.45 in two lines, queued for Stripe."""
    return make_final(make_organization(slug), "12.00", "23.45")


def at_stripe(slug: str) -> Invoice:
    """The same, synced."""
    invoice = due(slug)
    outbox.drain()
    synced = reload(invoice)
    assert synced.sync_state == SyncState.SYNCED, synced.sync_message
    return synced


def _sync(sandbox: Any, slug: str) -> Invoice:
    return due(slug)


def _repair(sandbox: Any, slug: str) -> Invoice:
    """A draft on which one of our lines stands twice; its sync had stopped, and somebody asked for it again."""
    sandbox.fault(f"GET {LINES}", "400")
    invoice = due(slug)
    outbox.drain()
    sandbox.heal()
    stopped = reload(invoice)
    assert stopped.sync_state == SyncState.DEAD
    assert stopped.stripe_id is not None
    [draft] = sandbox.invoices(invoice.public_id)
    twice = draft["lines"][0]
    sandbox.act(
        "edit",
        invoice=draft["id"],
        add_line={name: twice[name] for name in ("amount", "description", "metadata")},
    )
    billing_cycle.sync_again(invoice.id)
    return invoice


def _adopt(sandbox: Any, slug: str) -> Invoice:
    """The draft was made, and the error that hid it is stored."""
    sandbox.fault(f"POST {INVOICES}", "500_after")
    invoice = due(slug)
    job = newest_job()
    for _ in range(2):
        outbox.run(job)
        sql("UPDATE outbox SET run_after = clock_timestamp() WHERE id = :id", id=job)
    sandbox.heal()
    return invoice


def _void(sandbox: Any, slug: str) -> Invoice:
    invoice = at_stripe(slug)
    with transaction():
        void_invoice(invoice.id, reason="a mistake", now=NOW)
    return invoice


def _void_unknown(sandbox: Any, slug: str) -> Invoice:
    invoice = _adopt(sandbox, slug)
    with transaction():
        void_invoice(invoice.id, reason="a mistake", now=NOW)
    outbox.run(sql("SELECT id FROM outbox WHERE kind = 'sync_invoice' AND finished_at IS NULL")[0][0])
    return invoice


def _note_of(invoice: Invoice) -> Any:
    [note] = sql("SELECT id, sync_state FROM credit_notes WHERE invoice_id = :id", id=invoice.id)
    return note


def _credit(sandbox: Any, slug: str, *, paid: bool = False) -> Invoice:
    invoice = at_stripe(slug)
    if paid:
        sandbox.act("pay", invoice=invoice.stripe_id)
    with transaction():
        issue_credit_note(
            invoice.id, Wish(amount=500), reason="wrong", by="Ada", form_token=uuid4(), now=NOW, refund=False
        )
    return invoice


def _write_off(sandbox: Any, slug: str) -> Invoice:
    invoice = at_stripe(slug)
    with transaction():
        write_off(invoice.id, reason="insolvent")
    return invoice


def _paid(sandbox: Any, slug: str) -> Invoice:
    invoice = at_stripe(slug)
    sandbox.act("pay", invoice=invoice.stripe_id)
    return invoice


def _webhook(sandbox: Any, slug: str) -> Invoice:
    invoice = _paid(sandbox, slug)
    with transaction():
        store_event(
            {"id": f"evt_{slug}", "type": "invoice.paid", "data": {"object": {"id": invoice.stripe_id, "metadata": {}}}}
        )
    return invoice


def _replay(sandbox: Any, slug: str) -> Invoice:
    invoice = _webhook(sandbox, slug)
    outbox.drain()
    with transaction():
        replay(f"evt_{slug}")
    return invoice


def _sweep(sandbox: Any, slug: str) -> Invoice:
    invoice = _paid(sandbox, slug)
    with transaction():
        outbox.enqueue(LOOK_AGAIN, dedupe_key=str(invoice.id), organization_id=None, invoice_id=invoice.id)
    return invoice


def _reconcile(sandbox: Any, slug: str) -> Invoice:
    """One invoice that both sides have, and one that was voided behind our back."""
    invoice = at_stripe(slug)
    sandbox.act("void", invoice=invoice.stripe_id)
    at_stripe(f"{slug}-too")
    sql("DELETE FROM reconciliations")
    reconciling.begin_nightly(now=clock.now())
    return invoice


def is_sent(sandbox: Any, invoice: Invoice) -> bool:
    """Once at Stripe, open, with our total and each of our lines once."""
    ours = reload(invoice)
    theirs = sandbox.invoices(invoice.public_id)
    marks = [line["metadata"]["item_id"] for each in theirs for line in each["lines"]]
    return (
        [(each["id"], each["status"], each["total"]) for each in theirs] == [(ours.stripe_id, "open", ours.amount_due)]
        and len(set(marks)) == len(marks) == 2
        and ours.sync_state == SyncState.SYNCED
    )


def _is_void(sandbox: Any, invoice: Invoice) -> bool:
    return [each["status"] for each in sandbox.invoices(invoice.public_id)] == ["void"]


def _is_gone(sandbox: Any, invoice: Invoice) -> bool:
    return sandbox.invoices(invoice.public_id) == [] and reload(invoice).stripe_status == "deleted"


def _is_credited(sandbox: Any, invoice: Invoice) -> bool:
    notes = [each for each in sandbox.ledger()["credit_notes"] if each["invoice"] == reload(invoice).stripe_id]
    return [each["total"] for each in notes] == [500] and _note_of(invoice).sync_state == SyncState.SYNCED


def _is_written_off(sandbox: Any, invoice: Invoice) -> bool:
    [theirs] = sandbox.invoices(invoice.public_id)
    return theirs["status"] == reload(invoice).stripe_status == "uncollectible"


def _is_paid(sandbox: Any, invoice: Invoice) -> bool:
    ours = reload(invoice)
    return (ours.payment_state, ours.amount_paid, ours.stripe_status) == ("paid", 3545, "paid")


def _is_reconciled(sandbox: Any, invoice: Invoice) -> bool:
    alive = "FROM drift WHERE state <> 'gone'"
    rows = sql(f"SELECT field, ours, theirs {alive} AND invoice_id = :id", id=invoice.id)
    phases = [row.phase for row in sql("SELECT phase FROM reconciliations")]
    others = sql(f"SELECT count(*) {alive} AND field <> 'status'")
    return (list(map(tuple, rows)), phases, others) == ([("status", "open", "void")], ["done"], [(0,)])


FLOWS = {
    "sync": Flow(_sync, SYNCING, is_sent),
    "repair of a half-built draft": Flow(
        _repair,
        [f"GET {INVOICE}", f"GET {LINES}", f"POST {INVOICE}/remove_lines", f"GET {LINES}", SYNCING[-1]],
        is_sent,
    ),
    "adopting": Flow(_adopt, [f"GET {INVOICES}", *SYNCING[2:]], is_sent),
    "void": Flow(_void, [f"GET {INVOICE}", f"POST {INVOICE}/void"], _is_void),
    "void of what is unknown": Flow(
        _void_unknown, [f"GET {INVOICES}", f"GET {INVOICE}", f"DELETE {INVOICE}"], _is_gone
    ),
    "credit note": Flow(_credit, [f"GET {INVOICE}", f"POST {NOTES}", f"GET {NOTES}", f"GET {INVOICE}"], _is_credited),
    "credit note of a paid invoice": Flow(
        lambda sandbox, slug: _credit(sandbox, slug, paid=True),
        [f"GET {INVOICE}", f"POST {NOTES}", f"GET {NOTES}", f"GET {INVOICE}"],
        _is_credited,
    ),
    "write-off": Flow(
        _write_off, [f"GET {INVOICE}", f"POST {INVOICE}/mark_uncollectible", f"GET {INVOICE}"], _is_written_off
    ),
    "webhook": Flow(_webhook, [f"GET {INVOICE}"], _is_paid),
    "replay": Flow(_replay, [f"GET {INVOICE}"], _is_paid),
    "sweeper": Flow(_sweep, [f"GET {INVOICE}"], _is_paid),
    "reconciling": Flow(_reconcile, [f"GET {CUSTOMERS}", f"GET {INVOICES}"], _is_reconciled),
}


def ask_again_for_what_has_stopped(invoice: Invoice) -> None:
    """What an admin does once the reason is gone."""
    ours = reload(invoice)
    stopped = (SyncState.DEAD, SyncState.MISMATCH)
    if ours.state == "finalized" and ours.sync_state in stopped:
        billing_cycle.sync_again(invoice.id)
        outbox.drain()
        # The clock looks again at whatever is open; a lie that was told about a payment is forgotten then.
        sweep_open_invoices(now=clock.now() + timedelta(hours=1), every=timedelta(0))
    for (note_id,) in sql("SELECT id FROM credit_notes WHERE sync_state IN ('dead', 'mismatch')"):
        with transaction():
            sync_credit_note_again(note_id)
    sql(
        "UPDATE outbox SET dead_at = NULL, tries = 0"
        " WHERE dead_at IS NOT NULL AND kind NOT LIKE 'sync%' AND kind <> 'apply_stripe_event'"
    )
    if sql("SELECT FROM drift WHERE state = 'open' AND field = 'total'"):
        # What was a lie is a difference until the next night.
        sql("DELETE FROM reconciliations")
        reconciling.begin_nightly(now=clock.now())
    for (event_id,) in sql("SELECT event_id FROM stripe_events WHERE state = 'ignored' AND type = 'invoice.paid'"):
        with transaction():
            replay(event_id)
