"""Versions of prices that take two people: one asks, and another publishes exactly what was seen."""

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, Self
from uuid import UUID

from sqlalchemy import select

from portal.catalog.listing import Entry, entry_of
from portal.catalog.locking import lock_prices
from portal.catalog.models import Meter, Plan, Price, PriceVersion
from portal.catalog.publishing import price_at
from portal.core.errors import InvalidTransition, NotFound
from portal.core.keys import content_hash
from portal.core.pricing import terms_from_json, terms_to_json
from portal.infra.db import db
from portal.organizations import approvals
from portal.organizations.approvals import Person, Wish
from portal.organizations.locking import lock_organization
from portal.organizations.models import ApprovalRequest

# Of a price that is there; and the first version of an organization's own one, of which one waits at a time.
PRICE, OWN_PRICE = "price", "own price"


@dataclass(frozen=True, slots=True)
class NewVersion:
    """A version to publish, with its place in the price list."""

    name: str
    currency: str
    of: Meter | Plan
    match: dict[str, str]
    organization_id: int | None
    for_plan: Plan | None
    terms: dict[str, Any]
    valid_from: date
    note: str | None

    @classmethod
    def of_price(cls, entry: Entry, *, terms: dict[str, Any], valid_from: date, note: str | None) -> Self:
        """Another version of a price. Raises InvalidTransition if it is archived."""
        price = entry.price
        if price.archived_at is not None:
            raise InvalidTransition("The price is archived. Restore it first.")
        whose = price.organization_id, entry.for_plan
        return cls(price.name, price.currency, entry.of, price.match, *whose, terms, valid_from, note)

    @property
    def meter(self) -> Meter | None:
        """What it is the price of, if that is a meter."""
        return self.of if isinstance(self.of, Meter) else None

    @property
    def plan(self) -> Plan | None:
        """What it is the price of, if that is a plan."""
        return self.of if isinstance(self.of, Plan) else None

    def lock(self) -> None:
        """Let nothing become final meanwhile that it would change."""
        if self.organization_id is not None:
            lock_organization(self.organization_id)
        else:
            lock_prices()


def ask_to_publish(new: NewVersion, *, by: Person, now: datetime, within: timedelta) -> ApprovalRequest:
    """Let a version wait for a second person. Idempotent. Raises InvalidTransition if another one of it waits."""
    new.lock()
    price = _price_at(new)
    if price is not None:
        subject = PRICE, price.id
    else:
        assert new.organization_id is not None, "prices of the list are made by files"
        subject = OWN_PRICE, new.organization_id
    wish = Wish(*subject, new.organization_id, _fingerprint(new), _facts(new))
    before = approvals.latest_request(*subject)
    if before is not None and before.is_open(now):
        if before.fingerprint != wish.fingerprint:
            raise InvalidTransition(
                f"Another version waits for a second person, as {before.asked_by} asked. Decide about that one first."
            )
        return before
    return approvals.ask(wish, by=by, now=now, within=within)


def approve(asked: ApprovalRequest, *, by: Person, comment: str, now: datetime) -> NewVersion:
    """Be the second person; whoever calls this publishes the version in the same transaction.

    Raises what approving raises, also if the price has changed since.
    """
    new = version_asked_for(asked)
    new.lock()
    approvals.approve(
        asked.subject_kind, asked.subject_id, fingerprint=_fingerprint(new), by=by, comment=comment, now=now
    )
    return new


def refuse(asked: ApprovalRequest, *, by: Person, comment: str, now: datetime) -> None:
    """Be the second person and say no. Raises what refusing raises."""
    version_asked_for(asked).lock()
    approvals.refuse(asked.subject_kind, asked.subject_id, by=by, comment=comment, now=now)


def request_to_publish(public_id: UUID) -> ApprovalRequest:
    """One request for a price. Raises NotFound."""
    asked = approvals.request_of(public_id)
    if asked.subject_kind not in (PRICE, OWN_PRICE):
        raise NotFound("There is no such request.")
    return asked


def prices_waiting(*, now: datetime) -> list[tuple[ApprovalRequest, date]]:
    """Versions that wait for a second person, each with its first day; whoever waits longest first."""
    waiting = approvals.waiting_requests(PRICE, OWN_PRICE, now=now)
    return [(asked, date.fromisoformat(asked.facts["valid_from"])) for asked in waiting]


def waiting_for(price: Price, *, now: datetime) -> ApprovalRequest | None:
    """The version of a price that waits for a second person, if there is one."""
    asked = approvals.latest_request(PRICE, price.id)
    return asked if asked is not None and asked.is_open(now) else None


def entry_asked_about(asked: ApprovalRequest) -> Entry | None:
    """The price that a request is about; None if there is none yet."""
    if asked.subject_kind == OWN_PRICE:
        return None
    return entry_of(db.session.get_one(Price, asked.subject_id).public_id)


def version_asked_for(asked: ApprovalRequest) -> NewVersion:
    """What a request is about."""
    facts = asked.facts
    kind, _, code = facts["of"].partition(":")
    of = _meter(code) if kind == "meter" else _plan(code)
    return NewVersion(
        name=facts["name"],
        currency=facts["currency"],
        of=of,
        match=facts["match"],
        organization_id=asked.organization_id,
        for_plan=_plan(facts["for_plan"]) if facts["for_plan"] else None,
        terms=facts["terms"],
        valid_from=date.fromisoformat(facts["valid_from"]),
        note=facts["note"],
    )


def _meter(code: str) -> Meter:
    return db.session.scalars(select(Meter).where(Meter.code == code)).one()


def _plan(code: str) -> Plan:
    return db.session.scalars(select(Plan).where(Plan.code == code)).one()


def _facts(new: NewVersion) -> dict[str, Any]:
    return {
        "name": new.name,
        "currency": new.currency,
        "of": f"{'meter' if new.meter else 'plan'}:{new.of.code}",
        "match": new.match,
        "for_plan": new.for_plan.code if new.for_plan else None,
        "terms": terms_to_json(terms_from_json(new.terms)),
        "valid_from": new.valid_from.isoformat(),
        "note": new.note,
    }


def _fingerprint(new: NewVersion) -> str:
    """What changes whenever the wish does, or the price that it is about. Asked of the database, under the lock."""
    price = _price_at(new)
    published = select(PriceVersion.id).where(PriceVersion.price_id == (price.id if price is not None else None))
    is_archived = select(Price.archived_at.is_not(None)).where(Price.id == (price.id if price is not None else None))
    stands = {
        "organization": new.organization_id,
        "versions": list(db.session.scalars(published.order_by(PriceVersion.id))),
        "is_archived": db.session.scalar(is_archived),
    }
    return content_hash(_facts(new) | stands)


def _price_at(new: NewVersion) -> Price | None:
    return price_at(
        {
            "meter_id": new.meter.id if new.meter else None,
            "plan_id": new.plan.id if new.plan else None,
            "organization_id": new.organization_id,
            "for_plan_id": new.for_plan.id if new.for_plan else None,
            "currency": new.currency,
            "match": new.match,
        }
    )
