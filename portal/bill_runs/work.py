"""The jobs of a run: one per stage and chunk, asked for by what the rows say, so that none can be forgotten.

A job claims its items before it tries them, so that one that kills its process runs out of tries alone.
"""

from collections.abc import Sequence
from datetime import datetime

from rq.timeouts import BaseTimeoutException
from sqlalchemy import func, select, text, update
from sqlalchemy.exc import OperationalError

from portal.bill_runs.models import AT_WORK, BillRun, BillRunItem, ItemState, RunState
from portal.infra import outbox
from portal.infra.db import among, db
from portal.infra.outbox import Lease, LostLease
from portal.invoicing.models import Invoice

GENERATE, FREEZE = "bill_run_generate", "bill_run_freeze"
FINISH, TAKE_BACK = "bill_run_finish", "bill_run_take_back"
CHUNK_SIZE = 500
# In one transaction: somebody who pauses the run waits for no longer than this takes.
AT_ONCE = 250
MOST_ATTEMPTS = 3
# Not the fault of one organization: the job is put back, and its items stay as they are.
NOT_ITS_FAULT = (OperationalError, LostLease, BaseTimeoutException)

# A payer's invoice is frozen after all that it pays for: while one of those is on its way, its turn has not come.
_CLAIM = text("""
    UPDATE bill_run_items AS item
    SET attempts = attempts + 1,
        state = CASE WHEN attempts < :most THEN state ELSE 'failed' END,
        reason = CASE WHEN attempts < :most THEN reason ELSE :reason END,
        updated_at = clock_timestamp()
    WHERE (bill_run_id, organization_id) IN (
        SELECT bill_run_id, organization_id FROM bill_run_items
        WHERE bill_run_id = :run_id AND chunk = :chunk AND state = :state
          AND NOT (state = 'approved' AND EXISTS (
              SELECT FROM payer_links AS link
              JOIN bill_runs AS run ON run.id = :run_id
              JOIN bill_run_items AS part ON part.bill_run_id = run.id AND part.organization_id = link.organization_id
              WHERE link.payer_id = bill_run_items.organization_id AND part.state IN ('approved', 'scheduled')
                AND link.first_day <= run.month AND (link.end_day IS NULL OR link.end_day > run.month)))
        ORDER BY attempts, organization_id LIMIT :limit FOR UPDATE SKIP LOCKED)
    RETURNING organization_id, state
""")

_AT_WORK = text("""
    SELECT EXISTS (
        SELECT FROM bill_runs AS run JOIN bill_run_items AS item ON item.bill_run_id = run.id
        WHERE run.id = :run_id
          AND (run.state = 'generating' AND item.state = 'waiting'
               OR run.state = 'finalizing' AND item.state IN ('waiting', 'approved', 'scheduled')))
""")
_FOLLOW_FINAL = text("""
    UPDATE bill_run_items AS item
    SET state = 'finalized', reason = NULL, held_until = NULL, attempts = 0,
        total = invoice.total, amount_due = invoice.amount_due, fingerprint = invoice.fingerprint,
        updated_at = clock_timestamp()
    FROM invoices AS invoice
    WHERE item.bill_run_id = :run_id AND item.state IN ('generated', 'held', 'approved', 'scheduled', 'failed')
      AND invoice.id = item.invoice_id AND invoice.state = 'finalized'
""")
# By their whole keys: whoever asks which items of the run are among these reads all of the run for every chunk.
_FINISHED = text("""
    UPDATE bill_run_items AS item
    SET state = 'finalized', reason = NULL, held_until = NULL, attempts = 0,
        total = final.total, amount_due = final.amount_due, fingerprint = final.fingerprint,
        updated_at = clock_timestamp()
    FROM unnest(CAST(:runs AS bigint[]), CAST(:organizations AS bigint[]), CAST(:totals AS bigint[]),
                CAST(:amounts_due AS bigint[]), CAST(:fingerprints AS text[]))
         AS final(bill_run_id, organization_id, total, amount_due, fingerprint)
    WHERE item.bill_run_id = final.bill_run_id AND item.organization_id = final.organization_id
""")


def ring(run: BillRun, *, now: datetime) -> None:
    """Ask for a job for every chunk that has something to do in the run's state; in the current transaction.

    Idempotent: a chunk whose job is open keeps it.
    """
    if run.state in AT_WORK:
        for chunk in _chunks(run.id, ItemState.WAITING):
            outbox.enqueue(GENERATE, dedupe_key=f"{run.id}-{chunk}", organization_id=None, run_id=run.id, chunk=chunk)
    if run.state == RunState.FINALIZING:
        ring_for_freezing(run.id)
        for chunk, due_at in _holds(run.id):
            ring_for_end_of_hold(run.id, chunk, due_at, now=now)
    if run.state in (RunState.REVIEW, RunState.CANCELLED):
        for chunk in _chunks(run.id, ItemState.SCHEDULED):
            outbox.enqueue(TAKE_BACK, dedupe_key=f"{run.id}-{chunk}", organization_id=None, run_id=run.id, chunk=chunk)


def ring_for_freezing(run_id: int) -> None:
    """Ask for the freezing of what is approved: the turn of payers comes once what they pay for is final."""
    for chunk in _chunks(run_id, ItemState.APPROVED):
        outbox.enqueue(FREEZE, dedupe_key=f"{run_id}-{chunk}", organization_id=None, run_id=run_id, chunk=chunk)


