"""A month of many organizations, some of them odd: the odd ones wait with the right reason, the calm ones are closed.

Somebody looks at it, decides and closes it in a real browser. Sixty organizations; with --full 2,000, and meanwhile a
worker is killed, Redis forgets, and Stripe is away.
"""

import signal
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from flask import current_app
from playwright.sync_api import BrowserContext, Page, expect

from portal.bill_runs.models import ItemState
from portal.bill_runs.queries import Wanted, items_of
from portal.bill_runs.reporting import compared_with_stripe, problems_of
from portal.bill_runs.reviewing import approve
from portal.bill_runs.scoring import ASKS, REASONS
from portal.core.periods import Month
from portal.infra import outbox
from portal.infra.db import SYSTEM, acting_as, transaction
from portal.organizations.people import create_user
from portal.organizations.registering import organization_by_slug
from portal.organizations.sessions import sign_in
from portal.payments import gateway
from portal.seeding import big_month, history
from portal.seeding.cast import CUSTOMERS, ODD_CUSTOMERS, Oddity, big_month_customers
from portal.seeding.price_list import publish_price_list
from portal.seeding.teaching import tell_sandbox
from portal.signed_in import cookie_name
from portal.usage.folding import fold_by_clock
from tests.admin.conftest import PASSWORD
from tests.bill_runs.conftest import examine, on, settings, start, state, states, work
from tests.bill_runs.test_faults import ring, run_worker
from tests.browser.conftest import browser, new_context
from tests.browser.serving import serving
from tests.factories import NOW, add, make_draft, sql
from tests.full import FULL
from tests.payments.conftest import work as work_all

__all__ = ["browser", "new_context"]
pytestmark = pytest.mark.usefixtures("books", "no_hold")
COUNT = 2_000 if FULL else 60
ODD = len(Oddity)
# Of a calm customer that somebody has approved by hand, and whose draft changes afterwards.
CHANGED = f"big-{COUNT:06d}"


def test_the_odd_wait_for_their_reason_and_the_calm_are_closed(
    app,
    sandbox,
    portal_environment,
    clean_redis,
    monkeypatch,
    new_context,  # noqa: F811
):
    with transaction():
        publish_price_list()
    closing = history.Closing(settings(), NOW)
    assert big_month.make(COUNT, ODD, seed=1, closing=closing) == COUNT - 1
    tell_sandbox(settings())
    fold_by_clock()
    if FULL:
        # What seeding has left to do would keep the worker that is to be killed from the run.
        outbox.drain()
        clean_redis.flushdb()
    run = start()
    with serving(app, monkeypatch, host="localhost") as url:
        cockpit = Cockpit(_signed_in(new_context(), url), f"{url}/admin/runs/{run.public_id}")
        _walk(cockpit, run, sandbox, portal_environment, clean_redis, monkeypatch)
    assert cockpit.complaints == []
    assert examine() == []


def _walk(cockpit: "Cockpit", run, sandbox, portal_environment, clean_redis, monkeypatch) -> None:
    """From the first draft to the end; the page says at every moment what is so."""
    says = cockpit.says
    if FULL:
        says("Generating", f"0 of {COUNT:,} done")
        assert run_worker(portal_environment, kill_at=1, text="usage_series") == -signal.SIGKILL
        says("Generating", f"0 of {COUNT:,} done")
        clean_redis.flushdb()
        ring()
    work()
    waiting = _assert_the_odd_wait(run)
    says("In review", f"Somebody has to look: {len(waiting)}.", "No usage for 31 hours on end")
    # What is odd is held, and the calm rest goes its way without it.
    cockpit.hold_all("Somebody asks the customer.")
    assert states(run) == {"held": len(waiting), "approved": COUNT - len(waiting)}
    _change_what_is_approved(run)
    cockpit.finalize(COUNT - len(waiting))
    if FULL:
        assert run_worker(portal_environment, kill_at=1, text="INSERT INTO invoice_items") == -signal.SIGKILL
        assert states(run) == {"held": len(waiting), "approved": COUNT - len(waiting)}
        says("Finalizing")
        ring()
    work()
    calm = COUNT - len(waiting) - 1
    assert (state(run), states(run)) == ("syncing", {"held": len(waiting), "generated": 1, "finalized": calm})
    [(reason,)] = sql("SELECT reason FROM bill_run_items WHERE state = 'generated'")
    assert reason.startswith("The draft has changed since Ada approved it: ")
    if FULL:
        _send_while_stripe_is_away(monkeypatch, portal_environment["STRIPE_API_BASE"])
    says("Being sent", f"0 of {calm:,} done", "Somebody has to look")
    sandbox.ctl("rate_limit", {"per_endpoint": 80, "total": 300})
    quick = replace(settings(), stripe_calls_per_second=240, stripe_endpoint_calls_per_second=70)
    monkeypatch.setitem(current_app.config, "SETTINGS", quick)
    work_all(rounds=100)
    on(run)
    work_all()
    on(run)
    assert state(run) == "reconciling"
    with transaction():
        assert compared_with_stripe(run).sentence == "0 differences, 0.00"
        assert problems_of(run) == len(waiting) + 1
    cockpit.close(len(waiting) + 1)
    says("Closed", "0 differences, 0.00")
    [(report,)] = sql("SELECT report FROM bill_runs")
    [sent] = report["sent"]
    assert sent["synced"] == sent["invoices"] == calm
    assert sent["synced_amount"] == sent["amount_due"] > 0
    theirs = [each for each in sandbox.invoices() if not each["id"].startswith("in_seed")]
    assert (len(theirs), sum(each["total"] for each in theirs)) == (calm, sent["amount_due"])


