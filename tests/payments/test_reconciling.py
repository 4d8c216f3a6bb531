"""Reconciling with the sandbox: whatever the dashboard's hand changes is found, once, and closed by itself."""

from datetime import datetime, timedelta

import pytest

from portal.core.errors import InvalidInput, InvalidTransition
from portal.infra import clock, outbox
from portal.infra.db import db, transaction
from portal.infra.outbox import GiveUp
from portal.invoicing.voiding import void_invoice
from portal.payments import drift, reconciling
from portal.payments.drift_models import Drift, DriftState, Phase, Reconciliation
from portal.payments.drift_queries import counts_by_drift_state, report_of
from tests.factories import MONTH, NOW, at_once, make_draft, make_final, make_organization, reload, sql
from tests.payments.conftest import examine, open_rows, work

pytestmark = pytest.mark.usefixtures("books")
DAY = timedelta(days=1)


def reconcile(month=None, *, now: datetime | None = None):
    """A whole run from the day before NOW to the next one, or of a month; what it says."""
    now = now or clock.now()
    window = reconciling.Window.of_month(month, now=now) if month else reconciling.Window(NOW - DAY, now + DAY)
    with transaction():
        run_id = reconciling.begin(window, now=now)
    go_through(run_id)
    with transaction():
        run = db.session.get_one(Reconciliation, run_id, populate_existing=True)
        return run, report_of(run)


def go_through(run_id):
    while reconciling.advance(run_id):
        pass


def rows(state="open"):
    return [
        tuple(row) for row in sql("SELECT field, ours, theirs FROM drift WHERE state = :state ORDER BY id", state=state)
    ]


def sent(*amounts, slug="acme", month=MONTH, now=NOW, **more):
    invoice = make_final(make_organization(slug, **more), *amounts, month=month, now=now)
    work()
    return reload(invoice)


def test_two_sides_that_agree_are_0_differences_0_00(sandbox):
    sent("12.00", "23.45")
    sent("500", slug="kyoto", currency="JPY")
    run, report = reconcile()
    assert report.sentence == "0 differences, 0.00"
    assert (run.phase, run.invoices, run.customers, run.on_their_way, run.differences) == (Phase.DONE, 2, 2, 0, 0)
    assert counts_by_drift_state() == {}
    assert sql("SELECT count(*) FROM reconciled_invoices") == [(0,)]
    assert examine() == []


def test_reconciling_only_reads(sandbox):
    sent("12.00")
    before = len(sandbox.calls())
    reconcile()
    assert {call.split()[0] for call in sandbox.calls()[before:]} == {"GET"}
    # One list of customers, one of invoices; nothing is asked one by one.
    assert sandbox.calls()[before:] == ["GET /v1/customers", "GET /v1/invoices"]


def test_an_invoice_that_was_voided_behind_our_back_is_found_once_and_stays_one_row(sandbox):
    invoice = sent("12.00")
    sandbox.act("void", invoice=invoice.stripe_id)
    first = clock.now()
    _, report = reconcile(now=first)
    assert report.sentence == "1 difference, 0.00"
    assert rows() == [("status", "open", "void")]
    reconcile(now=first + timedelta(minutes=1))
    [(since, last, count)] = sql("SELECT min(seen_since), max(last_seen), count(*) FROM drift")
    assert (since, last, count) == (first, first + timedelta(minutes=1), 1)
    assert sql("SELECT count(*) FROM audit_entries WHERE subject_kind = 'drift'") == [(1,)]
    assert reload(invoice).payment_state == "open", "reconciling moves nothing"


@pytest.mark.parametrize(
    ("changes", "expected", "amount"),
    [
        ({"total": 1300}, ("total", "12.00 USD", "13.00 USD"), "1.00 USD"),
        ({"total": 1199}, ("total", "12.00 USD", "11.99 USD"), "0.01 USD"),
        ({"currency": "eur"}, ("currency", "USD", "EUR"), "0.00"),
    ],
)
def test_what_was_edited_at_stripe_is_named_with_both_sides(sandbox, changes, expected, amount):
    invoice = sent("12.00")
    sandbox.act("edit", invoice=invoice.stripe_id, force=True, changes=changes)
    run, report = reconcile()
    assert rows() == [expected]
    assert (report.sentence, run.differences) == (f"1 difference, {amount}", 1)
    [row] = report.differences
    assert (row.invoice_id, row.stripe_id, row.organization_id) == (
        invoice.id,
        invoice.stripe_id,
        invoice.organization_id,
    )


