"""The catalog as a document: applied in one piece or not at all, told as a difference, and written back."""

import re
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal.catalog.applying import Applied, apply_catalog
from portal.catalog.files import CatalogRefused, document_of, read_catalog
from portal.catalog.models import Meter
from portal.catalog.stored import stored_catalog
from portal.core.terms import Model, terms_from_json
from portal.infra.db import transaction
from portal.infra.yaml_text import read_yaml, write_yaml
from portal.invoicing.queries import open_from
from portal.usage.queries import meters_used_since
from tests.factories import NOW, acting, make_final, make_organization, sql, use

pytestmark = pytest.mark.usefixtures("books")
DOCS = Path(__file__).parents[2] / "docs"
EXAMPLE = DOCS / "examples" / "fly_io_prices.yaml"
# The rows of the tables of terms: unit, terms, sentence.
DOCUMENTED = re.findall(r"^\| (\w+) \| `(\{model.*\})` \| (.+) \|$", (DOCS / "catalog.md").read_text(), re.MULTILINE)
FILE = """
products: [Compute, Network, Support]
meters:
  egress_gb: {name: Egress, product: Network, unit: GB, dimensions: [region_group, app]}
  machine_seconds: {name: Machine time, product: Compute, unit: s}
plans:
  support: {name: Support, product: Support, unit: month, trial_days: 14}
  reservation: {name: Reservation, product: Compute, unit: year, interval: year, credit_meters: [machine_seconds]}
prices:
  - name: Egress · Europe
    meter: egress_gb
    match: {region_group: eu}
    currency: USD
    versions:
      - valid_from: 2026-01-01
        terms: {model: per_unit, unit_amount: 0.02, free_quantity: 100}
  - name: Egress · Europe
    meter: egress_gb
    match: {region_group: eu}
    currency: EUR
    versions:
      - valid_from: 2026-01-01
        terms: {model: per_unit, unit_amount: 0.018, free_quantity: 100}
  - name: Egress with support
    meter: egress_gb
    for_plan: support
    currency: USD
    versions:
      - valid_from: 2026-01-01
        terms: {model: per_unit, unit_amount: 0.015}
  - name: Support
    plan: support
    currency: USD
    versions:
      - valid_from: 2026-01-01
        terms: {model: flat_fee, unit_amount: 29}
      - valid_from: 2027-01-01
        terms: {model: flat_fee, unit_amount: 39}
        note: Announced in November.
  - name: Reservation
    plan: reservation
    currency: USD
    versions:
      - valid_from: 2026-01-01
        terms: {model: flat_fee, unit_amount: 36, monthly_credit: 5}
coupons:
  welcome10: {name: Welcome, percent: 10, months: 3, products: [Compute], stacks: false, redeem_by: 2026-12-31}
  sorry: {name: Sorry, amount: 5.00, currency: USD}
"""
MODELS = [
    {"model": "per_unit", "unit_amount": "0.0000008"},
    {"model": "per_unit", "unit_amount": "0", "free_quantity": "7200.5"},
    {
        "model": "graduated",
        "tiers": [{"up_to": "10", "unit_amount": "0"}, {"up_to": None, "unit_amount": "0.10", "flat_amount": "1"}],
        "zero_usage_charges_first_flat": True,
    },
    {
        "model": "volume",
        "tiers": [{"up_to": "99.5", "unit_amount": "2"}, {"up_to": None, "unit_amount": "1"}],
        "free_quantity": "1",
    },
    {"model": "package", "unit_amount": "5", "package_size": "100", "free_quantity": "50"},
    {"model": "package", "unit_amount": "5"},
    {"model": "percentage", "rate_percent": "2.9", "fee_per_event": "0.30"},
    {
        "model": "graduated_percentage",
        "tiers": [{"up_to": "1000", "rate_percent": "3"}, {"up_to": None, "rate_percent": "1", "flat_amount": "2"}],
    },
    {"model": "flat_fee", "unit_amount": "9"},
    {"model": "per_unit", "unit_amount": "1", "discount_percent": "12.5", "minimum": "3", "maximum": "30"},
]


