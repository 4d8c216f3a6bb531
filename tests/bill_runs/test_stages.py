"""A month goes from drafts to a closed book, stage by stage, by what the rows say."""

from datetime import date, timedelta

import pytest
from sqlalchemy import text

from portal.bill_runs import starting
from portal.bill_runs.models import RunKind
from portal.bill_runs.queries import run_of
from portal.bill_runs.reporting import approved_sums, figures_of, progress_of
from portal.bill_runs.reviewing import approve, compute_again, hold
from portal.bill_runs.steering import cancel_run, close_run, finalize_approved, pause, resume, take_back
from portal.core.errors import DraftChanged, InvalidInput, InvalidTransition, NotReady
from portal.infra import outbox
from portal.infra.db import db, transaction
from portal.invoicing.finalizing import cancel
from tests.bill_runs.conftest import (
    customers,
    end_holds,
    examine,
    finalize,
    on,
    settings,
    start,
    state,
    states,
    work,
)
from tests.factories import (
    MONTH,
    NOW,
    add,
    finalize_now,
    make_draft,
    make_final,
    make_meter,
    make_organization,
    make_price,
    sql,
    use,
)

pytestmark = pytest.mark.usefixtures("books")


def seen(run, *organizations) -> dict:
    """What a page shows of these organizations' drafts."""
    rows = sql("SELECT organization_id, fingerprint FROM bill_run_items WHERE bill_run_id = :id", id=run.id)
    fingerprints = dict(tuple(row) for row in rows)
    return {each.public_id: fingerprints[each.id] or "" for each in organizations}


def item(run, organization):
    [row] = sql(
        "SELECT state, reason, flags, total_before, total, decided_by, invoice_id, held_until FROM bill_run_items"
        " WHERE bill_run_id = :run AND organization_id = :organization",
        run=run.id,
        organization=organization.id,
    )
    return row


def numbers(month=MONTH) -> list[int]:
    rows = sql("SELECT number FROM invoices WHERE period_start = :m AND number IS NOT NULL", m=month.first_day)
    return sorted(int(number.rpartition("-")[2]) for (number,) in rows)


def test_a_month_goes_from_drafts_to_final_invoices(no_hold):
    customers(4)
    run = start()
    assert (state(run), states(run)) == ("generating", {"waiting": 4})
    assert start().id == run.id
    work()
    assert (state(run), states(run)) == ("review", {"approved": 4})
    with transaction():
        assert approved_sums(run) == [("USD", 4, 1000)]
        [sums] = figures_of(run).sums
        assert (sums.total, sums.amount_due, sums.before) == (1000, 1000, 1000)
    finalize(run)
    work()
    assert (state(run), states(run)) == ("syncing", {"finalized": 4})
    assert sql("SELECT total FROM invoices WHERE period_start = '2026-10-01' ORDER BY total") == [
        (100,), (200,), (300,), (400,)
    ]  # fmt: skip
    assert numbers() == [5, 6, 7, 8]
    assert sql("SELECT count(*) FROM outbox WHERE kind = 'sync_invoice'") == [(8,)]
    assert {row[0] for row in sql("SELECT scheduled_by FROM invoices WHERE number > 'INV-2026-000004'")} == {"Ada"}
    assert examine() == []


def test_a_run_needs_a_month_that_is_over_and_a_rehearsal_one_that_has_begun():
    with pytest.raises(NotReady, match="2026-11 is not over"):
        start(MONTH.next)
    with pytest.raises(NotReady, match="has not begun"):
        start(MONTH.plus(2), kind=RunKind.REHEARSAL)
    assert sql("SELECT count(*) FROM bill_runs") == [(0,)]