def test_another_customer_and_another_number_of_lines_are_differences(sandbox):
    invoice, other = sent("12.00", "0.50"), sent("3.00", slug="umbrella")
    lines = sandbox.invoices(invoice.public_id)[0]["lines"]
    sandbox.act("edit", invoice=invoice.stripe_id, force=True, remove_line=lines[0]["id"])
    customer = other.organization.stripe_customer_id
    sandbox.act("edit", invoice=invoice.stripe_id, force=True, changes={"customer": customer})
    reconcile()
    assert rows() == [("lines", "2", "1"), ("customer", invoice.organization.stripe_customer_id, customer)]


def test_lines_beyond_the_first_page_and_beyond_the_limit_are_counted(sandbox):
    sent(*["1.01"] * 12)
    sent(*["1.01"] * 260, slug="umbrella")
    _, report = reconcile()
    assert report.sentence == "0 differences, 0.00"


def test_a_payment_that_we_have_not_heard_of_is_a_difference_until_it_is_taken_over(sandbox):
    invoice = sent("12.00")
    sandbox.act("pay", invoice=invoice.stripe_id)
    reconcile()
    assert rows() == [("payment", "open", "paid")]
    sql("UPDATE invoices SET payment_state = 'paid', amount_paid = amount_due, stripe_status = 'paid'")
    _, report = reconcile()
    assert report.sentence == "0 differences, 0.00"
    assert rows("gone") == [("payment", "open", "paid")]
    actions = sql("SELECT action FROM audit_entries WHERE subject_kind = 'drift' ORDER BY id")
    assert actions == [("difference found",), ("difference gone",)]


def test_a_draft_that_was_deleted_at_stripe_is_missing_there_with_its_whole_amount(sandbox):
    sandbox.fault("POST /v1/invoices/*/add_lines", "wrong_total")
    invoice = sent("12.00")
    assert invoice.sync_state == "mismatch"
    sandbox.act("delete", invoice=invoice.stripe_id)
    _, report = reconcile()
    assert rows() == [("existence", f"{invoice.stripe_id}, 12.00 USD", None)]
    assert report.sentence == "1 difference, 12.00 USD"


def test_an_invoice_whose_sync_stopped_before_stripe_had_it_is_missing_there(sandbox):
    sandbox.fault("POST /v1/invoices", "400", sticky=True)
    sent("12.00")
    reconcile()
    assert rows() == [("existence", "dead, 12.00 USD", None)]
    sandbox.heal()


def test_what_is_still_on_its_way_is_no_difference_but_is_said(sandbox):
    make_final(make_organization(), "12.00")
    run, report = reconcile()
    assert report.sentence == "0 differences, 0.00"
    assert run.on_their_way == 1
    work()
    run, _ = reconcile()
    assert (run.on_their_way, run.invoices) == (0, 1)


def test_what_was_voided_here_should_be_void_there(sandbox):
    invoice = sent("12.00")
    with transaction():
        void_invoice(invoice.id, reason="wrong", now=NOW)
    _, report = reconcile()
    assert report.sentence == "0 differences, 0.00", "its voiding is on its way"
    sql("UPDATE outbox SET finished_at = clock_timestamp() WHERE kind = 'void_at_stripe'")
    reconcile()
    assert rows() == [("status", "void", "open")]


def test_nothing_is_expected_of_an_invoice_without_anything_to_pay(sandbox):
    sent("-10.00")
    make_draft(make_organization("umbrella"))
    _, report = reconcile()
    assert report.sentence == "0 differences, 0.00"


def test_an_invoice_of_somebody_else_is_listed_as_unmanaged_and_never_touched(sandbox):
    ours = sent("12.00")
    customer = {"id": "cus_foreign"}
    foreign = {"id": "in_foreign", "customer": "cus_foreign", "currency": "usd", "status": "open"}
    of_ours = {**foreign, "id": "in_manual", "customer": ours.organization.stripe_customer_id, "status": "paid"}
    marked = {**foreign, "id": "in_marked", "metadata": {"invoice_id": "another system's"}}
    sandbox.ctl("load", {"customers": [customer], "invoices": [foreign, of_ours, marked]})
    before = {each["id"]: each for each in sandbox.invoices()}
    _, report = reconcile()
    assert (report.sentence, report.unmanaged) == ("0 differences, 0.00", 3)
    found = sql("SELECT stripe_id, field, organization_id FROM drift ORDER BY stripe_id")
    assert [tuple(row) for row in found] == [
        ("in_foreign", "unmanaged", None),
        ("in_manual", "unmanaged", ours.organization_id),
        ("in_marked", "unmanaged", None),
    ]
    assert {each["id"]: each for each in sandbox.invoices()} == before


