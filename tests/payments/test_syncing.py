"""One finished invoice goes to Stripe, once, whatever happens on the way."""

from itertools import product

import pytest

from portal import billing_cycle
from portal.core.errors import InvalidTransition
from portal.core.lifecycle import PaymentState, SyncState
from portal.infra import outbox
from portal.infra.db import transaction
from portal.invoicing.draft_facts import balance_of
from portal.invoicing.voiding import void_invoice
from portal.payments.gateway import LINES_PER_PAGE
from portal.payments.syncing import LINES_PER_CALL
from tests.factories import MONTH, NOW, add, finalize_now, make_draft, make_final, make_organization, reload, sql
from tests.full import part
from tests.payments.conftest import examine, open_rows, work

pytestmark = pytest.mark.usefixtures("books")
ADD = "POST /v1/invoices/*/add_lines"
READ = "GET /v1/invoices/*/lines"
FINALIZE = "POST /v1/invoices/*/finalize"


def assert_sent_once(sandbox, invoice):
    """Stripe has this invoice exactly once, open, and with our total."""
    ours = reload(invoice)
    theirs = sandbox.invoices(invoice.public_id)
    assert [(each["status"], each["total"], each["currency"].upper()) for each in theirs] == [
        ("open", ours.amount_due, ours.currency)
    ]
    assert (ours.sync_state, ours.stripe_id) == (SyncState.SYNCED, theirs[0]["id"])
    assert len(sandbox.invoices()) == len({each["metadata"]["invoice_id"] for each in sandbox.invoices()})
    assert sum(line["amount"] for line in theirs[0]["lines"]) == ours.amount_due
    assert examine() == []


def test_the_good_path_is_four_calls_and_the_customer_once(sandbox):
    organization = make_organization()
    first = make_final(organization, "12.00", "23.45", month=MONTH.previous)
    work()
    assert sandbox.calls() == ["POST /v1/customers", "POST /v1/invoices", ADD, READ, FINALIZE]
    assert_sent_once(sandbox, first)
    second = make_final(organization, "7.00")
    work()
    assert sandbox.calls()[5:] == ["POST /v1/invoices", ADD, READ, FINALIZE]
    assert_sent_once(sandbox, second)
    assert len(sandbox.ledger()["customers"]) == 1


@pytest.mark.parametrize(("lines", "parts", "pages"), [(1, 1, 1), (100, 1, 1), (101, 2, 2), (250, 3, 3)])
def test_up_to_250_lines_go_in_hundreds(sandbox, lines, parts, pages):
    assert LINES_PER_CALL == LINES_PER_PAGE == 100
    invoice = make_final(make_organization(), *["1.01"] * lines)
    work()
    assert sandbox.calls() == ["POST /v1/customers", "POST /v1/invoices", *[ADD] * parts, *[READ] * pages, FINALIZE]
    assert_sent_once(sandbox, invoice)
    assert len(sandbox.invoices()[0]["lines"]) == lines


@pytest.mark.parametrize("with_balance", [False, True])
def test_more_than_250_lines_are_grouped_and_the_totals_are_equal(sandbox, with_balance):
    organization = make_organization()
    if with_balance:
        make_final(organization, "-3.33", month=MONTH.previous)
    amounts = [f"{1 + number / 100:.2f}" for number in range(258)] + ["-0.75", "-2.00"]
    invoice = make_final(organization, *amounts)
    work()
    assert_sent_once(sandbox, invoice)
    lines = sandbox.invoices()[0]["lines"]
    assert len(lines) == 250
    assert sum("further lines" in line["description"] for line in lines) == 1
    assert sum("Credit balance" in line["description"] for line in lines) == with_balance
    assert len(sql("SELECT 1 FROM invoice_items WHERE invoice_id = :id", id=invoice.id)) == 260


