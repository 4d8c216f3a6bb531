"""Coupons: what can be made of them, who gets them, and beside which others they stand."""

from datetime import UTC, date, datetime
from decimal import Decimal
from functools import partial
from uuid import uuid4

import pytest

from portal.catalog.coupons import (
    active_coupons,
    create_coupon,
    end_redemption,
    list_coupons,
    redeem,
    redemption_of,
    redemptions_of,
)
from portal.catalog.publishing import ensure_product
from portal.core.errors import InvalidInput, NotFound
from portal.core.periods import Month
from portal.infra.db import transaction
from tests.factories import make_organization, sql

pytestmark = pytest.mark.usefixtures("books")
TODAY = date(2026, 11, 22)
OCTOBER, NOVEMBER, DECEMBER, JANUARY = Month(2026, 10), Month(2026, 11), Month(2026, 12), Month(2027, 1)


@pytest.fixture
def acme():
    return make_organization()


def make(code="TEN", **more):
    with transaction():
        return create_coupon(code, **({"name": "Ten percent", "percent": Decimal(10)} | more))


def give(organization, code="TEN", **more):
    values = {"first_month": NOVEMBER, "today": TODAY, "open_from": NOVEMBER.first_day} | more
    with transaction():
        return redeem(organization, code, **values)


def end(redemption, last_month, open_from=NOVEMBER.first_day):
    with transaction():
        return end_redemption(redemption.id, last_month=last_month, open_from=open_from)


def active(organization, month) -> list[str]:
    with transaction():
        return [each.coupon.code for each in active_coupons(organization.id, month)]


def refused(field, match, work) -> None:
    """The work raises InvalidInput for this field and leaves the books as they were."""
    before = stored()
    with pytest.raises(InvalidInput, match=match) as refusal:
        work()
    assert refusal.value.field == field
    assert stored() == before


def stored() -> list:
    return [
        *sql("SELECT * FROM coupons ORDER BY id"),
        *sql("SELECT * FROM coupon_redemptions ORDER BY id"),
        *sql("SELECT count(*) FROM audit_entries"),
    ]


def test_a_coupon_is_a_percentage_or_an_amount_of_a_currency():
    with transaction():
        ensure_product("Compute")
    make(percent=Decimal("12.5"), products=("Compute", "Compute"), months=3, stacks=False, redeem_by=TODAY)
    make("FIVE", name="Five off", percent=None, amount=500, currency="USD")
    with transaction():
        five, ten = list_coupons()
    assert (ten.percent, ten.amount, ten.products, ten.months) == (Decimal("12.5"), None, ["Compute"], 3)
    assert (ten.stacks, ten.redeem_by) == (False, TODAY)
    assert (five.percent, five.amount, five.currency, five.products, five.months) == (None, 500, "USD", [], None)
    [(after,)] = sql("SELECT after FROM audit_entries WHERE subject_kind = 'coupon' AND subject_id = :id", id=ten.id)
    assert (after["percent"], after["redeem_by"]) == ("12.5", "2026-11-22")


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"code": " "}, "code"),
        ({"name": ""}, "name"),
        ({"percent": None}, "percent"),
        ({"amount": 500, "currency": "USD"}, "percent"),
        ({"percent": Decimal("100.01")}, "percent"),
        ({"percent": Decimal("-1")}, "percent"),
        ({"percent": Decimal("NaN")}, "percent"),
        ({"percent": Decimal("0.0000001")}, "percent"),
        ({"currency": "USD"}, "currency"),
        ({"percent": None, "amount": 500}, "currency"),
        ({"percent": None, "amount": 500, "currency": "XXX"}, "currency"),
        ({"percent": None, "amount": -1, "currency": "USD"}, "amount"),
        ({"percent": None, "amount": 10**8, "currency": "USD"}, "amount"),
        ({"products": ("Nothing",)}, "products"),
        ({"months": 0}, "months"),
        ({"months": 121}, "months"),
    ],
)
def test_a_coupon_that_cannot_be_is_refused_and_the_field_is_named(values, field):
    refused(field, None, partial(make, **values))


def test_a_code_is_given_once():
    make()
    refused("code", "“TEN” already", partial(make, name="Another"))


def test_a_coupon_lasts_its_months_and_one_without_a_number_for_ever(acme):
    make(months=2)
    make("EVER")
    given = give(acme)
    give(acme, " EVER ", first_month=DECEMBER)
    assert (given.first_month, given.last_month) == (date(2026, 11, 1), date(2026, 12, 1))
    assert [active(acme, month) for month in (OCTOBER, NOVEMBER, DECEMBER, JANUARY, Month(2036, 1))] == [
        [],
        ["TEN"],
        ["TEN", "EVER"],
        ["EVER"],
        ["EVER"],
    ]
    assert active(make_organization("other"), NOVEMBER) == []
    [(after, organization)] = sql("SELECT after, organization_id FROM audit_entries WHERE action = 'redeemed coupon'"
                                  " ORDER BY id LIMIT 1")  # fmt: skip
    assert after == {"code": "TEN", "first_month": "2026-11", "last_month": "2026-12"}
    assert organization == acme.id


def test_a_coupon_that_is_unknown_archived_expired_or_of_another_currency_is_not_given(acme):
    make("OLD", redeem_by=date(2026, 11, 21))
    make("TODAY", redeem_by=TODAY)
    make("EURO", percent=None, amount=500, currency="EUR")
    make("GONE")
    sql("UPDATE coupons SET archived_at = now() WHERE code = 'GONE'")
    refused("code", "no coupon “ten”", partial(give, acme, "ten"))
    refused("code", "until 2026-11-21", partial(give, acme, "OLD"))
    refused("code", "amount in EUR; Acme is billed in USD", partial(give, acme, "EURO"))
    refused("code", "no longer given", partial(give, acme, "GONE"))
    assert give(acme, "TODAY").first_month == date(2026, 11, 1)
    assert give(make_organization("eu", currency="EUR"), "EURO").id


