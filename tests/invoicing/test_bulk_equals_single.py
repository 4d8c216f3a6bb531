"""Drafts that are computed, frozen and finished together are the same as each of them alone."""

import random
from contextlib import suppress
from datetime import UTC, date, datetime
from decimal import Decimal
from uuid import uuid4

import pytest

from portal.catalog.coupons import create_coupon, redeem
from portal.catalog.models import TaxRate
from portal.infra.db import transaction
from portal.invoicing.bulk_finalizing import finish_many
from portal.invoicing.bulk_freezing import Approval, SomeRefused, schedule_many
from portal.invoicing.crediting import grant_credit
from portal.invoicing.drafting import draft_of, drafts_of
from portal.invoicing.finalizing import finish, schedule
from tests.factories import (
    MONTH,
    NOW,
    add,
    finalize_now,
    make_draft,
    make_meter,
    make_organization,
    make_plan,
    make_price,
    sql,
    subscribe,
    terms,
    use,
)
from tests.invoicing.random_invoices import TERMS
from tests.statements import statements

pytestmark = pytest.mark.usefixtures("books")
COUNT = 6
# What finalizing writes, and what of it is each row's own whoever wrote it.
WRITTEN = (
    *("invoices", "invoice_items", "billed_usage", "balance_entries", "credit_entries", "invoice_months"),
    *("platform_months", "audit_entries", "outbox", "late_months", "number_series"),
)
OWN = ["id", "public_id", "at", "created_at", "updated_at", "run_after", "woken_at", "content_sha256", "last_error"]


class _Undo(Exception):
    pass


def customers(seed: int):
    """Organizations with everything that an invoice can have, by chance; each with its draft of October."""
    dice = random.Random(seed)
    meters = [make_meter(f"meter_{number}", dimensions=("region",)) for number in range(4)]
    for meter in meters:
        make_price(meter, dice.choice(TERMS))
    make_price(meters[0], dice.choice(TERMS), valid_from=date(2026, 10, 11), open_from=None)
    plan, other = make_plan("support", fee="29"), make_plan("premium", fee="99.5")
    with transaction() as session:
        session.add(TaxRate(percent=Decimal("19"), valid_from=date(2026, 1, 1)))
        create_coupon("ten", name="Ten percent", percent=Decimal(10))
    organizations = []
    for number in range(COUNT):
        organization = make_organization(f"org-{number}", tax_treatment=dice.choice(("standard", "exempt")))
        organizations.append(organization)
        if number % 2 == 0:
            make_price(meters[1], dice.choice(TERMS), organization_id=organization.id, open_from=None)
        if dice.random() < 0.5:
            started_at = datetime(2026, 10, dice.randint(1, 20), 7, tzinfo=UTC)
            subscribe(organization, dice.choice((plan, other)), started_at)
        for meter in dice.sample(meters, dice.randint(1, 4)):
            for day in dice.sample(range(1, 31), 3):
                use(organization, meter, str(dice.randint(1, 40_000) / Decimal(8)),
                    at=date(2026, 10, day), region=dice.choice(("ams", "fra")))  # fmt: skip
        if number % 3 == 0:
            # A credit above the charges of September is October's balance, and usage of September came late.
            add(make_draft(organization, MONTH.previous), "-7.50")
            finalize_now(make_draft(organization, MONTH.previous))
            use(organization, meters[2], 11, at=date(2026, 9, 9), region="ams")
        draft = make_draft(organization)
        for _ in range(dice.choice((0, 1, 2))):
            add(draft, dice.choice(("12.34", "-3.21")), token=uuid4())
        with transaction():
            if dice.random() < 0.5:
                redeem(organization, "ten", first_month=MONTH, today=NOW.date(), open_from=None)
            if dice.random() < 0.6:
                kind = dice.choice(("promotional", "prepaid"))
                grant_credit(organization.id, kind=kind, name="Credit", amount=dice.randint(1, 9_000), reason="test",
                             by="Ada", today=NOW.date())  # fmt: skip
    return organizations


def approvals(organizations) -> dict[int, Approval]:
    """Every draft of October as it stands."""
    with transaction():
        drafts = drafts_of(organizations, MONTH, frozen={})
    rows = sql("SELECT id, organization_id FROM invoices WHERE period_start = '2026-10-01' ORDER BY id")
    return {row.id: Approval(drafts[row.organization_id].fingerprint, "Ada") for row in rows}


def rows_after(do) -> dict[str, list]:
    """The rows that something writes, which is then taken back."""
    found = {}
    with suppress(_Undo), transaction() as session:
        do()
        session.flush()
        for table in WRITTEN:
            rows = session.connection().exec_driver_sql(f"SELECT to_jsonb(t) FROM {table} AS t").scalars()
            found[table] = sorted((_facts(row) for row in rows), key=repr)
        raise _Undo
    return found


def _facts(row: dict) -> dict:
    for line in (row.get("document") or {}).get("lines", ()):
        line.pop("id")
    return {name: value for name, value in sorted(row.items()) if name not in OWN}


@pytest.mark.parametrize("seed", [1, 2])
def test_many_at_once_are_what_each_is_alone(seed):
    organizations = customers(seed)
    with transaction():
        together = drafts_of(organizations, MONTH, frozen={})
        for organization in organizations:
            assert draft_of(organization, MONTH) == together[organization.id]
    assert any(draft.statement.balance_applied for draft in together.values())
    approved = approvals(organizations)

    def one_by_one() -> None:
        for invoice_id, seen in approved.items():
            schedule(invoice_id, fingerprint=seen.fingerprint, by=seen.by, now=NOW, terms=terms())
        for invoice_id in approved:
            finish(invoice_id, now=NOW, terms=terms())

    def in_bulk() -> None:
        schedule_many(approved, now=NOW, terms=terms())
        finish_many(list(approved), now=NOW, terms=terms())

    single, bulk = rows_after(one_by_one), rows_after(in_bulk)
    for table in WRITTEN:
        assert bulk[table] == single[table], table
    assert len(bulk["billed_usage"]) >= 3 * COUNT
    assert sum(row["state"] == "finalized" for row in bulk["invoices"]) >= COUNT


def test_one_that_changed_leaves_all_as_they_were_and_is_named():
    organizations = customers(4)
    approved = approvals(organizations)
    before = rows_after(lambda: None)
    changed = make_draft(organizations[1]).id
    add(make_draft(organizations[1]), "1.00")
    with pytest.raises(SomeRefused) as refused, transaction():
        schedule_many(approved, now=NOW, terms=terms())
    assert list(refused.value.reasons) == [changed]
    after = rows_after(lambda: None)
    for table in set(WRITTEN) - {"audit_entries"}:
        assert after[table] == before[table], table


def test_many_drafts_take_as_many_statements_as_two(app):
    meter = make_meter()
    make_price(meter)
    organizations = [make_organization(f"org-{number}") for number in range(12)]
    for organization in organizations:
        use(organization, meter, 5, region="ams")
    counts = []
    for wanted in (organizations[:2], organizations):
        with transaction(), statements(app) as seen:
            drafts_of(wanted, MONTH, frozen={})
        counts.append(len(seen))
    assert counts[0] == counts[1] <= 15
