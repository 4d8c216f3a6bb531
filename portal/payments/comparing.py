"""Comparing an invoice here with the one at Stripe: pure, from facts on both sides to a list of differences."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from portal.core.errors import InvalidInput
from portal.core.lifecycle import InvoiceState, PaymentState
from portal.core.money import major_text
from portal.payments.drift_models import Field
from portal.payments.stripe_units import is_same, stripe_text, to_stripe

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# What may stand here while Stripe says this. Written down twice on purpose: settling.py moves, this one checks.
PAYMENT_AT = {
    "open": {PaymentState.OPEN, PaymentState.PROCESSING, PaymentState.ACTION_REQUIRED, PaymentState.FAILED},
    "paid": {PaymentState.PAID, PaymentState.REFUNDED, PaymentState.DISPUTED},
    "uncollectible": {PaymentState.UNCOLLECTIBLE},
}


@dataclass(frozen=True, slots=True)
class Ours:
    """What of an invoice here is compared. `lines` is how many of them Stripe should have."""

    id: int
    public_id: UUID
    organization_id: int
    organization_public_id: UUID
    state: str
    sync_state: str
    payment_state: str
    currency: str
    amount_due: int
    stripe_id: str | None
    customer: str | None
    lines: int
    is_on_its_way: bool

    @property
    def amount_text(self) -> str:
        """What is due, for people: "12.50 USD"."""
        return f"{major_text(self.amount_due, self.currency)} {self.currency}"


@dataclass(frozen=True, slots=True)
class Theirs:
    """An invoice as Stripe shows it in a list; `mark` is our public id, if it carries one."""

    id: str
    created_at: datetime
    mark: UUID | None
    customer: str | None
    customer_is_deleted: bool
    customer_mark: UUID | None
    currency: str
    total: int
    status: str
    lines: int | None
    document: Mapping[str, Any]

    @property
    def text(self) -> str:
        """What it is, for people: "open, 12.50 USD"."""
        return f"{self.status}, {stripe_text(self.total, self.currency)}"


@dataclass(frozen=True, slots=True)
class Difference:
    """One field in which the two sides differ, and how much money it is about, in Stripe's units."""

    field: Field
    organization_id: int | None
    invoice_id: int | None
    stripe_id: str | None
    stripe_created_at: datetime | None
    ours: str | None
    theirs: str | None
    amount: int = 0
    currency: str | None = None


def read_theirs(document: Mapping[str, Any]) -> Theirs:
    """Stripe's invoice as facts. Its customer may be expanded or only named."""
    found = document.get("customer")
    customer: Mapping[str, Any] = found if isinstance(found, Mapping) else {"id": found}
    return Theirs(
        id=document["id"],
        created_at=moment_of(document["created"]),
        mark=uuid_in(document, "invoice_id"),
        customer=customer.get("id"),
        customer_is_deleted=bool(customer.get("deleted")),
        customer_mark=uuid_in(customer, "organization_id"),
        currency=document["currency"].upper(),
        total=document["total"],
        status=document["status"],
        lines=_lines_in(document.get("lines") or {}),
        document=document,
    )


def moment_of(seconds: int) -> datetime:
    """A moment of Stripe's, which counts whole seconds."""
    return _EPOCH + timedelta(seconds=seconds)


def uuid_in(document: Mapping[str, Any], name: str) -> UUID | None:
    """An id of ours in Stripe's metadata; None if there is none, or another system's."""
    try:
        return UUID((document.get("metadata") or {}).get(name, ""))
    except ValueError:
        return None


def _lines_in(lines: Mapping[str, Any]) -> int | None:
    """How many lines there are; None if the page shows only the first ones and does not say."""
    if not lines.get("has_more"):
        return len(lines.get("data", ()))
    count = lines.get("total_count")
    return count if isinstance(count, int) else None