def document(**sections: Any) -> dict[str, Any]:
    """The document of FILE, with some sections replaced."""
    return {**read_yaml(FILE), **sections}


def apply(content: Any, **more: Any) -> Applied:
    with transaction():
        return apply_catalog(
            content,
            open_from=lambda currency, organization_id: open_from(currency, organization_id=organization_id),
            used_meters=lambda: meters_used_since(date.min),
            **{"now": NOW, **more},
        )


def export() -> dict[str, Any]:
    with transaction():
        return document_of(stored_catalog())


def lines(applied: Applied) -> list[str]:
    return [f"{change.sign} {change.text}" for change in applied.changes]


def refusals(content: Any) -> dict[str, str]:
    """What is wrong with a document, by path; checks that nothing was stored."""
    before = sql("SELECT count(*), (SELECT count(*) FROM audit_entries) FROM price_versions"), export()
    with pytest.raises(CatalogRefused) as refused:
        apply(content)
    assert (sql("SELECT count(*), (SELECT count(*) FROM audit_entries) FROM price_versions"), export()) == before
    return {problem.field or "": problem.sentence for problem in refused.value.problems}


def test_a_file_makes_everything_that_it_names_and_says_so():
    assert lines(apply(document())) == [
        "+ product Compute",
        "+ product Network",
        "+ product Support",
        "+ meter egress_gb: Egress, Network, in GB, by region_group, app",
        "+ meter machine_seconds: Machine time, Compute, in s",
        "+ plan support: Support, Support, by the month, 14 days of trial",
        "+ plan reservation: Reservation, Compute, by the year, credit for machine_seconds",
        "+ price Egress · Europe (USD): first 100 GB free, then $0.02 per GB, from 1 Jan 2026",
        "+ price Egress · Europe (EUR): first 100 GB free, then €0.018 per GB, from 1 Jan 2026",
        "+ price Egress with support (USD, with support): $0.015 per GB, from 1 Jan 2026",
        "+ price Support (USD): $29.00 per month, from 1 Jan 2026",
        "~ price Support (USD): $29.00 per month → $39.00 per month, from 1 Jan 2027",
        "+ price Reservation (USD): $36.00 per year; with $5.00 of credit for usage each month, from 1 Jan 2026",
        "+ coupon welcome10: Welcome, 10% off for 3 months, of Compute",
        "+ coupon sorry: Sorry, $5.00 off",
    ]
    actions = dict(sql("SELECT action, count(*) FROM audit_entries GROUP BY action"))
    assert actions == {
        "created product": 3,
        "created meter": 2,
        "created plan": 2,
        "published price": 6,
        "created coupon": 2,
    }


def test_a_second_time_there_is_nothing_to_change_and_nothing_is_recorded():
    apply(document())
    recorded = sql("SELECT count(*) FROM audit_entries")
    assert apply(document()) == Applied((), "")
    assert sql("SELECT count(*) FROM audit_entries") == recorded


def test_a_dry_run_says_the_same_and_stores_nothing():
    empty = export()
    said = apply(document(), dry_run=True)
    assert export() == empty
    assert sql("SELECT count(*) FROM audit_entries") == [(0,)]
    assert apply(document()) == said


def test_what_is_exported_is_applied_again_without_a_change():
    apply(document())
    make_organization("acme")
    apply({"prices": [{**document()["prices"][0], "organization": "acme", "archived": True}]})
    assert apply(read_yaml(write_yaml(export()))) == Applied((), "")


@pytest.mark.parametrize("name", ["example", "file"])
def test_what_is_exported_makes_the_same_catalog_in_an_empty_database(name, request):
    apply(read_yaml(EXAMPLE.read_text()) if name == "example" else document())
    exported = export()
    request.getfixturevalue("owner_connection").execute("TRUNCATE products, coupons CASCADE")
    assert export()["prices"] == []
    apply(read_yaml(write_yaml(exported)))
    assert export() == exported


def test_the_example_is_a_whole_price_list():
    applied = apply(read_yaml(EXAMPLE.read_text()))
    assert sum(change.sign == "+" for change in applied.changes) == len(applied.changes) - 1
    assert sum("Machine" in price["name"] for price in export()["prices"]) >= 50
    assert apply(read_yaml(EXAMPLE.read_text())).changes == ()