def test_a_second_invoice_with_our_mark_is_a_duplicate_and_a_void_one_is_none(sandbox):
    invoice = sent("12.00")
    customer = invoice.organization.stripe_customer_id
    twin = {"customer": customer, "currency": "usd", "metadata": {"invoice_id": str(invoice.public_id)}}
    lines = [{"amount": 1200, "description": "again"}]
    sandbox.ctl("load", {"invoices": [{**twin, "id": "in_twin", "status": "open", "lines": lines}]})
    sandbox.ctl("load", {"invoices": [{**twin, "id": "in_void_twin", "status": "void", "lines": lines}]})
    _, report = reconcile()
    assert rows() == [("duplicate", invoice.stripe_id, "open, 12.00 USD")]
    assert report.sentence == "1 difference, 12.00 USD"
    sandbox.act("void", invoice="in_twin")
    _, report = reconcile()
    assert report.sentence == "0 differences, 0.00"


def test_a_deleted_and_a_doubled_customer_are_found(sandbox):
    invoice, other = sent("12.00"), sent("3.00", slug="umbrella")
    sandbox.act("delete_customer", customer=invoice.organization.stripe_customer_id)
    twin = {"id": "cus_twin", "metadata": {"organization_id": str(other.organization.public_id)}}
    sandbox.ctl("load", {"customers": [twin]})
    reconcile()
    deleted, kept = invoice.organization.stripe_customer_id, other.organization.stripe_customer_id
    assert rows() == [
        ("duplicate_customer", kept, "cus_twin"),
        ("customer", deleted, f"{deleted} (deleted)"),
    ]
    assert reload(other).organization.stripe_customer_id == kept


def test_more_than_a_hundred_invoices_are_read_by_pages_and_every_one_is_compared(sandbox):
    ours = sent("12.00")
    customer = ours.organization.stripe_customer_id
    foreign = {"customer": customer, "currency": "usd", "status": "paid", "lines": [{"amount": 100}]}
    sandbox.ctl("load", {"invoices": [{**foreign, "id": f"in_{number:03d}"} for number in range(230)]})
    # The oldest of all: it is on the last page.
    [(moment,)] = sql("SELECT extract(epoch FROM clock_timestamp())::bigint - 3600")
    changes = {"total": 1300, "created": int(moment)}
    sandbox.act("edit", invoice=ours.stripe_id, force=True, changes=changes)
    before = len(sandbox.calls())
    run, report = reconcile()
    assert sandbox.calls()[before:].count("GET /v1/invoices") == 3
    assert (run.invoices, report.unmanaged) == (231, 230)
    assert [row.field for row in report.differences] == ["total"]


def test_a_run_that_dies_goes_on_where_it_was_and_a_new_one_finds_the_same(sandbox):
    ours = sent("12.00")
    foreign = {"customer": ours.organization.stripe_customer_id, "currency": "usd", "status": "paid"}
    sandbox.ctl("load", {"invoices": [{**foreign, "id": f"in_{number:03d}"} for number in range(150)]})
    sandbox.act("void", invoice=ours.stripe_id)
    now = clock.now()
    with transaction():
        run_id = reconciling.begin(reconciling.Window(NOW - DAY, now + DAY), now=now)
    reconciling.advance(run_id)
    reconciling.advance(run_id)
    half = sql("SELECT count(*) FROM drift")[0][0]
    assert 0 < half < 151
    # Another run begins and ends while the first lies dead.
    _, report = reconcile(now=now + timedelta(seconds=1))
    assert (len(report.differences), report.unmanaged) == (1, 150)
    before = len(sandbox.calls())
    go_through(run_id)
    assert sandbox.calls()[before:].count("GET /v1/invoices") == 1, "the first page is not read again"
    assert sql("SELECT count(*), count(DISTINCT (stripe_id, field)) FROM drift") == [(151, 151)]
    assert counts_by_drift_state() == {"open": 151}
    assert sql("SELECT count(*) FROM reconciled_invoices") == [(0,)]