def ring_for_end_of_hold(run_id: int, chunk: int, ends: datetime, *, now: datetime) -> None:
    """Ask for the end of a chunk's hold window, at its moment; without a window at once."""
    outbox.enqueue(
        FINISH,
        dedupe_key=f"{run_id}-{chunk}",
        organization_id=None,
        run_after=ends if ends > now else None,
        run_id=run_id,
        chunk=chunk,
    )


def _chunks(run_id: int, state: ItemState) -> Sequence[int]:
    query = select(BillRunItem.chunk).where(BillRunItem.bill_run_id == run_id, BillRunItem.state == state)
    return db.session.scalars(query.distinct().order_by(BillRunItem.chunk)).all()


def _holds(run_id: int) -> list[tuple[int, datetime]]:
    """Of each chunk with frozen invoices, when the last of its hold windows ends."""
    query = (
        select(BillRunItem.chunk, func.max(Invoice.finalize_at))
        .join(Invoice, Invoice.id == BillRunItem.invoice_id)
        .where(
            BillRunItem.bill_run_id == run_id,
            BillRunItem.state == ItemState.SCHEDULED,
            Invoice.finalize_at.is_not(None),
        )
        .group_by(BillRunItem.chunk)
        .order_by(BillRunItem.chunk)
    )
    return [(chunk, ends) for chunk, ends in db.session.execute(query) if ends is not None]


def hold_run(run_id: int, *states: RunState) -> BillRun | None:
    """The run, kept in one of these states until the transaction ends; None if it has left them.

    What this session has read in earlier transactions is forgotten: prices may have changed since.
    """
    db.session.expire_all()
    run: BillRun | None = db.session.scalar(
        select(BillRun).where(BillRun.id == run_id).with_for_update(read=True).execution_options(populate_existing=True)
    )
    return run if run is not None and run.state in states else None


def is_at_work(run_id: int) -> bool:
    """Whether jobs still have something to do before the run can leave its stage."""
    return bool(db.session.scalar(_AT_WORK, {"run_id": run_id}))


def claim(lease: Lease, run_id: int, chunk: int, state: ItemState) -> list[int]:
    """The organizations of a chunk to try now, their try counted; one at a time once the job has died before.

    One that has ended its process on every try becomes failed here, and is not returned.
    """
    limit = AT_ONCE if lease.tries == 1 else 1
    while True:
        with lease.transaction() as session:
            claimed = session.execute(
                _CLAIM,
                {
                    "run_id": run_id,
                    "chunk": chunk,
                    "state": state,
                    "limit": limit,
                    "most": MOST_ATTEMPTS,
                    "reason": f"It was tried {MOST_ATTEMPTS} times, and every time the job ended before it was done.",
                },
            ).all()
        found = sorted(row.organization_id for row in claimed if row.state == state)
        if found or not claimed:
            return found


def items_in(run_id: int, organization_ids: Sequence[int], state: ItemState) -> list[BillRunItem]:
    """Those of these items that are still in a state, locked; whoever holds one of them is passed over."""
    return list(
        db.session.scalars(
            select(BillRunItem)
            .where(
                BillRunItem.bill_run_id == run_id,
                among(BillRunItem.organization_id, organization_ids),
                BillRunItem.state == state,
            )
            .order_by(BillRunItem.organization_id)
            .with_for_update(skip_locked=True)
            .execution_options(populate_existing=True)
        )
    )


def move(item: BillRunItem, state: ItemState, *, reason: str | None = None) -> None:
    """Put an item into its next state: its tries begin anew."""
    settle(item, state, reason=reason)
    item.updated_at = func.clock_timestamp()  # type: ignore[assignment]


def settle(item: BillRunItem, state: ItemState, *, reason: str | None = None) -> None:
    """The same for one that was claimed a moment ago, which has set its time: many such changes are sent together."""
    item.state, item.reason, item.attempts, item.held_until = state, reason, 0, None


def move_many(run_id: int, organization_ids: Sequence[int], state: ItemState) -> None:
    """Put many items into their next state, in one statement; what was read of them stays as it was read."""
    db.session.execute(
        update(BillRunItem)
        .where(BillRunItem.bill_run_id == run_id, among(BillRunItem.organization_id, organization_ids))
        .values(state=state, reason=None, attempts=0, updated_at=func.clock_timestamp())
        .execution_options(synchronize_session=False)
    )


def follow_final(run_id: int) -> None:
    """What was made final on an invoice's own page: the run's rows say the same."""
    db.session.execute(_FOLLOW_FINAL, {"run_id": run_id})


def finished(run_id: int, invoices: Sequence[Invoice]) -> None:
    """These invoices of a run are final now: its rows, which the caller has locked, say the same."""
    db.session.execute(
        _FINISHED,
        {
            "runs": [run_id] * len(invoices),
            "organizations": [each.organization_id for each in invoices],
            "totals": [each.total for each in invoices],
            "amounts_due": [each.amount_due for each in invoices],
            "fingerprints": [each.fingerprint for each in invoices],
        },
    )


def fail(lease: Lease, run_id: int, organization_id: int, state: ItemState, error: Exception) -> None:
    """Note, in a transaction of its own, that trying one organization has raised an error; the others go on."""
    with lease.transaction() as session:
        session.execute(
            update(BillRunItem)
            .where(
                BillRunItem.bill_run_id == run_id,
                BillRunItem.organization_id == organization_id,
                BillRunItem.state == state,
            )
            .values(state=ItemState.FAILED, reason=words_of(error), updated_at=func.clock_timestamp())
        )


def words_of(error: Exception) -> str:
    """An unexpected error in one line, for whoever looks at the run."""
    return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"[:500].rstrip(": ")