def test_whoever_was_no_customer_in_the_month_gets_no_invoice_of_it():
    meter = make_meter()
    make_price(meter)
    early, late, used, gone = (make_organization(slug) for slug in ("early", "late", "used", "gone"))
    sql("UPDATE organizations SET created_at = '2026-10-31 23:59:59Z' WHERE id = :id", id=early.id)
    sql("UPDATE organizations SET created_at = '2026-11-01 00:00Z' WHERE id IN (:a, :b)", a=late.id, b=used.id)
    use(used, meter, 5)
    make_draft(gone)
    sql("UPDATE organizations SET status = 'closed' WHERE id = :id", id=gone.id)
    run = start()
    covered = {row[0] for row in sql("SELECT organization_id FROM bill_run_items WHERE bill_run_id = :id", id=run.id)}
    assert covered == {early.id, used.id, gone.id}


def test_what_is_odd_waits_for_somebody_and_says_why(no_hold):
    steady, grown, shrunk, silent, first, unpriced, negative = (
        make_organization(slug, address="1 Quay")
        for slug in ("steady", "grown", "shrunk", "silent", "first", "unpriced", "negative")
    )
    meter = make_meter()
    make_price(meter, "1")
    for organization in (steady, grown, shrunk, silent, unpriced, negative):
        make_final(organization, "100.00", month=MONTH.previous)
    for organization, quantity in ((steady, 101), (grown, 201), (shrunk, 49), (first, 10), (negative, 10)):
        use(organization, meter, quantity)
    use(unpriced, make_meter("gpu_seconds"), 5)
    add(make_draft(negative), "-30.00")
    run = start()
    work()
    codes = {each.slug: [flag["code"] for flag in item(run, each).flags] for each in (
        steady, grown, shrunk, silent, first, unpriced, negative
    )}  # fmt: skip
    assert codes == {
        "steady": [],
        "grown": ["above"],
        "shrunk": ["below"],
        "silent": ["zero"],
        "first": ["first"],
        "unpriced": ["blocked", "zero"],
        "negative": ["negative", "below"],
    }
    assert item(run, grown).flags[0]["sentence"] == ("$201.00 is 2.0 times the last invoice's total ($100.00).")
    assert item(run, unpriced).flags[0]["sentence"] == "Some usage has no price: gpu seconds."
    assert (item(run, steady).state, item(run, steady).total_before, item(run, steady).total) == (
        "approved",
        10000,
        10100,
    )
    chosen = seen(run, grown, unpriced)
    with transaction():
        decided = approve(run.public_id, chosen, by="Ada", now=NOW)
    assert (decided.done, decided.refused) == (1, [("Unpriced", "It cannot be finalized as it stands.")])
    chosen = seen(run, shrunk)
    with transaction():
        hold(run.public_id, chosen, reason="Ask them first.", by="Ada", now=NOW)
    assert (item(run, shrunk).state, item(run, shrunk).reason) == ("held", "Ask them first.")
    finalize(run)
    work()
    assert states(run) == {"finalized": 2, "generated": 4, "held": 1}
    assert state(run) == "syncing"
    assert examine() == []


def test_late_usage_is_a_reason_to_look(no_hold):
    [organization] = customers(1)
    meter = make_meter()
    use(organization, meter, 300, at=date(2026, 9, 20), region="ams")
    run = start()
    work()
    [flag] = item(run, organization).flags
    assert flag["sentence"] == "It bills late usage of closed months: $3.00."


def test_an_approval_ends_when_the_draft_changes_before_it_is_finalized(no_hold):
    touched, left, odd = customers(3)
    run = start()
    work()
    chosen = seen(run, touched)
    with transaction():
        assert approve(run.public_id, chosen, by="Eve", now=NOW).done == 1
    add(make_draft(touched), "12.00")
    add(make_draft(left), "3.00")
    add(make_draft(odd), "500.00")
    with transaction():
        again = approve(run.public_id, {touched.public_id: "of yesterday"}, by="Eve", now=NOW)
    assert again.refused == [("Org-001", "Its draft has changed since you looked. Look again.")]
    finalize(run)
    work()
    assert item(run, touched).state == "generated"
    assert item(run, touched).reason == "The draft has changed since Eve approved it: USD 1.00 then, USD 13.00 now."
    # What nobody has looked at is looked at again by the rules.
    assert (item(run, left).state, item(run, left).total) == ("finalized", 500)
    assert (item(run, odd).state, item(run, odd).flags[0]["code"]) == ("generated", "above")
    # Later the rest follows, in the same run.
    chosen = seen(run, touched, odd)
    with transaction():
        assert approve(run.public_id, chosen, by="Ada", now=NOW).done == 2
    finalize(run)
    work()
    assert (state(run), states(run)) == ("syncing", {"finalized": 3})
    assert examine() == []