def test_a_month_finds_its_invoices_wherever_they_are_and_no_other_months(sandbox):
    october = sent("12.00")
    september = sent("3.00", slug="umbrella", month=MONTH.previous, now=MONTH.start + 5 * DAY)
    ago = int((MONTH.start - 200 * DAY).timestamp())
    for invoice in (october, september):
        sandbox.act("edit", invoice=invoice.stripe_id, force=True, changes={"total": 1, "created": ago})
    _, report = reconcile(MONTH)
    assert [row.invoice_id for row in report.differences] == [october.id]
    with pytest.raises(InvalidInput, match="is not over"):
        reconciling.Window.of_month(MONTH, now=MONTH.end - DAY)


def test_the_clock_starts_one_run_a_day_and_workers_do_it(sandbox):
    invoice = sent("12.00")
    sandbox.act("void", invoice=invoice.stripe_id)
    now = clock.now()
    assert reconciling.begin_nightly(now=now)
    assert not reconciling.begin_nightly(now=now)
    work()
    assert rows() == [("status", "open", "void")]
    assert sql("SELECT phase, differences FROM reconciliations") == [("done", 1)]
    # What differs is looked at again, even if it has left the window since.
    later = now + 200 * DAY
    assert reconciling.begin_nightly(now=later)
    sandbox.act("edit", invoice=invoice.stripe_id, force=True, changes={"status": "open"})
    work()
    assert counts_by_drift_state() == {"gone": 1}
    assert open_rows() == 0


def test_stripe_that_does_not_answer_stops_a_run_and_nothing_is_taken_for_gone(sandbox):
    invoice = sent("12.00")
    sandbox.act("void", invoice=invoice.stripe_id)
    reconcile()
    sandbox.fault("GET /v1/invoices", "html_502", times=2)
    assert reconciling.begin_nightly(now=clock.now())
    outbox.drain()
    assert counts_by_drift_state() == {"open": 1}
    work()
    assert counts_by_drift_state() == {"open": 1}
    assert sql("SELECT phase FROM reconciliations ORDER BY id DESC LIMIT 1") == [("done",)]


def test_a_key_that_stripe_does_not_take_is_not_an_invoice_that_is_gone(sandbox):
    invoice = sent("12.00")
    sandbox.act("edit", invoice=invoice.stripe_id, force=True, changes={"created": 1})
    sandbox.fault("GET /v1/invoices/*", "400")
    now = clock.now()
    with transaction():
        run_id = reconciling.begin(reconciling.Window(NOW - DAY, now + DAY), now=now)
    with pytest.raises(GiveUp, match="Stripe refused"):
        go_through(run_id)
    assert rows() == []


@pytest.mark.parametrize("state", [DriftState.ACCEPTED, DriftState.IGNORED])
def test_what_somebody_has_decided_on_asks_again_only_when_it_changes(sandbox, state):
    invoice = sent("12.00")
    sandbox.act("edit", invoice=invoice.stripe_id, force=True, changes={"total": 1300})
    _, report = reconcile()
    public_id = report.differences[0].public_id
    with pytest.raises(InvalidInput, match="Say why"), transaction():
        drift.decide(public_id, state, reason=" ", by="Ada", now=clock.now())
    with transaction():
        drift.decide(public_id, state, reason="agreed by phone", by="Ada", now=clock.now())
    _, report = reconcile()
    assert report.sentence == "0 differences, 0.00"
    [(kept, reason, by)] = sql("SELECT state, reason, decided_by FROM drift")
    assert (kept, reason, by) == (state, "agreed by phone", "Ada")
    sandbox.act("edit", invoice=invoice.stripe_id, force=True, changes={"total": 1400})
    _, report = reconcile()
    assert report.sentence == "1 difference, 2.00 USD"
    assert counts_by_drift_state() == {"gone": 1, "open": 1}
    with pytest.raises(InvalidTransition, match="gone by itself"), transaction():
        drift.decide(public_id, state, reason="again", by="Ada", now=clock.now())
    entry = sql("SELECT before, after, reason FROM audit_entries WHERE action = :name", name=f"difference {state}")
    assert [(row.before["state"], row.after["state"], row.reason) for row in entry] == [
        ("open", state, "agreed by phone")
    ]


def test_a_difference_is_one_row_whoever_finds_it(app, sandbox):
    invoice = sent("12.00")
    sandbox.act("void", invoice=invoice.stripe_id)
    results = at_once(app, *[lambda: reconcile()[1].sentence] * 3)
    assert set(results) == {"1 difference, 0.00"}
    assert sql("SELECT count(*) FROM drift") == [(1,)]
    assert db.session.query(Drift).count() == 1