@pytest.mark.parametrize("terms", MODELS, ids=lambda terms: terms["model"])
def test_every_model_goes_through_a_file_unchanged(terms):
    version = {"valid_from": "2026-01-01", "terms": terms}
    apply(document(prices=[{"name": "P", "meter": "egress_gb", "currency": "USD", "versions": [version]}]))
    exported = export()
    assert terms_from_json(exported["prices"][0]["versions"][0]["terms"]) == terms_from_json(terms)
    assert apply(read_yaml(write_yaml(exported))) == Applied((), "")


TEXTS = st.text(st.characters(exclude_categories=["C"]), min_size=1)
AMOUNTS = st.decimals(min_value=0, max_value=10**9, places=9).map(str)


@given(unit_amount=AMOUNTS, free=AMOUNTS, match=st.dictionaries(TEXTS, TEXTS, max_size=3))
def test_a_price_is_read_back_as_it_is_written(unit_amount, free, match):
    match = {name: value.strip() or "x" for name, value in match.items()}
    version = {
        "valid_from": "2026-01-01",
        "terms": {"model": "per_unit", "unit_amount": unit_amount, "free_quantity": free},
    }
    price = {"name": "P", "meter": "m", "match": match, "currency": "USD", "versions": [version]}
    catalog, problems = read_catalog({"prices": [price]})
    again, more = read_catalog(read_yaml(write_yaml(document_of(catalog))))
    assert (again, [*problems, *more]) == (catalog, [])


WORDS = st.sampled_from(
    ["1", "-1", "1e999999", "NaN", "x", "", "\x00", "\ud800", "USD", "year", "2026-01-01", "per_unit"]
)
FIELDS = st.sampled_from(
    ["name", "formerly", "product", "unit", "dimensions", "interval", "trial_days", "credit_meters", "meter", "plan"]
    + ["match", "currency", "versions", "valid_from", "terms", "model", "tiers", "up_to", "unit_amount", "note"]
    + ["percent", "amount", "months", "stacks", "redeem_by", "archived", "", " x"]
)
CONTENT = st.recursive(
    st.none() | st.booleans() | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(FIELDS, inner, max_size=6),
    max_leaves=30,
)


@given(st.dictionaries(st.sampled_from(["products", "meters", "plans", "prices", "coupons"]), CONTENT))
def test_whatever_a_document_says_is_read_or_refused_with_a_path(content):
    _, problems = read_catalog(content)
    assert all(problem.field for problem in problems)


def test_names_change_where_they_can_and_the_line_says_what():
    apply(document())
    changed = document(
        products=["Compute", {"name": "Networking", "formerly": "Network"}],
        meters={
            "egress_gb": {
                "name": "Outbound data",
                "product": "Networking",
                "unit": "GB",
                "dimensions": ["region_group", "app", "zone"],
            }
        },
        plans={"support": {"name": "Help", "product": "Support", "unit": "month"}},
        prices=[{**document()["prices"][0], "name": "Outbound · Europe"}],
        coupons={"sorry": {"name": "Apology", "amount": "5", "currency": "USD", "stacks": False}},
    )
    applied = apply(changed)
    assert lines(applied) == [
        "~ product Network: name → Networking",
        "~ meter egress_gb: name Egress → Outbound data, dimensions region_group, app → region_group, app, zone",
        "~ plan support: name Support → Help, trial days 14 → 0",
        "~ price Outbound · Europe (USD): name Egress · Europe → Outbound · Europe",
        "~ coupon sorry: name Sorry → Apology, stacks yes → no",
    ]
    assert applied.staying == ("1 product, 1 meter, 1 plan, 4 prices and 1 coupon are not in the file; they stay.")
    assert apply(changed).changes == ()
    renamed = sql("SELECT before, after FROM audit_entries WHERE action = 'changed meter'")
    assert renamed[0].before == {"name": "Egress", "dimensions": ["region_group", "app"]}
    assert renamed[0].after == {"name": "Outbound data", "dimensions": ["region_group", "app", "zone"]}