def test_cancel_in_the_hold_window_takes_everything_back():
    organizations = customers(3)
    run = start()
    work()
    finalize(run)
    work()
    assert (state(run), states(run)) == ("finalizing", {"scheduled": 3})
    assert sql("SELECT count(*) FROM outbox WHERE kind = 'finish_finalizing'") == [(0,)]
    assert numbers() == []
    with transaction():
        take_back(run.public_id, now=NOW)
    work()
    assert (state(run), states(run)) == ("review", {"approved": 3})
    assert {row[0] for row in sql("SELECT state FROM invoices WHERE period_start = '2026-10-01'")} == {"draft"}
    assert sql("SELECT count(*) FROM billed_usage WHERE invoice_id IN (SELECT id FROM invoices WHERE state = 'draft')"
               ) == [(0,)]  # fmt: skip
    finalize(run)
    work()
    with transaction():
        cancel_run(run.public_id, now=NOW)
    work()
    assert (state(run), states(run)) == ("cancelled", {"skipped": 3})
    end_holds()
    work()
    assert numbers() == []
    # It can be started again, and one that was finalized by hand meanwhile is done.
    finalize_now(make_draft(organizations[0]))
    assert start().id == run.id
    work()
    assert states(run) == {"finalized": 1, "approved": 2}
    finalize(run)
    work()
    end_holds()
    work()
    assert (state(run), states(run), numbers()) == ("syncing", {"finalized": 3}, [4, 5, 6])
    assert examine() == []


def test_cancel_after_some_are_final_takes_back_the_rest_only():
    first, second = customers(2)
    run = start()
    work()
    finalize(run)
    work()
    sql(
        "UPDATE invoices SET finalize_at = now() - interval '1 second' WHERE organization_id = :id"
        " AND state = 'scheduled'",
        id=first.id,
    )
    sql("UPDATE outbox SET run_after = now() WHERE kind = 'bill_run_finish'")
    work()
    assert states(run) == {"finalized": 1, "scheduled": 1}
    with transaction():
        cancel_run(run.public_id, now=NOW)
    work()
    assert (item(run, first).state, item(run, second).state) == ("finalized", "skipped")
    states_by_organization = sql(
        "SELECT state FROM invoices WHERE period_start = '2026-10-01' ORDER BY organization_id"
    )
    assert [row[0] for row in states_by_organization] == ["finalized", "draft"]
    assert examine() == []


def test_one_that_is_cancelled_on_its_own_page_is_held():
    organization, _ = customers(2)
    run = start()
    work()
    finalize(run)
    work()
    invoice_id = item(run, organization).invoice_id
    with transaction():
        cancel(invoice_id, now=NOW)
    end_holds()
    work()
    assert states(run) == {"finalized": 1, "held": 1}
    assert item(run, organization).reason == "Finalizing was cancelled on the invoice's own page."
    assert state(run) == "syncing"
    assert examine() == []


@pytest.mark.parametrize("stage", ["generating", "review", "finalizing"])
def test_pausing_holds_a_run_where_it_is_until_it_is_resumed(stage, no_hold):
    customers(3)
    run = start()
    if stage != "generating":
        work()
    if stage == "finalizing":
        finalize(run)
    with transaction():
        pause(run.public_id, now=NOW)
        pause(run.public_id, now=NOW)
    before = states(run)
    work()
    on(run)
    work()
    assert (state(run), states(run)) == ("paused", before)
    if stage == "review":
        with transaction(), pytest.raises(InvalidTransition):
            finalize_approved(run.public_id, by="Ada", now=NOW)
    with transaction():
        resume(run.public_id, now=NOW)
        resume(run.public_id, now=NOW)
    assert state(run) == stage
    work()
    if stage != "finalizing":
        finalize(run)
        work()
    assert (state(run), states(run)) == ("syncing", {"finalized": 3})
    assert examine() == []