def test_stripe_is_told_never_to_finalize_round_or_collect_pending_items_by_itself(sandbox):
    invoice = make_final(make_organization(), "5.00")
    work()
    bodies = {call["path"].rpartition("/")[2]: call["params"] for call in sandbox.ledger()["calls"]}
    create = bodies["invoices"]
    assert create["auto_advance"] in (False, "false")
    assert create["pending_invoice_items_behavior"] == "exclude"
    assert create["metadata"] == {"invoice_id": str(invoice.public_id), "content_sha256": invoice.content_sha256}
    assert create["custom_fields"] == [{"name": "Invoice", "value": invoice.number}]
    assert "unit_amount_decimal" not in str(bodies)
    assert "automatic_tax" not in create


def test_stray_pending_items_of_the_customer_stay_out(sandbox):
    organization = make_organization()
    first = make_final(organization, "5.00", month=MONTH.previous)
    work()
    customer = reload(first).organization.stripe_customer_id
    stray = gateway_client().v1.invoice_items.create({"customer": customer, "amount": 999, "currency": "usd"})
    invoice = make_final(organization, "6.00")
    work()
    assert_sent_once(sandbox, invoice)
    assert stray.id


def gateway_client():
    from portal.payments.gateway import client_of_app

    return client_of_app()


def test_every_write_carries_its_stored_key_and_the_parameters_that_were_stored(sandbox):
    invoice = make_final(make_organization(), "5.00")
    work()
    query = "SELECT idempotency_key, step FROM stripe_calls WHERE outcome = 'ok' AND attempts = 1 ORDER BY id"
    stored = {row.idempotency_key: row.step for row in sql(query)}
    sent = [call["idempotency_key"] for call in sandbox.ledger()["calls"] if call["method"] != "GET"]
    assert sent == list(stored)
    assert list(stored.values()) == ["customer", "create", "add_lines:0", "finalize"]
    assert str(invoice.public_id) in sent[1]


WRITES = ["POST /v1/customers", "POST /v1/invoices", ADD, FINALIZE]
MODES = [
    *("timeout_after", "timeout_before", "reset_after", "html_502", "html_502_after", "garbage_body"),
    *("cut_after:30", "missing_field:id", "429", "lock_timeout"),
]


@pytest.mark.fault
@pytest.mark.parametrize(("match", "mode"), part(list(product(WRITES, MODES)), 3))
@pytest.mark.usefixtures("impatient")
def test_whatever_happens_to_a_write_there_is_one_invoice_in_the_end(sandbox, match, mode):
    invoice = make_final(make_organization(), "12.00", "23.45")
    sandbox.fault(match, mode, seconds=5)
    outbox.drain()
    sandbox.heal()
    waiting = reload(invoice)
    assert waiting.sync_state == SyncState.UNKNOWN
    assert waiting.sync_message
    assert waiting.payment_state == PaymentState.OPEN
    assert open_rows() == 1
    work()
    assert_sent_once(sandbox, invoice)
    assert reload(invoice).sync_message is None
    assert len(sandbox.ledger()["customers"]) == 1


@pytest.mark.fault
@pytest.mark.usefixtures("impatient")
def test_every_write_is_lost_three_times_and_there_is_still_one_invoice(sandbox):
    for match in WRITES:
        sandbox.fault(match, "reset_after", times=3)
    invoice = make_final(make_organization(), "12.00")
    work(rounds=20)
    assert_sent_once(sandbox, invoice)


@pytest.mark.fault
@pytest.mark.parametrize("mode", ["html_502", "reset_after", "429", "timeout_after"])
@pytest.mark.usefixtures("impatient")
def test_a_read_that_fails_is_only_a_reason_to_come_back(sandbox, mode):
    sandbox.fault(READ, mode, seconds=5)
    invoice = make_final(make_organization(), "12.00")
    outbox.drain()
    sandbox.heal()
    assert reload(invoice).sync_state == SyncState.UNKNOWN
    assert [each["status"] for each in sandbox.invoices()] == ["draft"]
    work()
    assert_sent_once(sandbox, invoice)
    assert [sandbox.calls().count(each) for each in WRITES] == [1, 1, 1, 1]  # what was answered is not asked again


