"""Tax rates are added and never changed; how an organization is taxed changes for the invoices to come."""

from datetime import date
from decimal import Decimal

import pytest
from sqlalchemy.exc import DBAPIError

from portal.catalog.publishing import ensure_product
from portal.catalog.tax_rates import add_tax_rate, product_named, tax_rates_for
from portal.core.errors import InvalidInput, NotFound
from portal.core.taxes import TaxRounding, TaxTreatment
from portal.infra.db import Scope, tenant, transaction
from portal.organizations.taxing import set_tax_terms
from tests.factories import acting, make_organization, sql

pytestmark = pytest.mark.usefixtures("books")
DAY = date(2026, 11, 1)


@pytest.fixture
def acme():
    return make_organization()


@pytest.fixture
def compute():
    with transaction():
        return ensure_product("Compute")


def add(percent="20", **more):
    with transaction():
        return add_tax_rate(Decimal(percent), **({"valid_from": DAY, "open_from": None} | more))


def rates(organization) -> list[tuple]:
    with transaction():
        return [
            (str(each.valid_from), f"{each.percent:f}", each.product and each.product.name)
            for each in tax_rates_for(organization.id)
        ]


def test_an_organization_has_the_rates_of_everybody_and_its_own_oldest_first(acme, compute):
    other = make_organization("other")
    add("19", valid_from=date(2026, 12, 1))
    add("7.5", product=compute)
    add("0", organization_id=acme.id)
    add("5", organization_id=other.id, product=compute)
    assert rates(acme) == [
        ("2026-11-01", "7.500000", "Compute"),
        ("2026-11-01", "0.000000", None),
        ("2026-12-01", "19.000000", None),
    ]
    found = sql("SELECT after, organization_id FROM audit_entries ORDER BY id DESC LIMIT 2")
    assert found == [
        ({"percent": "5", "valid_from": "2026-11-01", "product_id": compute.id}, other.id),
        ({"percent": "0", "valid_from": "2026-11-01", "product_id": None}, acme.id),
    ]


@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize("of_product", [False, True])
def test_the_same_rate_twice_is_one_and_another_on_that_day_is_refused(acme, compute, own, of_product):
    place = {"organization_id": acme.id if own else None, "product": compute if of_product else None}
    assert add("20", **place).id == add("20.00", **place).id
    with pytest.raises(InvalidInput, match="20% already") as refused:
        add("21", **place)
    assert refused.value.field == "valid_from"
    assert sql("SELECT percent FROM tax_rates") == [(Decimal(20),)]
    assert sql("SELECT count(*) FROM audit_entries WHERE action = 'added tax rate'") == [(1,)]


def test_a_rate_from_a_day_that_has_been_billed_is_refused_but_not_one_that_is_there(acme):
    add()
    add(open_from=date(2026, 12, 1))
    with pytest.raises(InvalidInput, match="Choose 2026-12-01 or a later day") as refused:
        add(valid_from=date(2026, 11, 30), open_from=date(2026, 12, 1))
    assert refused.value.field == "valid_from"
    assert add(valid_from=date(2026, 12, 1), open_from=date(2026, 12, 1)).id


@pytest.mark.parametrize("percent", ["-1", "NaN", "Infinity", "1000", "0.0000001"])
def test_a_percentage_that_is_none_is_refused(percent):
    with pytest.raises(InvalidInput) as refused:
        add(percent)
    assert refused.value.field == "percent"
    assert sql("SELECT count(*) FROM tax_rates") == [(0,)]


def test_of_an_organization_that_is_not_there_no_rate_is_added():
    with pytest.raises(NotFound):
        add(organization_id=10**15)


@pytest.mark.parametrize("change", ["UPDATE tax_rates SET percent = 1", "DELETE FROM tax_rates"])
def test_a_rate_never_changes(app, acme, change):
    add(organization_id=acme.id)
    for scope in (Scope("portal_system"), Scope("portal_staff"), tenant(acme.id)):
        with acting(app, scope), pytest.raises(DBAPIError, match="permission denied|only added"):
            sql(change)


def set_terms(organization, **more):
    values = {
        "treatment": TaxTreatment.STANDARD,
        "rounding": TaxRounding.SUM_BY_NET,
        "prices_include_tax": False,
        "tax_id": None,
    }
    with transaction():
        return set_tax_terms(organization.id, **(values | more))


def test_tax_terms_are_set_with_what_was_before_and_twice_is_once(acme):
    for _ in range(2):
        done = set_terms(
            acme,
            treatment=TaxTreatment.REVERSE_CHARGE,
            rounding=TaxRounding.LINE,
            prices_include_tax=True,
            tax_id=" DE1 ",
        )
    assert (done.tax_treatment, done.tax_rounding, done.prices_include_tax, done.tax_id) == (
        "reverse_charge",
        "line",
        True,
        "DE1",
    )
    assert sql("SELECT before, after, organization_id FROM audit_entries WHERE action = 'changed tax terms'") == [
        (
            {"treatment": "standard", "rounding": "sum_by_net", "prices_include_tax": False, "tax_id": None},
            {"treatment": "reverse_charge", "rounding": "line", "prices_include_tax": True, "tax_id": "DE1"},
            acme.id,
        )
    ]


@pytest.mark.parametrize("tax_id", [None, "", "  "])
def test_a_reverse_charge_needs_a_tax_id(acme, tax_id):
    with pytest.raises(InvalidInput) as refused:
        set_terms(acme, treatment=TaxTreatment.REVERSE_CHARGE, tax_id=tax_id)
    assert refused.value.field == "tax_id"
    assert sql("SELECT tax_treatment FROM organizations") == [("standard",)]
    assert set_terms(acme, treatment=TaxTreatment.EXEMPT, tax_id=tax_id).tax_id is None


def test_the_commands_add_rates_and_set_how_somebody_is_taxed(runner, acme, compute):
    def run(*words: str, code: int = 0) -> str:
        result = runner.invoke(args=["tax", *words])
        assert result.exit_code == code, result.output
        return result.output

    for _ in range(2):
        assert "20% from 2026-11-01" in run("rate", "20", "--from", "2026-11-01")
    run("rate", "7.5", "--from", "2026-12-01", "--organization", "acme", "--product", "Compute")
    assert "20% already" in run("rate", "21", "--from", "2026-11-01", code=1)
    assert "no product “Gone”" in run("rate", "21", "--from", "2026-11-01", "--product", "Gone", code=1)
    listed = run("list", "acme")
    assert all(word in listed for word in ("2026-12-01", "7.5", "Compute", "its own", "everybody's", "everything"))
    assert "tax id" in run("treatment", "acme", "reverse_charge", code=1)
    said = run("treatment", "acme", "reverse_charge", "--tax-id", "DE1", "--inclusive", "--rounding", "keep_gross")
    assert "Acme: reverse_charge, tax included in prices, rounded by keep_gross." in said
    # What is not named stays as it is.
    assert "standard, tax included in prices, rounded by keep_gross" in run("treatment", "acme", "standard")
    assert sql("SELECT tax_id FROM organizations") == [("DE1",)]
    with transaction():
        assert product_named("Compute").id == compute.id