def test_a_job_that_is_not_the_last_of_its_stage_waits_for_nobody_at_work(monkeypatch):
    monkeypatch.setattr(starting, "CHUNK_SIZE", 1)
    customers(2)
    run = start()
    first, second = (row[0] for row in sql("SELECT id FROM outbox WHERE kind = 'bill_run_generate' ORDER BY id"))
    with db.engine.begin() as other:
        other.execute(text("SET LOCAL ROLE portal_system"))
        # As somebody who computes the other chunk keeps it.
        other.execute(text("SELECT FROM bill_runs WHERE id = :id FOR SHARE"), {"id": run.id})
        outbox.run(first)
        assert sql("SELECT finished_at IS NOT NULL, tries FROM outbox WHERE id = :id", id=first) == [(True, 1)]
    assert (state(run), states(run)) == ("generating", {"approved": 1, "waiting": 1})
    outbox.run(second)
    assert (state(run), states(run)) == ("review", {"approved": 2})


def test_a_paused_run_can_be_cancelled_and_a_closed_one_can_not(no_hold):
    run = start()
    with transaction():
        pause(run.public_id, now=NOW)
        cancel_run(run.public_id, now=NOW)
    assert state(run) == "cancelled"
    other = start(MONTH.previous)
    work()
    on(other)
    assert state(other) == "closed"
    with transaction(), pytest.raises(InvalidTransition, match="is closed"):
        cancel_run(other.public_id, now=NOW)


def test_finalizing_wants_what_was_seen(no_hold):
    organizations = customers(2)
    run = start()
    with transaction(), pytest.raises(NotReady, match="still being computed"):
        finalize_approved(run.public_id, by="Ada", now=NOW)
    work()
    with transaction(), pytest.raises(DraftChanged, match="3 invoices were approved when you looked, and 2 are now"):
        finalize_approved(run.public_id, by="Ada", now=NOW, seen=3)
    chosen = seen(run, *organizations)
    with transaction():
        hold(run.public_id, chosen, reason="Not yet.", by="Ada", now=NOW)
    with transaction(), pytest.raises(NotReady, match="Nothing is approved"):
        finalize_approved(run.public_id, by="Ada", now=NOW)
    chosen = seen(run, *organizations)
    with transaction(), pytest.raises(InvalidInput, match="why they are held"):
        hold(run.public_id, chosen, reason=" ", by="Ada", now=NOW)


@pytest.fixture
def corrupt(owner_connection):
    """Write terms into a price version past everything that keeps it as it is, which no role of the portal can."""

    def write(version_id: int, terms: str) -> None:
        done = owner_connection.execute("UPDATE price_versions SET terms = %s WHERE id = %s", (terms, version_id))
        assert done.rowcount == 1

    owner_connection.execute("ALTER TABLE price_versions DISABLE TRIGGER USER")
    owner_connection.execute("ALTER TABLE price_versions NO FORCE ROW LEVEL SECURITY")
    yield write
    owner_connection.execute("ALTER TABLE price_versions FORCE ROW LEVEL SECURITY")
    owner_connection.execute("ALTER TABLE price_versions ENABLE TRIGGER USER")


def test_the_poison_of_one_organization_is_its_own(corrupt, no_hold):
    """R15: a price that cannot be read; the others are final, and the run says who is left."""
    good, bad = customers(2)
    version = make_price(make_meter(), "0.02", organization_id=bad.id, name="Its own")
    corrupt(version.id, '{"model": "per_unit"}')
    run = start()
    work()
    assert (item(run, good).state, item(run, bad).state) == ("approved", "failed")
    assert "unit_amount" in item(run, bad).reason
    finalize(run)
    work()
    assert (state(run), states(run)) == ("syncing", {"finalized": 1, "failed": 1})
    corrupt(version.id, '{"model": "per_unit", "unit_amount": "0.01"}')
    chosen = seen(run, bad)
    with transaction():
        compute_again(run.public_id, chosen, now=NOW)
    work()
    assert item(run, bad).state == "approved"
    finalize(run)
    work()
    assert states(run) == {"finalized": 2}
    assert examine() == []