def test_a_month_that_has_been_billed_is_not_lowered_any_more(acme):
    make()
    refused("first_month", "2026-10 has been billed", partial(give, acme, first_month=OCTOBER))
    assert give(acme, first_month=OCTOBER, open_from=None).first_month == date(2026, 10, 1)


def test_a_month_at_the_end_of_the_calendar_is_no_trouble(acme):
    make(months=2)
    make("EVER")
    last = Month(9999, 12)
    refused("first_month", "more than 120 months away", partial(give, acme, first_month=last))
    assert end(give(acme, "EVER"), last).last_month == date(9999, 12, 1)


def test_the_same_coupon_holds_once_in_a_month_and_can_be_given_again_after(acme):
    make(months=2)
    give(acme, first_month=DECEMBER)
    for month in (NOVEMBER, DECEMBER, JANUARY):
        refused("code", "“TEN” holds in these months already", partial(give, acme, first_month=month))
    give(acme, first_month=Month(2027, 2))
    give(make_organization("other"))
    assert [active(acme, month) for month in (NOVEMBER, DECEMBER, JANUARY, Month(2027, 2))] == [[], *[["TEN"]] * 3]


@pytest.mark.parametrize(("first", "second"), [("ALONE", "TEN"), ("TEN", "ALONE"), ("ALONE", "LONELY")])
def test_what_does_not_stack_stands_beside_nothing_in_its_months(acme, first, second):
    make("ALONE", stacks=False, months=1)
    make("LONELY", stacks=False, months=1)
    make(months=1)
    give(acme, first)
    refused("code", "beside no other coupon", partial(give, acme, second))
    give(acme, second, first_month=DECEMBER)
    assert [active(acme, month) for month in (NOVEMBER, DECEMBER)] == [[first], [second]]


def test_coupons_that_stack_hold_together_in_the_order_in_which_they_were_given(acme):
    make()
    make("MORE")
    give(acme, "MORE")
    give(acme, "TEN")
    assert active(acme, NOVEMBER) == ["MORE", "TEN"]
    with transaction():
        assert [each.coupon.code for each in redemptions_of(acme.id)] == ["TEN", "MORE"]


def test_a_coupon_ends_with_a_month_and_twice_is_once(acme):
    make()
    given = give(acme)
    for _ in range(2):
        assert end(given, DECEMBER).last_month == date(2026, 12, 1)
    assert active(acme, DECEMBER) == ["TEN"]
    assert active(acme, JANUARY) == []
    assert sql("SELECT before, after FROM audit_entries WHERE action LIKE 'ended%'") == [
        ({"last_month": None}, {"last_month": "2026-12"})
    ]
    assert end(given, NOVEMBER).last_month == date(2026, 11, 1)


def test_an_end_that_does_not_fit_is_refused(acme):
    make(months=3)
    given = give(acme)
    refused("last_month", "from 2026-11 on", partial(end, given, OCTOBER))
    refused("last_month", "ends with 2027-01 anyway", partial(end, given, Month(2027, 2)))
    refused("last_month", "up to 2027-01-01", partial(end, given, NOVEMBER, JANUARY.first_day))
    assert end(given, DECEMBER, JANUARY.first_day).last_month == date(2026, 12, 1)


def test_another_organizations_redemption_is_not_found(acme):
    make()
    given = give(acme)
    other = make_organization("other")
    with transaction():
        assert redemption_of(given.public_id, acme.id).id == given.id
        for public_id, organization_id in ((given.public_id, other.id), (uuid4(), acme.id)):
            with pytest.raises(NotFound):
                redemption_of(public_id, organization_id)
        with pytest.raises(NotFound):
            end_redemption(10**15, last_month=NOVEMBER, open_from=None)


def test_the_commands_make_give_list_and_end_coupons(runner, acme):
    def run(*words: str, code: int = 0) -> str:
        result = runner.invoke(args=["coupons", *words])
        assert result.exit_code == code, result.output
        return result.output

    run("create", "TEN", "--name", "Ten [percent]", "--percent", "12.50", "--months", "3", "--alone")
    run("create", "FIVE", "--name", "Five off", "--amount", "5.05", "--currency", "USD", "--redeem-by", "2190-01-01")
    assert "JPY has 0 decimals" in run("create", "YEN", "--name", "Y", "--amount", "12.50", "--currency", "JPY", code=1)
    assert "give --currency" in run("create", "YEN", "--name", "Y", "--amount", "12.50", code=1)
    assert "not a number" in run("create", "YEN", "--name", "Y", "--percent", "1e999999", code=2)
    listed = run("list")
    assert all(word in listed for word in ("12.5%", "Ten [percent]", "5.05 USD", "2190-01-01", "everything", "yes"))
    month = Month.of(datetime.now(UTC))
    assert f"from {month} on" in run("redeem", "acme", "TEN")
    assert "stands beside no other" in run("redeem", "acme", "FIVE", "--from", str(month.next), code=1)
    with transaction():
        [given] = redemptions_of(acme.id)
    assert f"after that of {month}" in run("end", "acme", str(given.public_id), "--last-month", str(month))
    listed = run("list", "acme")
    assert all(word in listed for word in (str(given.public_id), "TEN", "12.5%", str(month)))
    assert "no such coupon" in run("end", "acme", str(uuid4()), "--last-month", str(month), code=1)