@pytest.mark.fault
@pytest.mark.usefixtures("impatient")
def test_what_is_sent_again_is_what_was_sent_first_though_the_organization_has_changed(sandbox):
    organization = make_organization(billing_email="old@acme.example")
    sandbox.fault("POST /v1/customers", "timeout_after", seconds=5)
    make_final(organization, "12.00")
    outbox.drain()
    sandbox.heal()
    sql("UPDATE organizations SET billing_email = 'new@acme.example', name = 'New name'")
    work()
    calls = [call for call in sandbox.ledger()["calls"] if call["path"] == "/v1/customers"]
    assert [call["params"]["email"] for call in calls] == ["old@acme.example"] * 2
    assert calls[0]["params"] == calls[1]["params"]
    assert calls[1]["replayed"] is True


@pytest.mark.fault
@pytest.mark.usefixtures("impatient")
def test_an_outcome_that_has_been_unknown_for_a_day_is_looked_up_and_not_asked_again(sandbox):
    """The key may be forgotten by then, and a second invoice would come about."""
    sandbox.fault("POST /v1/invoices", "timeout_after", seconds=5)
    invoice = make_final(make_organization(), "12.00")
    outbox.drain()
    sandbox.heal()
    sql("UPDATE stripe_calls SET first_attempt_at = first_attempt_at - interval '25 hours'")
    sandbox.ctl("clock", {"advance_seconds": 25 * 3600})
    work()
    assert_sent_once(sandbox, invoice)
    assert sandbox.calls().count("POST /v1/invoices") == 1


@pytest.mark.fault
def test_a_500_that_is_stored_for_the_key_is_unknown_and_never_becomes_two(sandbox):
    sandbox.fault("POST /v1/invoices", "500_after")
    invoice = make_final(make_organization(), "12.00")
    outbox.drain()
    assert reload(invoice).sync_state == SyncState.UNKNOWN
    assert len(sandbox.invoices()) == 1
    assert open_rows() == 1
    work()
    assert_sent_once(sandbox, invoice)
    assert sandbox.calls().count("POST /v1/invoices") == 2  # the second answer is the first, repeated


@pytest.mark.fault
@pytest.mark.parametrize(
    "shown", ["wrong_total:1", "wrong_total:-300", "missing_field:total", "missing_field:currency"]
)
def test_a_total_that_is_not_ours_is_never_finalized(sandbox, shown):
    sandbox.fault(ADD, shown)
    invoice = make_final(make_organization(), "12.00")
    work()
    stopped = reload(invoice)
    assert stopped.sync_state == SyncState.MISMATCH
    assert "1200" in stopped.sync_message or "USD" in stopped.sync_message
    assert FINALIZE not in sandbox.calls()
    assert [each["status"] for each in sandbox.invoices()] == ["draft"]
    assert examine() == []
    billing_cycle.sync_again(invoice.id)
    work()
    assert_sent_once(sandbox, invoice)


@pytest.mark.fault
def test_a_line_that_somebody_added_at_stripe_is_a_mismatch_until_it_is_gone(sandbox):
    sandbox.fault(READ, "429")
    invoice = make_final(make_organization(), "12.00")
    outbox.drain()
    [draft] = sandbox.invoices()
    edited = sandbox.act("edit", invoice=draft["id"], add_line={"amount": 5, "description": "a gift"})
    assert edited["total"] == 1205
    work()
    assert reload(invoice).sync_state == SyncState.MISMATCH
    assert "2 lines instead of 1" in reload(invoice).sync_message
    assert FINALIZE not in sandbox.calls()
    stray = next(line["id"] for line in sandbox.invoices()[0]["lines"] if line["amount"] == 5)
    sandbox.act("edit", invoice=draft["id"], remove_line=stray)
    billing_cycle.sync_again(invoice.id)
    work()
    assert_sent_once(sandbox, invoice)