def test_a_rehearsal_computes_the_same_and_writes_nothing_but_its_own_rows(no_hold):
    first, *_ = customers(3)
    drafts = sql("SELECT count(*) FROM invoices")
    run = start(kind=RunKind.REHEARSAL)
    work()
    assert (state(run), states(run)) == ("closed", {"approved": 3})
    [(report,)] = sql("SELECT report FROM bill_runs WHERE id = :id", id=run.id)
    assert report["sums"] == [{"currency": "USD", "organizations": 3, "total": 600, "amount_due": 600, "before": 600}]
    assert sql("SELECT count(*) FROM invoices") == drafts
    add(make_draft(first), "1.00")
    assert start(kind=RunKind.REHEARSAL).id == run.id
    work()
    assert sql("SELECT sum(total) FROM bill_run_items") == [(700,)]
    with transaction(), pytest.raises(InvalidTransition):
        finalize_approved(run.public_id, by="Ada", now=NOW)
    with transaction(), pytest.raises(InvalidTransition):
        hold(run.public_id, {first.public_id: ""}, reason="x", by="Ada", now=NOW)
    assert examine() == []


def test_progress_is_counted(no_hold):
    customers(4)
    run = start()
    work()
    finalize(run)
    sql(
        "UPDATE bill_run_items SET state = 'finalized', updated_at = :at WHERE total <= 200",
        at=NOW + timedelta(seconds=9),
    )
    sql("UPDATE bill_run_items SET updated_at = :at WHERE total > 200", at=NOW - timedelta(minutes=5))
    with transaction():
        progress = progress_of(run_of(run.public_id), figures_of(run), now=NOW + timedelta(seconds=20))
    assert (progress.done, progress.whole, progress.a_minute, progress.seconds_left) == (2, 4, 6, 20)


def test_a_later_month_waits_until_the_earlier_one_is_final(no_hold):
    first, _ = customers(2)
    make_draft(first, MONTH.previous.previous)
    earlier = start(MONTH.previous.previous)
    work()
    with pytest.raises(NotReady, match="The run of 2026-08 comes first: it is review."):
        start()
    with transaction():
        cancel_run(earlier.public_id, now=NOW)
    start()


def test_a_run_without_anything_left_goes_on_by_itself_and_keeps_its_totals(no_hold):
    make_final(make_organization(), "0.00")
    run = start()
    work()
    on(run)
    assert state(run) == "closed"
    [(report,)] = sql("SELECT report FROM bill_runs")
    assert report["organizations"] == {"finalized": 1}
    assert report["problems"] == 0
    assert report["sent"][0] == {
        "currency": "USD", "invoices": 1, "amount_due": 0, "synced": 0, "synced_amount": 0, "settled": 1, "void": 0
    }  # fmt: skip


def test_a_run_with_something_left_is_closed_by_a_person_only(no_hold):
    make_final(make_organization("done"), "0.00")
    odd = make_organization("odd")
    make_draft(odd)
    run = start()
    work()
    chosen = seen(run, odd)
    with transaction():
        hold(run.public_id, chosen, reason="A question is open.", by="Ada", now=NOW)
    on(run)
    assert state(run) == "review"
    with transaction(), pytest.raises(InvalidTransition, match="is review; it cannot become closed"):
        close_run(run.public_id, by="Ada", now=NOW)
    sql("UPDATE bill_runs SET state = 'reconciling'")
    on(run)
    assert state(run) == "reconciling"
    with transaction():
        close_run(run.public_id, by="Ada", now=NOW)
    [(report,)] = sql("SELECT report FROM bill_runs")
    assert (report["problems"], report["closed_by"]) == (1, "Ada")


