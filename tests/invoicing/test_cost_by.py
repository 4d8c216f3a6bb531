"""Costs by product, meter and dimension: what each comes to, and that all of them add up to the invoice."""

from datetime import UTC, date, datetime
from decimal import Decimal
from random import Random

import pytest

from portal.catalog.models import Coupon, CouponRedemption, Product, TaxRate
from portal.core.errors import InvalidInput
from portal.core.periods import Month
from portal.core.taxes import TaxRounding
from portal.infra.db import transaction
from portal.invoicing.cost_by import Costs, costs_of
from portal.invoicing.cost_days import cost_by_day
from portal.invoicing.cost_table import MOST_VALUES, cost_table, csv_rows
from portal.invoicing.crediting import grant_credit
from portal.invoicing.drafting import draft_of
from portal.invoicing.finalizing import cancel
from portal.invoicing.voiding import void_invoice
from portal.organizations.models import Organization
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
    reload,
    subscribe,
    use,
)
from tests.statements import statements

pytestmark = pytest.mark.usefixtures("books")
TIERS = {"model": "graduated", "tiers": [{"up_to": "60", "unit_amount": "1"}, {"up_to": None, "unit_amount": "0.5"}]}


def costs(
    organization: Organization, by: str | None = None, *, month: Month = MONTH, meter: str | None = None
) -> Costs:
    with transaction():
        return costs_of(organization, month, by=by, meter=meter)


def groups(found: Costs) -> dict[str, int]:
    return {group.label: group.amounts.whole for group in found.groups}


def tax(percent: str, product: str | None = None) -> None:
    with transaction() as session:
        product_id = product and session.query(Product.id).filter_by(name=product).scalar()
        session.add(TaxRate(percent=Decimal(percent), product_id=product_id, valid_from=date(2026, 1, 1)))


def coupon(organization: Organization, code: str, **worth: object) -> None:
    with transaction() as session:
        row = Coupon(code=code, name=code, **{"products": [], **worth})
        session.add(row)
        session.flush()
        session.add(CouponRedemption(organization_id=organization.id, coupon_id=row.id, first_month=MONTH.first_day))


def promotional(organization: Organization, amount: int) -> None:
    with transaction():
        grant_credit(
            organization.id,
            kind="promotional",
            name="Sorry",
            amount=amount,
            reason="test",
            by="Ada",
            today=NOW.date(),
        )


@pytest.fixture
def acme() -> Organization:
    """100 seconds, 60 of them by the web in fra and ams, 30 by the worker, 10 by nobody in particular.

    60 × 1.00 + 40 × 0.50 = 80.00; 10 % off: 72.00.
    """
    organization, meter = make_organization(), make_meter(dimensions=("app", "region"))
    make_price(meter, TIERS)
    use(organization, meter, 45, app="web", region="fra")
    use(organization, meter, 15, app="web", region="ams")
    use(organization, meter, 30, app="worker", region="fra")
    use(organization, meter, 10, region="fra")
    coupon(organization, "ten", percent=Decimal(10))
    return organization


def test_tiers_are_shared_so_everybody_pays_the_average_price(acme):
    # 72.00 for 100 seconds: 0.72 each.
    assert groups(costs(acme, "app")) == {"web": 4_320, "worker": 2_160, "Without app": 720}
    assert groups(costs(acme, "region")) == {"fra": 6_120, "ams": 1_080}
    assert groups(costs(acme, "meter")) == {"machine seconds": 7_200}
    assert groups(costs(acme, "product")) == {"Compute": 7_200}
    assert [str(group.kind) for group in costs(acme, "app").groups] == ["value", "value", "without"]


def test_apps_come_first_and_products_where_nothing_is_told_apart(acme):
    assert costs(acme).question.by == "app"
    assert costs(acme).question.choices == ("product", "meter", "app", "region")
    empty = make_organization("empty")
    assert costs(empty).question.by == "product"
    assert costs(empty).groups == ()