def test_a_renamed_product_keeps_its_coupons():
    apply(document())
    applied = apply({"products": [{"name": "Machines", "formerly": "Compute"}]})
    assert lines(applied) == ["~ product Compute: name → Machines"]
    assert export()["coupons"]["welcome10"]["products"] == ["Machines"]
    assert export()["meters"]["machine_seconds"]["product"] == "Machines"


def test_what_is_archived_comes_back_when_the_file_no_longer_says_so():
    apply(document())
    content = document()
    content["prices"][0]["archived"] = content["meters"]["machine_seconds"]["archived"] = True
    content["coupons"]["sorry"]["archived"] = True
    assert lines(apply(content)) == [
        "− meter machine_seconds is archived",
        "− price Egress · Europe (USD) is archived",
        "− coupon sorry is archived",
    ]
    assert apply(content).changes == ()
    assert lines(apply(document())) == [
        "~ meter machine_seconds is on sale again",
        "~ price Egress · Europe (USD) is on sale again",
        "~ coupon sorry is on sale again",
    ]


def test_an_organizations_own_price_is_its_own():
    acme = make_organization("acme")
    apply(document())
    own = {**document()["prices"][0], "organization": "acme", "name": "Egress, as agreed"}
    assert lines(apply({"prices": [own]})) == [
        "+ price Egress, as agreed (USD, for acme): first 100 GB free, then $0.02 per GB, from 1 Jan 2026"
    ]
    assert sql("SELECT organization_id FROM prices WHERE name = 'Egress, as agreed'") == [(acme.id,)]


def test_everything_that_is_wrong_is_named_at_once_with_its_path():
    content = read_yaml("""
products: [Compute, {name: Network, colour: red}, [x]]
meters:
  egress_gb: {name: Egress, product: Network, unit: GB}
  broken: {name: Broken, product: Compute, dimensions: region}
  many: {name: Many, product: Compute, unit: s, dimensions: [a, b, c, d, e, f, g, h, i]}
  astray: {name: Astray, product: Nowhere, unit: s}
  empty:
plans:
  weekly: {name: Weekly, product: Compute, unit: week, interval: week, trial_days: -1}
  credit: {name: Credit, product: Compute, unit: month, credit_meters: [egress_gb, nothing]}
prices:
  - {name: Of nothing, currency: USD, versions: [{valid_from: 2026-01-01, terms: {model: flat_fee, unit_amount: 1}}]}
  - name: Tiers
    meter: egress_gb
    currency: XYZ
    versions:
      - {valid_from: 2026-1-1, terms: {model: volume, tiers: [{up_to: 5, unit_amount: 1}, {up_to: 4, unit_amount: 1}]}}
      - {valid_from: 2026-01-01, terms: {model: graduated, tiers: [{up_to: 1}, {up_to: }], free: 1}}
  - name: Unknown
    meter: missing
    match: {region: true}
    organization: nobody
    currency: USD
    versions: []
  - name: Match
    meter: many
    match: {z: z}
    currency: USD
    versions: [{valid_from: 2026-01-01, terms: {model: per_unit, unit_amount: 1}}]
  - name: Missing
    meter: missing
    organization: nobody
    currency: USD
    versions: [{valid_from: 2026-01-01, terms: {model: per_unit, unit_amount: 1}}]
  - name: Same
    meter: missing
    organization: nobody
    currency: USD
    versions: [{valid_from: 2026-01-01, terms: {model: per_unit, unit_amount: 1}}]
  - name: Days
    meter: egress_gb
    currency: USD
    versions:
      - {valid_from: 2026-01-01, terms: {model: per_unit, unit_amount: 1, zero_usage_charges_first_flat: yes}}
      - {valid_from: 2026-02-01, terms: {model: per_unit, unit_amount: 1}}
      - {valid_from: 2026-02-01, terms: {model: per_unit, unit_amount: 2}}
coupons:
  both: {name: Both, percent: 10, amount: 5}
  much: {name: Much, percent: 101}
  fine: {name: Fine, amount: 5.001, currency: USD, products: [Nowhere]}
discounts: {}
""")
    assert sorted(refusals(content)) == sorted(
        [
            "products[1].colour",
            "products[2]",
            "meters.broken.unit",
            "meters.broken.dimensions",
            "meters.many.dimensions",
            "meters.astray.product",
            "meters.empty",
            "plans.weekly.interval",
            "plans.weekly.trial_days",
            "plans.credit.credit_meters[1]",
            "prices[0].meter",
            "prices[1].currency",
            "prices[1].versions[0].valid_from",
            "prices[1].versions[0].terms.tiers[1].up_to",
            "prices[1].versions[1].terms.free",
            "prices[2].match.region",
            "prices[2].versions",
            "prices[4].meter",
            "prices[4].organization",
            "prices[5]",
            "prices[6].versions[0].terms.zero_usage_charges_first_flat",
            "prices[6].versions[2].valid_from",
            "coupons.both.currency",
            "coupons.much.percent",
            "coupons.fine.amount",
            "discounts",
        ]
    )


