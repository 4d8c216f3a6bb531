"""Taking over which payment method an organization has at Stripe. An event only says "look again" at the customer.

What was set up last becomes the default, because that is what invoices that are charged automatically are charged to.
"""

from collections.abc import Callable, Mapping
from datetime import date, datetime
from functools import partial
from typing import Any
from uuid import UUID, uuid5

from sqlalchemy import select

from portal.core.saying import Said
from portal.infra import audit, clock
from portal.infra.db import db
from portal.infra.outbox import Lease
from portal.organizations.locking import lock_organization
from portal.organizations.models import Organization
from portal.payments import gateway, journal
from portal.payments.method_models import PaymentMethod

COMPLETED = "checkout.session.completed"
_ABOUT_METHODS = ("attached", "detached", "updated", "automatically_updated")
EVENTS = frozenset({COMPLETED, "customer.updated", *(f"payment_method.{what}" for what in _ABOUT_METHODS)})
_FACTS = ("stripe_id", "kind", "brand", "last4", "exp_month", "exp_year")
TakeOver = Callable[[datetime], None]


def method_of(organization_id: int) -> PaymentMethod | None:
    """The payment method that Stripe charges; None if there is none, as far as Stripe has told."""
    found = db.session.get(PaymentMethod, organization_id)
    return found if found is not None and found.stripe_id is not None else None


def how_paid(organization: Organization, method: PaymentMethod | None, *, days_until_due: int, today: date) -> str:
    """How invoices are paid, in a sentence for the customer."""
    if organization.collection_method == "send_invoice":
        if not days_until_due:
            return Said("You pay each invoice at once.")
        if days_until_due == 1:
            return Said("You pay each invoice within 1 day.")
        return Said("You pay each invoice within %(days)s days.", days=days_until_due)
    if method is None:
        return Said(
            "Invoices are charged automatically, but there is no payment method yet: set one up to have them paid."
        )
    if method.is_expired(today):
        return Said(
            "Invoices are charged automatically to %(method)s, which has expired: set up another one.",
            method=method.words,
        )
    return Said("Each invoice is charged automatically to %(method)s.", method=method.words)


def looking_again(event_type: str, subject: Mapping[str, Any]) -> Callable[[Lease], TakeOver] | None:
    """What an event about payment methods asks for, in the current transaction; None if it is not about ours.

    The function that is returned reads at Stripe; what it returns is applied in a transaction.
    """
    customer = subject.get("id") if subject.get("object") == "customer" else subject.get("customer")
    query = select(Organization.id, Organization.public_id, Organization.stripe_customer_id)
    if isinstance(customer, str):
        query = query.where(Organization.stripe_customer_id == customer)
    else:
        # What was detached names its customer no more.
        query = query.join(PaymentMethod).where(PaymentMethod.stripe_id == str(subject.get("id")))
    found = db.session.execute(query).one_or_none()
    if found is None:
        return None
    session_id = subject.get("id") if event_type == COMPLETED else None
    return partial(_look, found.id, found.public_id, found.stripe_customer_id, session_id)


def _look(organization_id: int, public_id: UUID, customer: str, session_id: str | None, lease: Lease) -> TakeOver:
    if session_id is not None:
        _make_default(lease, organization_id, public_id, customer, session_id)
    asked_at = clock.now()
    theirs = journal.read_now(partial(gateway.read_customer, customer))
    return partial(_take_over, organization_id, _facts_of(_default_of(theirs)), asked_at)


def _make_default(lease: Lease, organization_id: int, public_id: UUID, customer: str, session_id: str) -> None:
    """Make what a finished session has set up the default, unless it is gone again or a newer one is the default."""
    session = journal.read_now(partial(gateway.read_setup, session_id))
    intent = session.get("setup_intent")
    made = intent.get("payment_method") if isinstance(intent, dict) else None
    if not isinstance(made, dict) or made.get("customer") != customer:
        return
    current = _default_of(journal.read_now(partial(gateway.read_customer, customer)))
    if current is not None and (current["id"] == made["id"] or current.get("created", 0) > made.get("created", 0)):
        return
    journal.perform(
        lease,
        "default_method",
        subject=uuid5(public_id, session_id),
        organization_id=organization_id,
        invoice_id=None,
        target=customer,
        parameters=lambda: {"invoice_settings": {"default_payment_method": made["id"]}},
        repeatable=True,
    )


def _default_of(customer: Mapping[str, Any]) -> dict[str, Any] | None:
    method = (customer.get("invoice_settings") or {}).get("default_payment_method")
    return method if isinstance(method, dict) else None


def _facts_of(method: Mapping[str, Any] | None) -> dict[str, Any]:
    """What is kept of Stripe's payment method; all None for none."""
    if method is None:
        return dict.fromkeys(_FACTS)
    kind = method.get("type") or "payment method"
    details = method.get(kind) or {}
    shown = {name: details.get(name) for name in ("brand", "last4", "exp_month", "exp_year")}
    return {"stripe_id": method["id"], "kind": kind, **shown}


def _take_over(organization_id: int, facts: dict[str, Any], asked_at: datetime, now: datetime) -> None:
    """Store what Stripe said, unless a later reading has been stored. Idempotent."""
    lock_organization(organization_id)
    known = db.session.get(PaymentMethod, organization_id, populate_existing=True)
    if known is not None and known.read_at > asked_at:
        return
    before = {name: getattr(known, name) for name in _FACTS} if known else dict.fromkeys(_FACTS)
    if known is None:
        known = PaymentMethod(organization_id=organization_id)
        db.session.add(known)
    for name, value in facts.items():
        setattr(known, name, value)
    known.read_at = asked_at
    if facts != before:
        audit.record(
            "payment method changed",
            subject="organization",
            subject_id=organization_id,
            organization_id=organization_id,
            before=before,
            after=facts,
        )
