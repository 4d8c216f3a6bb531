"""A month's life in random order, with deaths, faults, lost webhooks and lost queues, beside a model of a few lines.

The model knows what each organization owes for each month, and so what Stripe must show. Whatever happened on the
way, once everything is quiet both sides are the model's, numbers have no gap, and the doctor finds nothing.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta

import pytest
from flask import g
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from devkit.testservers import empty_tables
from portal.core.periods import Month
from portal.infra import clock, outbox
from portal.infra.audit import Actor
from portal.infra.db import SYSTEM, act_as, db, transaction
from portal.invoicing.models import Invoice
from portal.invoicing.voiding import void_invoice
from portal.payments.receiving import store_event
from portal.payments.sweeping import sweep_open_invoices
from tests.factories import (
    NOW,
    add,
    finalize_now,
    make_draft,
    make_meter,
    make_organization,
    make_price,
    reload,
    sql,
    use,
)
from tests.full import FULL
from tests.payments.conftest import examine, open_rows
from tests.payments.flows import FLOWS, ask_again_for_what_has_stopped
from tests.payments.killing import reaper
from tests.payments.test_adopting import MODES, age, work_it_out
from tests.payments.test_kill_at_every_step import expire_leases
from tests.payments.test_reconciling import reconcile

pytestmark = [pytest.mark.fault, pytest.mark.slow, pytest.mark.usefixtures("books", "impatient")]
EXAMPLES, STEPS = (120, 40) if FULL else (6, 14)
FIRST, MONTHS, CENTS_PER_UNIT = Month(2026, 5), 6, 5
CALLS = sorted({call for flow in FLOWS.values() for call in flow.calls})
organizations = st.integers(0, 1)


@dataclass
class Bill:
    """A final invoice, as the model has it."""

    invoice: Invoice
    due: int
    granted: int
    state: str = "finalized"


@dataclass
class Account:
    """What the model knows of one organization; its months are finalized in their order."""

    organization: object
    month: int = 0
    balance: int = 0
    usage: dict[int, int] = field(default_factory=dict)
    items: dict[int, int] = field(default_factory=dict)
    bills: list[Bill] = field(default_factory=list)

    @property
    def is_open(self) -> bool:
        return self.month < MONTHS

    @property
    def current(self) -> Month:
        return FIRST.plus(self.month)

    def finalize(self, invoice: Invoice) -> None:
        total = CENTS_PER_UNIT * self.usage.get(self.month, 0) + self.items.get(self.month, 0)
        applied = min(self.balance, max(total, 0))
        self.balance -= applied + min(total, 0)
        self.bills.append(Bill(invoice, max(total, 0) - applied, -applied - min(total, 0)))
        self.month += 1

    def void(self) -> None:
        """The last bill: its usage waits for the draft that replaces it, its one-off items are gone with it."""
        bill = next(each for each in reversed(self.bills) if each.state == "finalized")
        bill.state = "void"
        self.balance -= bill.granted
        self.month -= 1
        self.items[self.month] = 0


def machine_of(sandbox, owner_connection, keep, redis, killer) -> type[RuleBasedStateMachine]:
    """The machine, with the servers that it drives."""

    class Billing(RuleBasedStateMachine):
        def __init__(self) -> None:
            super().__init__()
            db.session.rollback()
            db.session.expunge_all()
            empty_tables(owner_connection, keep=keep)
            sandbox.ctl("reset")
            redis.flushdb()
            self.meter = make_meter()
            make_price(self.meter, "0.05")
            self.accounts = [Account(make_organization(slug)) for slug in ("acme", "umbrella")]
            self.seen: set[str] = set()

        def perhaps_killed(self, k: int, work: Callable[[], object]) -> bool:
            """Whether it died; then its transaction is rolled back, and its lease runs out."""
            died = killer.at(k, work)
            db.session.rollback()
            act_as(SYSTEM)
            g.actor = Actor("test", "the model")
            expire_leases()
            return died

        @rule(of=organizations, quantity=st.integers(1, 2_000))
        def ingest(self, of, quantity):
            account = self.accounts[of]
            if account.is_open:
                use(account.organization, self.meter, quantity, at=account.current.first_day, region="ams")
                account.usage[account.month] = account.usage.get(account.month, 0) + quantity

        @rule(of=organizations, cents=st.integers(-3_000, 9_000).filter(bool))
        def add_one_off(self, of, cents):
            account = self.accounts[of]
            if account.is_open:
                add(make_draft(account.organization, account.current), f"{cents / 100:.2f}")
                account.items[account.month] = account.items.get(account.month, 0) + cents

        @rule(of=organizations, k=st.integers(1, 150) | st.none())
        def finalize(self, of, k):
            account = self.accounts[of]
            if not account.is_open:
                return
            draft = make_draft(account.organization, account.current)
            self.perhaps_killed(k or 10**9, lambda: finalize_now(draft, now=NOW))
            if reload(draft).state == "finalized":
                account.finalize(draft)

        @rule(of=organizations)
        def void(self, of):
            account = self.accounts[of]
            last = next((each for each in reversed(account.bills) if each.state == "finalized"), None)
            if last is None or reload(last.invoice).payment_state == "paid" or self.is_paid_at_stripe(last):
                return
            # What it granted may have been used since only by a later one, and there is none.
            with transaction():
                void_invoice(last.invoice.id, reason="a mistake", now=NOW)
            account.void()

        @rule(of=organizations, place=st.integers(0, 5))
        def pay(self, of, place):
            for bill in self.accounts[of].bills[place : place + 1]:
                for theirs in sandbox.invoices(bill.invoice.public_id):
                    if theirs["status"] == "open" and bill.state == "finalized":
                        sandbox.act("pay", invoice=theirs["id"])

        @rule()
        def work(self):
            sql("UPDATE outbox SET run_after = clock_timestamp() WHERE finished_at IS NULL AND dead_at IS NULL")
            outbox.drain(3)

        @precondition(lambda self: open_rows())
        @rule(k=st.integers(1, 160))
        def die_at_work(self, k):
            jobs = sql("SELECT id FROM outbox WHERE finished_at IS NULL AND dead_at IS NULL ORDER BY id DESC LIMIT 1")
            expire_leases()
            self.perhaps_killed(k, lambda: outbox.run(jobs[0].id))

        @rule(match=st.sampled_from(CALLS), mode=st.sampled_from(MODES), nth=st.integers(1, 3))
        def break_a_call(self, match, mode, nth):
            sandbox.fault(match, mode, nth=nth, seconds=5)

        @rule(random=st.randoms(use_true_random=False), lost=st.integers(0, 3), twice=st.booleans())
        def webhooks_come(self, random, lost, twice):
            """Those since the last time, in any order, some twice and some never."""
            events = [each for each in sandbox.events() if each["id"] not in self.seen]
            self.seen |= {each["id"] for each in events}
            random.shuffle(events)
            for each in events[lost:] * (2 if twice else 1):
                with transaction():
                    store_event(each)

        @rule()
        def a_day_passes(self):
            """Keys are forgotten; then Stripe's clock is ours again, for a look-up asks by when things were made."""
            age(sandbox)
            sandbox.ctl("clock", {"advance_seconds": -25 * 3600})

        @rule()
        def redis_forgets(self):
            redis.flushdb()

        def is_paid_at_stripe(self, bill: Bill) -> bool:
            return any(each["status"] == "paid" for each in sandbox.invoices(bill.invoice.public_id))

        @invariant()
        def nobody_is_asked_twice(self):
            for account in self.accounts:
                for bill in account.bills:
                    asked = [each["status"] for each in sandbox.invoices(bill.invoice.public_id)]
                    assert sum(each not in ("void", "draft") for each in asked) <= 1, asked

        def teardown(self):
            self.come_to_rest()
            for account in self.accounts:
                for bill in account.bills:
                    self.compare(bill)
                balance = "SELECT coalesce(sum(amount), 0) FROM balance_entries WHERE organization_id = :id"
                assert sql(balance, id=account.organization.id) == [(account.balance,)]
            numbers = [int(n.rpartition("-")[2]) for (n,) in sql("SELECT number FROM invoices WHERE number > ''")]
            assert sorted(numbers) == list(range(1, len(numbers) + 1))
            assert len(numbers) == sum(len(account.bills) for account in self.accounts)
            assert open_rows() == 0
            assert examine() == []
            _, report = reconcile()
            assert report.sentence == "0 differences, 0.00"

        def come_to_rest(self) -> None:
            """Everything is whole again, whoever has to asks once more, and the sweeper looks everywhere."""
            sandbox.heal()
            expire_leases()
            work_it_out()
            for account in self.accounts:
                for bill in account.bills:
                    ask_again_for_what_has_stopped(bill.invoice)
            work_it_out()
            sweep_open_invoices(now=clock.now() + timedelta(days=1), every=timedelta(0))
            work_it_out()

        def compare(self, bill: Bill) -> None:
            ours = reload(bill.invoice)
            theirs = [(each["status"], each["total"]) for each in sandbox.invoices(ours.public_id)]
            assert (ours.state, ours.amount_due) == (bill.state, bill.due)
            if bill.state == "void" or not bill.due:
                # Voided before it was sent, or while it was a draft there, it is not at Stripe at all.
                assert theirs in ([], [("void", bill.due)])
                return
            [(status, total)] = theirs
            assert (total, ours.sync_state, ours.stripe_status) == (bill.due, "synced", status)
            assert (status, ours.payment_state) in (("open", "open"), ("paid", "paid"))

    return Billing


def test_whatever_happens_both_sides_end_as_the_model_says(sandbox, owner_connection, test_run, clean_redis):
    with reaper() as killer:
        machine = machine_of(sandbox, owner_connection, test_run.filled_by_migrations, clean_redis, killer)
        run_state_machine_as_test(
            machine,
            settings=settings(
                max_examples=EXAMPLES,
                stateful_step_count=STEPS,
                deadline=None,
                derandomize=not FULL,
                suppress_health_check=list(HealthCheck),
            ),
        )