@pytest.mark.fault
def test_a_refusal_stops_the_sync_with_a_sentence_and_it_goes_on_after_the_repair(sandbox):
    organization = make_organization()
    make_final(organization, "5.00", month=MONTH.previous)
    work()
    customer = sandbox.ledger()["customers"][0]["id"]
    sandbox.act("delete_customer", customer=customer)
    invoice = make_final(organization, "12.00")
    work()
    dead = reload(invoice)
    assert dead.sync_state == SyncState.DEAD
    assert "Stripe refused" in dead.sync_message
    assert customer in dead.sync_message or "customer" in dead.sync_message.lower()
    assert sandbox.invoices(invoice.public_id) == []
    [(finished, reason)] = sql("SELECT finished_at, last_error FROM outbox WHERE dead_at IS NOT NULL")
    assert finished is None
    assert reason == dead.sync_message
    work()
    assert sandbox.calls().count("POST /v1/invoices") == 2  # nobody tries again by himself
    repaired = gateway_client().v1.customers.create({"name": "Acme again"}).id
    sql("UPDATE organizations SET stripe_customer_id = :id", id=repaired)
    billing_cycle.sync_again(invoice.id)
    work()
    assert_sent_once(sandbox, invoice)
    [(parameters, generation)] = sql(
        "SELECT parameters, generation FROM stripe_calls WHERE step = 'create' AND invoice_id = :id AND outcome = 'ok'",
        id=invoice.id,
    )
    assert (parameters["customer"], generation) == (repaired, 2)


@pytest.mark.fault
@pytest.mark.usefixtures("impatient")
def test_a_refusal_after_an_unknown_outcome_does_not_open_a_second_key(sandbox):
    """The first attempt may have worked: only its own key may be asked."""
    sandbox.fault("POST /v1/invoices", "timeout_after", seconds=5)
    sandbox.fault("POST /v1/invoices", "400", nth=2)
    invoice = make_final(make_organization(), "12.00")
    work()
    assert reload(invoice).sync_state == SyncState.DEAD
    sandbox.heal()
    billing_cycle.sync_again(invoice.id)
    work()
    assert_sent_once(sandbox, invoice)
    keys = {call["idempotency_key"] for call in sandbox.ledger()["calls"] if call["path"] == "/v1/invoices"}
    assert len(keys) == 1


def test_asking_again_for_a_sync_that_has_not_stopped_is_refused(sandbox):
    invoice = make_final(make_organization(), "12.00")
    with pytest.raises(InvalidTransition):
        billing_cycle.sync_again(invoice.id)
    work()
    with pytest.raises(InvalidTransition, match="synced"):
        billing_cycle.sync_again(invoice.id)
    with pytest.raises(InvalidTransition, match="only final ones"):
        billing_cycle.sync_again(make_draft(invoice.organization, MONTH.next).id)


def test_a_sync_whose_job_died_without_an_answer_can_be_asked_for_again(sandbox):
    invoice = make_final(make_organization(), "12.00")
    sql("UPDATE outbox SET dead_at = now(), last_error = 'The job ended its process on every try.'")
    assert reload(invoice).sync_state == SyncState.PENDING
    billing_cycle.sync_again(invoice.id)
    work()
    assert_sent_once(sandbox, invoice)


def test_asking_twice_sends_once(sandbox):
    invoice = make_final(make_organization(), "12.00")
    for _ in range(3):
        with transaction():
            outbox.enqueue("sync_invoice", dedupe_key=str(invoice.id), organization_id=None, invoice_id=invoice.id)
    work()
    with transaction():
        outbox.enqueue("sync_invoice", dedupe_key=str(invoice.id), organization_id=None, invoice_id=invoice.id)
    work()
    assert_sent_once(sandbox, invoice)
    assert sandbox.calls().count("POST /v1/invoices") == 1


def test_an_invoice_of_nothing_is_settled_here_and_never_sent(sandbox):
    organization = make_organization()
    invoice = make_final(organization, "5.00", "-5.00")
    work()
    assert (invoice.amount_due, invoice.payment_state, invoice.sync_state) == (0, PaymentState.PAID, SyncState.NONE)
    assert invoice.number
    assert sandbox.calls() == []
    assert examine() == []