def test_what_no_usage_caused_is_not_attributed_but_has_its_product(acme):
    subscribe(acme, make_plan(), datetime(2026, 10, 1, tzinfo=UTC))
    add(make_draft(acme), "50", "Migration")
    add(make_draft(acme), "-5", "Goodwill")
    tax("20", "Compute")
    # Each 10 % less, but for the credit of 5.00; the tax is on 72.00 of usage and 26.10 of fee.
    found = costs(acme, "app")
    assert groups(found) == {"web": 5_184, "worker": 2_592, "Without app": 864, "Not attributed": 2_610 + 4_500 - 500}
    assert {group.label: group.amounts.tax for group in found.groups}["web"] == 864
    by_product = groups(costs(acme, "product"))
    assert by_product["Compute"] == 8_640
    assert sum(by_product.values()) == sum(groups(found).values()) == found.bill.total.whole


def test_one_meter_leaves_everything_else_beside_it(acme):
    disks = make_meter("disk_hours", dimensions=("app",))
    make_price(disks, "2")
    use(acme, disks, 7, app="web")
    found = costs(acme, "app", meter="disk_hours")
    assert (groups(found), found.rest.whole) == ({"web": 1_260}, 7_200)
    # An app that is named is the same one, whichever meter names it.
    assert groups(costs(acme, "app"))["web"] == 4_320 + 1_260
    # The region is unknown of disks.
    assert groups(costs(acme, "region"))["Without region"] == 1_260


def test_a_correction_is_credited_at_the_average_price():
    organization, meter = make_organization(), make_meter(dimensions=("app",))
    make_price(meter, "0.1")
    use(organization, meter, 100, app="web")
    use(organization, meter, -10, app="old", correction=True)
    assert groups(costs(organization, "app")) == {"web": 1_000, "old": -100}


def test_a_minimum_for_no_usage_is_shared_equally_or_not_attributed():
    organization, meter = make_organization(), make_meter(dimensions=("app",))
    minimum = {"model": "per_unit", "unit_amount": "1", "minimum": "10"}
    make_price(meter, minimum, organization_id=organization.id)
    assert groups(costs(organization, "app")) == {"Not attributed": 1_000}
    assert groups(costs(organization, "meter")) == {"machine seconds": 1_000}
    for app in ("web", "lab", "job"):
        use(organization, meter, 0, app=app)
    assert groups(costs(organization, "app")) == {"job": 334, "lab": 333, "web": 333}


def test_usage_before_and_after_another_plan_is_split_by_the_price_that_billed_it():
    # 10 days at the list's price, the rest at the plan's; the same apps on both sides.
    organization, meter = make_organization(), make_meter(dimensions=("app",))
    make_price(meter, "1")
    plan = make_plan()
    make_price(meter, "0.1", for_plan=plan)
    subscribe(organization, plan, datetime(2026, 10, 11, tzinfo=UTC))
    use(organization, meter, 10, at=date(2026, 10, 5), app="early")
    use(organization, meter, 1, at=date(2026, 10, 5), app="late")
    use(organization, meter, 1, at=date(2026, 10, 20), app="early")
    use(organization, meter, 100, at=date(2026, 10, 20), app="late")
    found = groups(costs(organization, "app"))
    assert (found["early"], found["late"]) == (1_010, 1_100)


def test_a_final_month_is_told_from_what_was_frozen(acme):
    draft = costs(acme, "app")
    invoice = reload(finalize_now(make_draft(acme)))
    # Late usage, other prices: the final invoice stays as it is, and so do its parts.
    use(acme, make_meter(), 1_000, app="late", region="lhr")
    make_price(make_meter(), "9", valid_from=date(2026, 11, 1))
    final = costs(acme, "app")
    assert final.bill.is_final
    assert final.groups == draft.groups
    assert final.bill.total.whole == invoice.total
    assert groups(costs(acme, "region")) == {"fra": 6_120, "ams": 1_080}
    # On the next invoice it belongs to its product only. 600 seconds were not frozen: 1,000 × 0.50, less 10 %.
    november = costs(acme, "app", month=MONTH.next)
    assert groups(november) == {"Not attributed": 45_000}
    assert groups(costs(acme, "product", month=MONTH.next)) == {"Compute": 45_000}