@pytest.mark.parametrize("content", [None, [], "prices", {"prices": {}}, {"meters": []}, {"products": "Compute"}])
def test_what_is_no_catalog_at_all_is_refused(content):
    assert len(refusals(content)) == 1


def test_one_problem_keeps_all_the_rest_out():
    content = document()
    content["prices"][4]["versions"][0]["terms"]["monthly_credit"] = "-5"
    assert list(refusals(content)) == ["prices[4].versions[0].terms.monthly_credit"]


def test_what_the_verbs_refuse_is_named_with_its_path():
    apply(document())
    content = document()
    content["meters"]["egress_gb"]["dimensions"] = ["app"]
    content["meters"]["machine_seconds"]["product"] = "Support"
    content["plans"]["support"]["interval"] = "year"
    content["plans"]["reservation"]["credit_meters"] = []
    content["prices"][0]["versions"][0]["terms"]["unit_amount"] = "0.03"
    content["prices"][1]["versions"][0]["note"] = "Another one."
    content["prices"][2]["versions"].append(
        {"valid_from": "2026-02-01", "terms": {"model": "flat_fee", "unit_amount": "1", "monthly_credit": "1"}}
    )
    content["prices"].append({**content["prices"][0], "match": {"size": "big"}})
    content["coupons"]["welcome10"]["percent"] = "20"
    assert list(refusals(content)) == [
        "meters.egress_gb.dimensions",
        "plans.support.interval",
        "plans.reservation.credit_meters",
        "prices[0].versions[0].valid_from",
        "prices[1].versions[0].note",
        "prices[2].versions[1].terms.monthly_credit",
        "prices[5].match",
        "coupons.welcome10.percent",
    ]


def test_a_unit_stays_where_prices_or_usage_are_given_in_it():
    apply(document())
    in_hours = document()
    for code in ("egress_gb", "machine_seconds"):
        in_hours["meters"][code]["unit"] = "hour"
    assert list(refusals(in_hours)) == ["meters.egress_gb.unit"]
    in_hours["meters"]["egress_gb"]["unit"] = "GB"
    assert lines(apply(in_hours, dry_run=True)) == ["~ meter machine_seconds: unit s → hour"]
    with transaction() as session:
        meter = session.query(Meter).filter_by(code="machine_seconds").one()
    use(make_organization(), meter, 1)
    assert list(refusals(in_hours)) == ["meters.machine_seconds.unit"]


def test_a_day_that_final_invoices_have_billed_is_refused_for_those_it_would_change():
    acme = make_organization("acme")
    make_organization("other")
    apply(document())
    make_final(acme, "5.00")  # October 2026, in USD
    version = {"valid_from": "2026-10-31", "terms": {"model": "per_unit", "unit_amount": "0.03"}}
    usd, eur = ({**price, "versions": [version]} for price in document()["prices"][:2])
    refused = refusals({"prices": [usd, eur, {**usd, "organization": "acme"}, {**usd, "organization": "other"}]})
    assert list(refused) == ["prices[0].versions[0].valid_from", "prices[2].versions[0].valid_from"]
    assert "invoices up to 2026-11-01 are final" in refused["prices[0].versions[0].valid_from"]
    version["valid_from"] = "2026-11-01"
    assert lines(apply({"prices": [usd]})) == [
        "~ price Egress · Europe (USD): first 100 GB free, then $0.02 per GB → $0.03 per GB, from 1 Nov 2026"
    ]