def _assert_the_odd_wait(run) -> dict[str, set[str]]:
    """Every odd one for its reason, and hardly anybody else: at most one in a hundred."""
    rows = sql(
        "SELECT o.slug, i.flags FROM bill_run_items AS i JOIN organizations AS o ON o.id = i.organization_id"
        " WHERE i.state = 'generated'"
    )
    waiting = {row.slug: {flag["code"] for flag in row.flags} for row in rows}
    expected = {each.slug: each.oddity.value for each in big_month_customers(COUNT, ODD) if each.oddity}
    assert {slug: code for slug, code in expected.items() if code not in waiting.get(slug, ())} == {}
    assert len(waiting.keys() - expected.keys()) * 100 <= COUNT
    assert states(run) == {"generated": len(waiting), "approved": COUNT - len(waiting)}
    return waiting


def _change_what_is_approved(run) -> None:
    """Somebody approves a draft, and then something is added to it."""
    with transaction():
        organization = organization_by_slug(CHANGED)
        items = items_of(run, Wanted((ItemState.APPROVED,)), limit=None)
        [fingerprint] = [each.fingerprint for each in items if each.organization_id == organization.id]
        approve(run.public_id, {organization.public_id: fingerprint}, by="Ada", now=NOW)
    add(make_draft(organization, Month.of(NOW).previous), "12.00")


def _send_while_stripe_is_away(monkeypatch: pytest.MonkeyPatch, nowhere: str) -> None:
    """One round of the workers, with nobody at Stripe's address."""
    with monkeypatch.context() as away:
        away.setitem(current_app.config, "SETTINGS", replace(settings(), stripe_api_base=nowhere))
        gateway._client.cache_clear()
        outbox.drain()
    gateway._client.cache_clear()
    # As if its first wait were over: the next call asks whether Stripe answers.
    sql("UPDATE stripe_circuit SET retry_at = now()")
    assert sql("SELECT count(*) FROM invoices WHERE sync_state = 'synced' AND stripe_id NOT LIKE 'in_seed%'") == [(0,)]


def _signed_in(context: BrowserContext, url: str) -> Page:
    """A browser in which an admin has signed in."""
    with transaction():
        create_user(email="ada@example.com", name="Ada", password=PASSWORD, staff_role="admin")
    with acting_as(SYSTEM), transaction():
        token = sign_in("ada@example.com", PASSWORD, now=datetime.now(UTC), days=1, address=None, user_agent=None)
    context.add_cookies([{"name": cookie_name(), "value": token, "url": url}])
    return context.new_page()


class Cockpit:
    """The page of a run, and what somebody does there."""

    def __init__(self, page: Page, address: str) -> None:
        self.page, self.address = page, address
        self.complaints: list[str] = []
        page.on("console", lambda message: self.complaints.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def says(self, *words: str) -> None:
        """Whether the page, opened now, says all this."""
        self.page.goto(self.address)
        for each in words:
            expect(self.page.locator("main")).to_contain_text(each)

    def hold_all(self, reason: str) -> None:
        """Hold whatever needs review; it fits on one page of the queue."""
        self.page.goto(self.address)
        for box in self.page.get_by_role("checkbox", name="Choose ").all():
            box.check()
        self.page.get_by_label("Reason to hold, or comment").fill(reason)
        self.page.get_by_role("button", name="Hold chosen").click()
        expect(self.page.locator("main")).to_contain_text(reason)

    def finalize(self, count: int) -> None:
        """Finalize what is approved, once its number is typed."""
        self.page.goto(self.address)
        self.page.get_by_role("link", name=f"Finalize what is approved ({count:,})").click()
        self.page.get_by_label(f"Type {count} to confirm").fill(str(count))
        self.page.get_by_role("button", name=f"Finalize {count:,} invoices").click()

    def close(self, left_over: int) -> None:
        """Close the run with what is left over."""
        self.page.goto(self.address)
        self.page.get_by_role("button", name=f"Close with {left_over:,} left over").click()


def test_the_demo_has_an_organization_for_every_oddity_and_each_waits_for_somebody():
    assert [each.oddity for each in ODD_CUSTOMERS] == list(Oddity)
    assert [each.value for each in Oddity if REASONS[each.value][0] < ASKS] == []
    assert {each.slug for each in CUSTOMERS}.isdisjoint(each.slug for each in ODD_CUSTOMERS)