def test_the_settings_decide_whether_the_clock_finalizes(app, monkeypatch, no_hold):
    customers(1)
    run = start(review_hours=24)
    work()
    since = run.as_of
    on(run, now=NOW)
    assert state(run) == "review"
    sql(
        "UPDATE bill_runs SET entered = entered || jsonb_build_object('review', CAST(:at AS text))",
        at=since.isoformat(),
    )
    on(run, now=NOW + timedelta(hours=23, minutes=59))
    assert state(run) == "review"
    on(run, now=NOW + timedelta(hours=24))
    assert state(run) == "finalizing"
    work()
    assert state(run) == "syncing"
    assert settings().bill_run_automatic is False


def test_bulk_and_single_write_the_same(app):
    """One by hand, one by a run: the same rows but for numbers, times and ids."""
    by_hand, by_run = make_organization("hand"), make_organization("run")
    meter = make_meter()
    make_price(meter, {"model": "graduated", "tiers": [
        {"up_to": "99.5", "unit_amount": "0.10"}, {"up_to": None, "unit_amount": "0.03"}
    ]})  # fmt: skip
    for organization in (by_hand, by_run):
        add(make_draft(organization, MONTH.previous), "-5.00")
        finalize_now(make_draft(organization, MONTH.previous))
        for region in ("ams", "fra"):
            use(organization, meter, 70, region=region, at=date(2026, 10, 4))
        add(make_draft(organization), "12.34")
        add(make_draft(organization), "-1.00")
    finalize_now(make_draft(by_hand))
    run = start()
    work()
    chosen = seen(run, by_run)
    with transaction():
        approve(run.public_id, chosen, by="Ada", now=NOW)
    finalize(run)
    work()
    end_holds()
    work()
    assert states(run) == {"finalized": 2}
    facts = [_facts(organization) for organization in (by_hand, by_run)]
    assert facts[0] == facts[1]
    assert len(facts[0]["lines"]) == 3
    assert examine() == []


def _facts(organization) -> dict:
    """Everything that finalizing writes, without what is each invoice's own."""
    [row] = sql(
        "SELECT * FROM invoices WHERE organization_id = :id AND period_start = '2026-10-01'", id=organization.id
    )
    invoice = dict(row._mapping)
    own = ("id", "public_id", "organization_id", "number", "content_sha256", "finalized_at", "invoiced_at",
           "finalize_at", "created_at", "paid_at", "due_date")  # fmt: skip
    document = invoice.pop("document")
    for name in ("number", "invoiced_on", "due_date", "buyer"):
        document.pop(name)
    for line in document["lines"]:
        line.pop("id")
        line["derivation"].pop("one_off_item", None)
    rows = sql("SELECT * FROM invoice_items WHERE invoice_id = :id ORDER BY position", id=invoice["id"])
    lines = [
        {name: value for name, value in row._mapping.items()
         if name not in ("id", "public_id", "invoice_id", "organization_id", "one_off_item_id", "derivation", "series")}
        for row in rows
    ]  # fmt: skip
    audit = sql(
        "SELECT action, before, after - 'number' - 'fingerprint' AS after FROM audit_entries"
        " WHERE subject_kind = 'invoice' AND subject_id = :id AND action LIKE '%finaliz%' ORDER BY id",
        id=invoice["id"],
    )
    jobs = sql("SELECT kind, organization_id = :o AS own FROM outbox WHERE kind = 'sync_invoice' AND dedupe_key = :id",
               o=organization.id, id=str(invoice["id"]))  # fmt: skip
    return {
        "invoice": {name: value for name, value in invoice.items() if name not in (*own, "fingerprint")},
        "document": document,
        "lines": lines,
        "billed": sql(
            "SELECT day, meter_id, quantity, events FROM billed_usage WHERE invoice_id = :id ORDER BY 1, 2, 3",
            id=invoice["id"],
        ),
        "balance": sql(
            "SELECT amount, reason FROM balance_entries WHERE organization_id = :id ORDER BY id", id=organization.id
        ),
        "months": sql(
            "SELECT month, currency, invoices, tax, total, credited, amount_due FROM invoice_months"
            " WHERE organization_id = :id ORDER BY month",
            id=organization.id,
        ),
        "audit": [tuple(each) for each in audit],
        "jobs": [tuple(each) for each in jobs],
    }