def test_a_month_in_its_hold_window_a_cancelled_and_a_void_one(acme):
    before = costs(acme, "app").groups
    invoice = finalize_now(make_draft(acme), hold_seconds=60)
    use(acme, make_meter(), 50, app="late")
    scheduled = costs(acme, "app")
    assert (scheduled.bill.is_final, scheduled.groups) == (False, before)
    with transaction():
        cancel(invoice.id, now=NOW)
    assert "late" in groups(costs(acme, "app"))
    final = finalize_now(make_draft(acme))
    with transaction():
        void_invoice(final.id, reason="wrong", now=NOW)
    again = costs(acme, "app")
    assert (again.bill.is_final, "late" in groups(again)) == (False, True)


def test_days_add_up_to_the_groups(acme):
    use(acme, make_meter(), 40, at=date(2026, 10, 20), app="web", region="fra")
    found = costs(acme, "app")
    with transaction():
        days = cost_by_day(found, most=1)
    # 100 × 0.63 of the web on two days: 60 on the 10th and 40 on the 20th.
    whole = Decimal(groups(found)["web"]) / 100
    assert days["web"] == {date(2026, 10, 10): whole * 60 / 100, date(2026, 10, 20): whole * 40 / 100}
    others = sum(each for label, each in groups(found).items() if label != "web")
    assert sum(days[None].values()) == Decimal(others) / 100
    with transaction():
        by_product = cost_by_day(costs_of(acme, MONTH, by="product"), most=3)
    assert sum(by_product["Compute"].values()) == Decimal(found.bill.total.whole) / 100


def test_the_table_compares_with_the_month_before(acme):
    use(acme, make_meter(), 10, at=date(2026, 9, 3), app="web")
    use(acme, make_meter(), 5, at=date(2026, 9, 3), app="gone")
    with transaction():
        table = cost_table(acme, MONTH, by="app", meter=None)
    # September had no coupon: 15 × 1.00.
    rows = [(row.label, row.amounts.whole, row.before, row.change, row.share) for row in table.rows]
    assert rows == [
        ("web", 4_320, 1_000, 3_320, Decimal(60)),
        ("worker", 2_160, 0, 2_160, Decimal(30)),
        ("gone", 0, 500, -500, Decimal(0)),
        ("Without app", 720, 0, 720, Decimal(10)),
    ]
    assert (table.total.amounts.whole, table.total.before, table.total.share) == (7_200, 1_500, Decimal(100))
    assert [row[7] for row in csv_rows(table)] == ["43.20", "21.60", "0.00", "7.20", "72.00"]


def test_many_values_are_all_in_the_file_and_the_smallest_together_on_the_page():
    organization, meter = make_organization(), make_meter(dimensions=("app",))
    make_price(meter)
    for number in range(MOST_VALUES + 3):
        use(organization, meter, 1_000 - number, app=f"app-{number:03d}")
    use(organization, meter, 5)
    with transaction():
        table = cost_table(organization, MONTH, by="app", meter=None)
    shown = table.shown
    assert [row.label for row in shown[-2:]] == ["3 others", "Without app"]
    assert len(shown) == MOST_VALUES + 2
    assert sum(row.amounts.whole for row in shown) == table.total.amounts.whole
    assert sum(row.share for row in shown) == Decimal(100)
    assert len(csv_rows(table)) == MOST_VALUES + 5


def test_it_asks_as_often_for_many_values_as_for_one(app, acme):
    with statements(app) as few:
        costs(acme, "app")
    for number in range(20):
        use(acme, make_meter(), 1, app=f"app-{number}", region="ams")
    with statements(app) as many:
        costs(acme, "app")
    assert len(many) == len(few)
    finalize_now(make_draft(acme))
    with statements(app) as of_a_final_month:
        costs(acme, "app")
    # But for the draft's own look at what waits for a meter, no event is read.
    assert [each for each in many if "usage_events" in each and "waiting_events" not in each] == []
    assert [each for each in of_a_final_month if "usage_events" in each] == []


