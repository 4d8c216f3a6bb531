"""Doing dead jobs again, after somebody has mended what stopped them; each as its own page would."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from portal.billing_cycle import sync_again
from portal.core.errors import PortalError
from portal.infra import audit, outbox
from portal.infra.db import transaction
from portal.infra.outbox import OutboxJob
from portal.invoicing.credit_notes import SYNC_CREDIT_NOTE
from portal.invoicing.terms import SYNC
from portal.payments.crediting import sync_credit_note_again
from portal.payments.refunding import SYNC_REFUND

# Money is not sent back by a click on a list: a refund that Stripe has refused is started anew on its invoice.
NEVER_BY_LIST = frozenset({SYNC_REFUND})


@dataclass(frozen=True, slots=True)
class Again:
    """How many jobs are under way again, and what was said of the others, each sentence once."""

    started: int
    refusals: tuple[str, ...]


def do_again(jobs: Iterable[OutboxJob]) -> Again:
    """Ask for the work of dead jobs once more, each in its own transaction. Idempotent while the new ones are open.

    Invoices and credit notes go on from what Stripe has answered; a job that has a younger one is left to that.
    """
    started, refusals = 0, dict[str, None]()
    for kind, arguments, key, organization_id in [
        (job.kind, job.arguments, job.dedupe_key, job.organization_id) for job in jobs
    ]:
        if kind in NEVER_BY_LIST:
            refusals["Start the refund anew on its invoice."] = None
            continue
        try:
            _verb_of(kind, arguments, key, organization_id)()
        except PortalError as refusal:
            refusals[refusal.sentence] = None
        else:
            started += 1
    return Again(started, tuple(refusals))


def _verb_of(kind: str, arguments: dict[str, int], key: str, organization_id: int | None) -> Callable[[], None]:
    def of_credit_note() -> None:
        with transaction():
            sync_credit_note_again(arguments["credit_note_id"])

    def of_any() -> None:
        with transaction():
            outbox.enqueue_many(kind, [(key, organization_id, arguments)])
            audit.record(
                "asked to do a job again",
                subject="job",
                subject_id=None,
                organization_id=organization_id,
                after={"kind": kind, "key": key},
            )

    if kind == SYNC:
        return lambda: sync_again(arguments["invoice_id"])
    return of_credit_note if kind == SYNC_CREDIT_NOTE else of_any