def test_versions_that_the_file_does_not_name_stay():
    apply(document())
    content = document()
    del content["prices"][3]["versions"][0]
    assert apply(content) == Applied((), "1 price version is not in the file; it stays.")


def test_a_product_takes_no_name_that_another_one_has():
    apply(document())
    assert list(refusals({"products": [{"name": "Network", "formerly": "Compute"}]})) == ["products[0].formerly"]
    both = [{"name": "Machines", "formerly": "Compute"}, "Compute"]
    assert list(refusals({"products": both})) == ["products[0].formerly"]


def test_two_who_apply_the_same_file_at_once_store_it_once(app):
    def change() -> int:
        with acting(app):
            return len(apply(document()).changes)

    with ThreadPoolExecutor(2) as pool:
        counts = [future.result() for future in [pool.submit(change) for _ in range(2)]]
    assert sorted(counts) == [0, 15]


def test_the_file_of_the_documentation_can_be_applied():
    blocks = re.findall(r"```yaml\n(.*?)```", (DOCS / "catalog.md").read_text(), re.DOTALL)
    assert [bool(apply(read_yaml(block)).changes) for block in blocks] == [True]


@pytest.mark.parametrize(("unit", "terms", "sentence"), DOCUMENTED)
def test_the_documentation_says_the_sentence_of_every_price(unit, terms, sentence):
    meter = {"name": "M", "product": "P", "unit": unit}
    plan = {**meter, "credit_meters": ["m"], "interval": "year" if unit == "year" else "month"}
    price = {"name": "Price", "currency": "USD", "versions": [{"valid_from": "2026-01-01", "terms": read_yaml(terms)}]}
    price |= {"plan": "p"} if unit in ("month", "year") else {"meter": "m"}
    applied = apply({"products": ["P"], "meters": {"m": meter}, "plans": {"p": plan}, "prices": [price]})
    assert lines(applied)[-1] == f"+ price Price (USD): {sentence}, from 1 Jan 2026"


def test_the_documentation_shows_every_model():
    assert {read_yaml(terms)["model"] for _, terms, _ in DOCUMENTED} == set(Model)


COUNTED = {
    "peak": {"aggregation": "max"},
    "users": {"aggregation": "unique", "subject": "user_id"},
    "volumes": {"aggregation": "level", "per": "month"},
}


def counted(**changes: Any) -> dict[str, Any]:
    """A document of meters that do not sum up."""
    meters = {code: {"name": code, "product": "P", "unit": "u", **counting} for code, counting in COUNTED.items()}
    for code, change in changes.items():
        meters[code] |= change
    return {"products": ["P"], "meters": meters}


def test_how_a_meter_counts_is_said_once_and_stays():
    assert lines(apply(counted()))[1:] == [
        "+ meter peak: peak, P, in u, the largest value of a month counts",
        "+ meter users: users, P, in u, the different values of “user_id” in a month count",
        "+ meter volumes: volumes, P, in u, the mean level of a month counts",
    ]
    assert export()["meters"] == counted()["meters"]
    assert lines(apply(counted())) == []
    changed = counted(peak={"aggregation": "sum"}, users={"subject": "seat"}, volumes={"per": "hour"})
    assert list(refusals(changed)) == [
        "meters.peak.aggregation",
        "meters.users.aggregation",
        "meters.volumes.aggregation",
    ]


@pytest.mark.parametrize(
    ("code", "change", "field"),
    [
        ("peak", {"aggregation": "median"}, "aggregation"),
        ("peak", {"subject": "user_id"}, "subject"),
        ("peak", {"per": "hour"}, "per"),
        ("users", {"subject": None}, "subject"),
        ("users", {"dimensions": ["user_id"]}, "subject"),
        ("volumes", {"per": "week"}, "per"),
        ("volumes", {"per": None}, "per"),
    ],
)
def test_a_way_of_counting_that_does_not_fit_is_refused(code, change, field):
    assert list(refusals(counted(**{code: change}))) == [f"meters.{code}.{field}"]