def differences(ours: Ours, theirs: Theirs) -> Iterator[Difference]:
    """Where the invoice at Stripe is not ours, field by field. One that is on its way is not compared yet."""

    def differs(field: Field, mine: str | None, yours: str | None, amount: int = 0) -> Difference:
        return _about(ours, theirs, field, mine, yours, amount)

    if theirs.id != ours.stripe_id:
        if theirs.status != "void":
            yield differs(Field.DUPLICATE, ours.stripe_id, theirs.text, abs(theirs.total))
        return
    if ours.is_on_its_way:
        return
    if theirs.currency != ours.currency:
        yield differs(Field.CURRENCY, ours.currency, theirs.currency)
    elif not is_same(ours.amount_due, theirs.total, ours.currency):
        gap = abs(_units(ours) - theirs.total)
        yield differs(Field.TOTAL, ours.amount_text, stripe_text(theirs.total, theirs.currency), gap)
    if theirs.lines is not None and theirs.lines != ours.lines:
        yield differs(Field.LINES, str(ours.lines), str(theirs.lines))
    if theirs.customer_is_deleted:
        yield differs(Field.CUSTOMER, ours.customer, f"{theirs.customer} (deleted)")
    elif theirs.customer != ours.customer:
        yield differs(Field.CUSTOMER, ours.customer, theirs.customer)
    if (ours.state == InvoiceState.VOID) != (theirs.status == "void") or theirs.status == "draft":
        standing = ours.payment_state if ours.state == InvoiceState.FINALIZED else ours.state
        yield differs(Field.STATUS, standing, theirs.status)
    elif ours.state == InvoiceState.FINALIZED and ours.payment_state not in PAYMENT_AT.get(theirs.status, ()):
        yield differs(Field.PAYMENT, ours.payment_state, theirs.status)


def missing_at_stripe(ours: Ours) -> Difference | None:
    """An invoice that Stripe should have and has not; None if it need not, or is on its way."""
    if ours.state != InvoiceState.FINALIZED or not ours.amount_due or ours.is_on_its_way:
        return None
    what = f"{ours.stripe_id or ours.sync_state}, {ours.amount_text}"
    return _about(ours, None, Field.EXISTENCE, what, None, _units(ours))


def unadopted(theirs: Theirs, ours: Ours | None, organization_id: int | None) -> Difference | None:
    """An invoice at Stripe that carries our mark, and that we have forgotten; None if nobody is asked for money."""
    if theirs.status == "void" and (ours is None or ours.state == InvoiceState.VOID):
        return None
    known = None if ours is None else f"{ours.state}, not sent"
    if ours is not None:
        return _about(ours, theirs, Field.UNADOPTED, known, theirs.text, abs(theirs.total))
    return _only_theirs(theirs, Field.UNADOPTED, organization_id, abs(theirs.total))


def unmanaged(theirs: Theirs, organization_id: int | None) -> Difference:
    """An invoice at Stripe that is not ours: listed, never touched, and no money of ours."""
    return _only_theirs(theirs, Field.UNMANAGED, organization_id, 0)


def _about(
    ours: Ours, theirs: Theirs | None, field: Field, mine: str | None, yours: str | None, amount: int
) -> Difference:
    return Difference(
        field=field,
        organization_id=ours.organization_id,
        invoice_id=ours.id,
        stripe_id=theirs.id if theirs else ours.stripe_id,
        stripe_created_at=theirs.created_at if theirs else None,
        ours=mine,
        theirs=yours,
        amount=amount,
        currency=theirs.currency if theirs else ours.currency,
    )


def _only_theirs(theirs: Theirs, field: Field, organization_id: int | None, amount: int) -> Difference:
    return Difference(
        field=field,
        organization_id=organization_id,
        invoice_id=None,
        stripe_id=theirs.id,
        stripe_created_at=theirs.created_at,
        ours=None,
        theirs=theirs.text,
        amount=amount,
        currency=theirs.currency,
    )


def _units(ours: Ours) -> int:
    """What is due in Stripe's units; 0 for an amount that Stripe cannot take, which is a difference all the same."""
    try:
        return to_stripe(ours.amount_due, ours.currency)
    except InvalidInput:
        return 0


def same_lines(ours: Sequence[Mapping[str, Any]], theirs: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a customer reads the same lines on both: words, amount and period, in whatever order."""
    return sorted(map(_read_by_a_customer, ours)) == sorted(map(_read_by_a_customer, theirs))


def _read_by_a_customer(line: Mapping[str, Any]) -> tuple[str, int, int, int]:
    period = line["period"]
    return line.get("description") or "", line["amount"], period["start"], period["end"]
