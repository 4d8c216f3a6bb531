"""Invoices with everything that the books can put on them, computed again from their JSON files alone."""

import copy
import json
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest

from portal.catalog.models import Coupon, CouponRedemption, SubscriptionChange, TaxRate
from portal.core.keys import canonical_json, content_hash
from portal.core.statement import LineKind
from portal.core.subscriptions import Interval
from portal.infra.db import transaction
from portal.invoicing.crediting import grant_credit
from portal.invoicing.exporting.files import json_file
from portal.invoicing.models import Invoice
from portal.invoicing.verifying import verify
from tests.factories import (
    MONTH,
    NOW,
    finalize_now,
    make_draft,
    make_meter,
    make_organization,
    make_plan,
    make_price,
    reload,
    subscribe,
    use,
)

pytestmark = pytest.mark.usefixtures("books")
FIRST = datetime(2026, 10, 1, tzinfo=UTC)
LATER = datetime(2026, 12, 5, tzinfo=UTC)
TIERS = {
    "model": "graduated",
    "tiers": [{"up_to": "100", "unit_amount": "1"}, {"up_to": None, "unit_amount": "0.5", "flat_amount": "3"}],
}


@pytest.fixture
def documents() -> list[dict[str, Any]]:
    """October and November of one customer, who has a bit of everything."""
    acme, meter, other = make_organization(), make_meter(dimensions=()), make_meter("egress", dimensions=())
    make_price(meter, TIERS)
    make_price(meter, "0.25", valid_from=date(2026, 10, 11))
    make_price(other, {"model": "package", "unit_amount": "3", "package_size": "10"})
    small, large = make_plan(fee="31"), make_plan("premium", fee="62.5")
    subscription = subscribe(acme, small, FIRST)
    of_plan = {"interval": Interval.YEAR, "credit_meters": ("egress",)}
    reserved = make_plan("reservation", fee="36", terms={"monthly_credit": "7"}, of_plan=of_plan)
    subscribe(acme, reserved, FIRST, anchor_at=FIRST)
    subscribe(acme, make_plan("committed", fee="20", terms={"commitment": "900"}), datetime(2026, 10, 9, 5, tzinfo=UTC))
    with transaction() as session:
        session.add(TaxRate(percent=Decimal("19"), valid_from=date(2026, 1, 1)))
        for percent, products in (("12.5", ["Compute"]), ("3", [])):
            coupon = Coupon(code=f"c{percent}", name=f"Off {percent}", percent=Decimal(percent), products=products)
            session.add(coupon)
            session.flush()
            session.add(CouponRedemption(organization_id=acme.id, coupon_id=coupon.id, first_month=MONTH.first_day))
        for kind in ("promotional", "prepaid"):
            grant_credit(acme.id, kind=kind, name="Gift", amount=777, reason="test", by="Ada", today=NOW.date())
        for moment, plan in (
            (datetime(2026, 10, 20, 6, tzinfo=UTC), large),
            (datetime(2026, 11, 3, tzinfo=UTC), small),
        ):
            session.add(
                SubscriptionChange(
                    organization_id=acme.id,
                    subscription_id=subscription.id,
                    plan_id=plan.id,
                    quantity=1,
                    effective_at=moment,
                )
            )
    for day, quantity in ((3, 120), (12, 77)):
        use(acme, meter, quantity, at=date(2026, 10, day))
    use(acme, other, 25)
    october = finalize_now(make_draft(acme))
    use(acme, meter, 40, at=date(2026, 10, 15), now=LATER)
    use(acme, meter, 9, at=date(2026, 11, 2), now=LATER)
    november = finalize_now(make_draft(acme, MONTH.next), now=LATER)
    return [document_of(october), document_of(november)]


def document_of(invoice: Invoice) -> dict[str, Any]:
    found = verify(json_file(reload(invoice)).make())
    assert found.findings == ()
    document: dict[str, Any] = json.loads(json_file(reload(invoice)).make())["document"]
    return document


def findings_in(document: dict[str, Any]) -> tuple[str, ...]:
    """What is found although the hash was made anew."""
    return verify(canonical_json({"content_sha256": content_hash(document), "document": document}).encode()).findings


def test_a_bit_of_everything_agrees_and_each_changed_figure_of_it_is_named(documents):
    kinds = {line["kind"] for document in documents for line in document["lines"]}
    assert kinds >= set(LineKind) - {LineKind.ONE_OFF, LineKind.CREDIT}
    tried = 0
    for document in documents:
        for place, line in enumerate(document["lines"]):
            for path in PATHS:
                changed = copy.deepcopy(document)
                if raise_figure(changed["lines"][place], path):
                    found = findings_in(changed)
                    assert any(each.startswith(f"Line {place + 1}, {line['description']}: ") for each in found), path
                    tried += 1
    assert tried > 80


# Where figures stand in a line.
PATHS = (
    ("amount",),
    ("discount",),
    ("credited",),
    ("tax",),
    ("derivation", "share"),
    ("derivation", "share_billed"),
    ("derivation", "billed"),
    ("derivation", "used"),
    ("derivation", "already"),
    ("derivation", "terms", "unit_amount"),
    ("derivation", "steps", 0, "amount"),
    ("derivation", "commitments", 0, "amount"),
    ("derivation", "commitments", 0, "fee"),
    ("derivation", "commitments", 0, "share"),
    ("derivation", "granted", 0, "monthly_credit"),
    ("derivation", "rated", 0, "amount"),
    ("derivation", "billed", 0, "amount"),
    ("derivation", "at_most"),
    ("derivation", "base"),
    ("derivation", "parts", 0, 1),
    ("derivation", "net"),
)


def raise_figure(holder: Any, path: tuple[Any, ...]) -> bool:
    """Raise the figure at a place; False if there is none."""
    for name in path[:-1]:
        try:
            holder = holder[name]
        except (KeyError, IndexError, TypeError):
            return False
    last = path[-1]
    value = holder.get(last) if isinstance(holder, dict) else holder[last] if isinstance(holder, list) else None
    match value:
        case int():
            holder[last] = value + 1
        case str() if "/" in value:
            above, _, below = value.partition("/")
            holder[last] = f"{int(above) + 1}/{below}"
        case str():
            holder[last] = str(Decimal(value) + 1)
        case _:
            return False
    return True