def test_a_negative_total_is_carried_forward_and_used_on_the_next_invoice(sandbox):
    organization = make_organization()
    credit = make_final(organization, "5.00", "-15.00", month=MONTH.plus(-2))
    assert (credit.total, credit.amount_due, credit.payment_state) == (-1000, 0, PaymentState.PAID)
    assert balance_of(organization.id) == 1000
    small = make_final(organization, "3.00", month=MONTH.previous)
    assert (small.total, small.balance_applied, small.amount_due) == (300, 300, 0)
    work()
    assert sandbox.calls() == []
    large = make_final(organization, "20.00", "1.00")
    assert (large.total, large.balance_applied, large.amount_due) == (2100, 700, 1400)
    assert balance_of(organization.id) == 0
    work()
    assert_sent_once(sandbox, large)
    assert sorted(line["amount"] for line in sandbox.invoices()[0]["lines"]) == [-700, 100, 2000]


def test_yen_have_no_minor_unit_and_are_sent_as_they_are(sandbox):
    invoice = make_final(make_organization(currency="JPY"), "1234", "0.5")
    assert invoice.amount_due == 1235
    work()
    assert_sent_once(sandbox, invoice)
    assert sandbox.invoices()[0]["currency"] == "jpy"


def test_an_amount_below_stripes_minimum_is_compared_by_its_total(sandbox):
    invoice = make_final(make_organization(), "0.03")
    work()
    [theirs] = sandbox.invoices()
    assert (theirs["total"], theirs["status"]) == (3, "paid")
    assert reload(invoice).sync_state == SyncState.SYNCED
    assert reload(invoice).stripe_status == "paid"


def test_an_invoice_that_is_voided_before_it_was_sent_never_reaches_stripe(sandbox):
    invoice = make_final(make_organization(), "12.00")
    with transaction():
        void_invoice(invoice.id, reason="wrong customer", now=NOW)
    work()
    assert sandbox.calls() == []
    assert open_rows() == 0
    assert examine() == []


def test_an_invoice_that_is_voided_after_it_was_sent_is_void_at_stripe_too(sandbox):
    invoice = make_final(make_organization(), "12.00")
    work()
    with transaction():
        void_invoice(invoice.id, reason="wrong customer", now=NOW)
    work()
    assert [each["status"] for each in sandbox.invoices()] == ["void"]
    assert reload(invoice).stripe_status == "void"
    assert examine() == []


@pytest.mark.fault
def test_a_draft_at_stripe_is_deleted_when_the_invoice_is_voided_after_its_sync_stopped(sandbox):
    sandbox.fault(ADD, "wrong_total:1")
    invoice = make_final(make_organization(), "12.00")
    work()
    with transaction():
        void_invoice(invoice.id, reason="wrong customer", now=NOW)
    work()
    assert sandbox.invoices() == []
    assert reload(invoice).stripe_status == "deleted"


def test_an_invoice_that_was_paid_at_stripe_before_it_could_be_voided_is_flagged(sandbox):
    invoice = make_final(make_organization(), "12.00")
    work()
    with transaction():
        void_invoice(invoice.id, reason="wrong customer", now=NOW)
    sandbox.act("pay", invoice=reload(invoice).stripe_id)
    work()
    flagged = reload(invoice)
    assert (flagged.state, flagged.stripe_status, flagged.sync_state) == ("void", "paid", SyncState.MISMATCH)
    assert "give the money back" in flagged.sync_message


def test_a_scheduled_invoice_is_not_sent_before_its_hold_window_ends(sandbox):
    invoice = make_draft(make_organization())
    add(invoice, "12.00")
    finalize_now(invoice, hold_seconds=60, now=NOW.replace(year=2030))
    outbox.drain()
    assert reload(invoice).state == "scheduled"
    assert sandbox.calls() == []
    work()
    assert_sent_once(sandbox, invoice)