def test_what_there_is_not_is_refused_with_a_sentence(acme):
    for asked in ({"by": "size"}, {"meter": "nothing"}):
        with pytest.raises(InvalidInput) as refusal:
            costs(acme, **{"by": "app", **asked})
        assert refusal.value.field in asked


def terms(random: Random) -> dict[str, object]:
    """A price of any kind, with amounts that do not divide well."""
    price = str(Decimal(random.randrange(1, 9_999)) / 7_000)[:9]
    tiers = [{"up_to": "37.5", "unit_amount": price, "flat_amount": "1.11"}, {"up_to": None, "unit_amount": "0.0123"}]
    return random.choice(
        [
            {"model": "per_unit", "unit_amount": price, "free_quantity": "3"},
            {"model": "per_unit", "unit_amount": price, "minimum": "33.33"},
            {"model": "graduated", "tiers": tiers},
            {"model": "volume", "tiers": tiers},
            {"model": "package", "unit_amount": price, "package_size": "7"},
            {"model": "percentage", "rate_percent": "2.9", "fee_per_event": "0.30"},
        ]
    )


def random_month(random: Random) -> Organization:
    """An organization whose October has something of everything."""
    organization = make_organization(
        prices_include_tax=random.random() < 0.5, tax_rounding=random.choice(list(TaxRounding))
    )
    for number in range(3):
        meter = make_meter(f"meter_{number}", dimensions=[("app", "region"), ("app",), ("region",)][number])
        make_price(meter, terms(random))
        if random.random() < 0.5:
            make_price(meter, terms(random), valid_from=date(2026, 10, random.randrange(2, 31)))
        for _ in range(random.randrange(0, 8)):
            named = {name: random.choice(["a", "b", "c"]) for name in meter.dimensions if random.random() < 0.8}
            quantity, takes_back = Decimal(random.randrange(1, 90_000)) / 1_000, random.random() < 0.15
            day = date(2026, 10, random.randrange(1, 32))
            use(organization, meter, str(-quantity if takes_back else quantity), at=day, correction=takes_back, **named)
    subscribe(organization, make_plan(fee="17.77"), datetime(2026, 10, random.randrange(1, 31), tzinfo=UTC))
    for percent, product in (("19", None), ("7.7", "Compute")):
        if random.random() < 0.7:
            tax(percent, product)
    if random.random() < 0.6:
        coupon(organization, "some", percent=Decimal("12.5"), products=["Compute"])
    if random.random() < 0.6:
        coupon(organization, "fixed", amount=random.randrange(1, 2_000), currency="USD")
    if random.random() < 0.6:
        promotional(organization, random.randrange(1, 5_000))
    if random.random() < 0.6:
        add(make_draft(organization), random.choice(["12.34", "-3.21"]))
    return organization


@pytest.mark.parametrize("seed", range(24))
def test_every_invoice_is_the_sum_of_its_parts(seed):
    organization = random_month(Random(seed))
    with transaction():
        statement = draft_of(organization, MONTH).statement
    live = {by: costs(organization, by) for by in ("product", "meter", "app", "region")}
    for found in live.values():
        assert sum(group.amounts.whole for group in found.groups) == statement.total
        assert sum(group.amounts.tax for group in found.groups) == statement.tax
    for code in live["app"].question.meters:
        of_meter = costs(organization, "app", meter=code)
        assert sum(groups(of_meter).values()) + of_meter.rest.whole == statement.total
        assert sum(groups(of_meter).values()) == groups(live["meter"])[code.replace("_", " ")]
    invoice = reload(finalize_now(make_draft(organization)))
    for by, found in live.items():
        final = costs(organization, by)
        assert final.bill.is_final
        assert final.groups == found.groups
        assert sum(group.amounts.whole for group in final.groups) == invoice.total
