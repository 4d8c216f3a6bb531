"""How subscriptions begin, change and end; what does not fit is refused with a sentence, and nothing is stored."""

import threading
import time
from datetime import UTC, date, datetime, timedelta
from functools import partial
from uuid import uuid4

import pytest

from portal.catalog.publishing import archive, publish_price
from portal.catalog.queries import contract_of, subscriptions_of
from portal.catalog.subscribing import (
    cancel_subscription,
    change_subscription,
    plan_named,
    resume_subscription,
    subscribe,
    subscription_of,
    take_back_change,
)
from portal.core.errors import InvalidInput, InvalidTransition, NotFound, PortalError
from portal.infra.db import transaction
from portal.invoicing.finalizing import finalize
from portal.invoicing.queries import open_from
from portal.organizations.locking import lock_organization
from tests.factories import MONTH, at_once, fingerprint_of, make_draft, make_organization, make_plan, sql, terms

pytestmark = pytest.mark.usefixtures("books")
NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
OPEN = date(2026, 11, 1)


def utc(month: int, day: int, hour: int = 0, year: int = 2026) -> datetime:
    return datetime(year, month, day, hour, tzinfo=UTC)


@pytest.fixture
def acme():
    return make_organization()


@pytest.fixture
def plan():
    return make_plan()


@pytest.fixture
def bigger():
    return make_plan("bigger", fee="99")


@pytest.fixture
def running(acme, plan):
    """A subscription since 10 November."""
    return begin(acme, plan)


def begin(organization, plan, **more):
    values = {"starts_at": utc(11, 10), "open_from": OPEN} | more
    with transaction():
        return subscribe(organization, plan, **values)


def change(subscription, **more):
    with transaction():
        return change_subscription(subscription.id, **({"at": NOW, "now": NOW, "open_from": OPEN} | more))


def cancel(subscription, **more):
    values = {"at": None, "now": NOW, "open_from": OPEN, "reason": "too dear"} | more
    with transaction():
        return cancel_subscription(subscription.id, **values)


def resume(subscription, now=NOW):
    with transaction():
        return resume_subscription(subscription.id, now=now)


def take_back(subscription, public_id, now=NOW):
    with transaction():
        return take_back_change(subscription.id, public_id, now=now)


def refused(kind, match, work, *, field=None) -> None:
    """The work raises this refusal and leaves the books as they were."""
    before = stored()
    with pytest.raises(kind, match=match) as refusal:
        work()
    assert refusal.value.field == field
    assert stored() == before


def stored() -> list:
    return [
        *sql("SELECT * FROM subscriptions ORDER BY id"),
        *sql("SELECT * FROM subscription_changes ORDER BY id"),
        *sql("SELECT count(*) FROM audit_entries"),
    ]


def audited() -> list[str]:
    return [
        action for (action,) in sql("SELECT action FROM audit_entries WHERE subject_kind = 'subscription' ORDER BY id")
    ]


def phases(subscription) -> list[tuple]:
    with transaction():
        found = subscription_of(subscription.public_id, subscription.organization_id)
        return [(phase.start, phase.plan, phase.quantity) for phase in contract_of(found).phases]


def test_a_subscription_is_counted_from_its_start(acme, plan):
    made = begin(acme, plan, starts_at=utc(11, 10, 9), quantity=3, label=" db1 ")
    assert (made.started_at, made.anchor_at, made.trial_ends_at) == (utc(11, 10, 9), utc(11, 10, 9), None)
    assert (made.quantity, made.label, made.ended_at) == (3, "db1", None)
    [(after, organization)] = sql("SELECT after, organization_id FROM audit_entries WHERE action = 'subscribed'")
    assert (after["plan"], after["quantity"], organization) == ("support", 3, acme.id)


def test_after_a_trial_it_is_counted_from_the_trials_end(acme):
    plan = make_plan("tried", of_plan={"trial_days": 14})
    made = begin(acme, plan)
    assert made.trial_ends_at == made.anchor_at == utc(11, 24)
    other = begin(acme, plan, trial_days=30)
    assert other.trial_ends_at == other.anchor_at == utc(12, 10)
    without = begin(acme, plan, trial_days=0)
    assert (without.trial_ends_at, without.anchor_at) == (None, utc(11, 10))


def test_aligned_to_the_month_it_is_counted_from_the_month_in_which_the_first_fee_is_charged(acme, plan):
    assert begin(acme, plan, align_to_month=True).anchor_at == utc(11, 1)
    tried = begin(acme, plan, align_to_month=True, trial_days=30)
    assert (tried.anchor_at, tried.trial_ends_at) == (utc(12, 1), utc(12, 10))


@pytest.mark.parametrize(
    ("values", "field", "match"),
    [
        ({"quantity": 0}, "quantity", "1 to 1,000,000"),
        ({"quantity": 1_000_001}, "quantity", "1 to 1,000,000"),
        ({"starts_at": datetime(2026, 11, 10)}, "starts_at", "offset from UTC"),  # noqa: DTZ001
        ({"starts_at": utc(11, 10, year=9999)}, "starts_at", "between 2000 and 2199"),
        ({"starts_at": utc(11, 1) - timedelta(microseconds=1)}, "starts_at", "up to 2026-11-01 are final"),
        ({"trial_days": -1}, "trial_days", "0 to 3660"),
        ({"trial_days": 10**9}, "trial_days", "0 to 3660"),
        ({"starts_at": utc(12, 31, year=2025), "open_from": None}, "plan", "no price in USD on 2025-12-31"),
    ],
)
def test_a_start_that_does_not_fit_is_refused(acme, plan, values, field, match):
    refused(InvalidInput, match, partial(begin, acme, plan, **values), field=field)


def test_a_plan_that_is_not_on_sale_or_not_in_this_currency_takes_no_subscribers(acme, plan):
    european = make_organization("eu", currency="EUR")
    refused(InvalidInput, "no price in EUR", partial(begin, european, plan), field="plan")
    with transaction():
        archive(plan_named("support"), now=NOW)
    refused(InvalidInput, "no longer sold", partial(begin, acme, plan), field="plan")


def test_the_price_must_hold_when_the_first_fee_is_charged(acme):
    plan = make_plan("late", valid_from=date(2026, 11, 20))
    refused(InvalidInput, "on 2026-11-10", partial(begin, acme, plan), field="plan")
    assert begin(acme, plan, trial_days=10).anchor_at == utc(11, 20)


def test_a_month_that_is_open_can_be_subscribed_to_from_its_first_instant(acme, plan):
    assert begin(acme, plan, starts_at=utc(11, 1)).started_at == utc(11, 1)


def test_an_upgrade_now_and_a_downgrade_at_the_period_end(running, plan, bigger):
    now = change(running, plan=bigger, quantity=2)
    later = change(running, plan=plan, quantity=1, at=None)
    assert (now.effective_at, later.effective_at) == (NOW, utc(12, 10))
    assert phases(running) == [
        (utc(11, 10), plan.id, 1),
        (NOW, bigger.id, 2),
        (utc(12, 10), plan.id, 1),
    ]
    assert audited() == ["subscribed", "changed subscription", "changed subscription"]
    [(before, after)] = sql("SELECT before, after FROM audit_entries WHERE action LIKE 'changed%' ORDER BY id LIMIT 1")
    assert before == {"plan_id": plan.id, "quantity": 1}
    assert after == {"plan_id": bigger.id, "quantity": 2, "effective_at": "2026-11-22T12:00:00+00:00"}


def test_seats_change_without_a_plan_also_of_a_plan_that_is_no_longer_sold(running, plan):
    with transaction():
        archive(plan_named("support"), now=NOW)
    made = change(running, quantity=7)
    assert (made.plan_id, made.quantity) == (plan.id, 7)


def test_what_changes_nothing_is_refused(running, plan, bigger):
    for values in ({}, {"quantity": 1}, {"plan": plan}, {"plan": plan, "quantity": 1}):
        refused(InvalidInput, "already", partial(change, running, **values), field="plan")
    change(running, plan=bigger)
    refused(InvalidInput, "already", partial(change, running, plan=bigger, at=utc(11, 30)), field="plan")


def test_a_change_that_cannot_be_sold_is_refused(running, bigger):
    refused(InvalidInput, "1 to 1,000,000", partial(change, running, quantity=0), field="quantity")
    refused(
        InvalidInput, "no price in USD", partial(change, running, plan=make_plan("yen", currency="JPY")), field="plan"
    )
    with transaction():
        archive(plan_named("bigger"), now=NOW)
    refused(InvalidInput, "no longer sold", partial(change, running, plan=bigger), field="plan")


@pytest.mark.parametrize(
    ("at", "match"),
    [
        (utc(11, 9), "starts on 10 Nov 2026, 00:00:00 UTC"),
        (utc(10, 31), "up to 2026-11-01 are final"),
        (datetime(2026, 11, 30), "offset from UTC"),  # noqa: DTZ001
        (utc(1, 1, year=1970), "between 2000 and 2199"),
    ],
)
def test_a_change_at_a_moment_that_does_not_fit_is_refused(running, at, match):
    refused(InvalidInput, match, partial(change, running, quantity=2, at=at), field="at")


def test_a_change_comes_after_all_others(running):
    change(running, quantity=2, at=utc(11, 20))
    for at in (utc(11, 20), utc(11, 15)):
        refused(InvalidInput, "changed on 20 Nov 2026", partial(change, running, quantity=3, at=at), field="at")
    assert change(running, quantity=3, at=utc(11, 20, 1)).quantity == 3


def test_a_change_that_is_still_to_come_is_taken_back_first(running, bigger):
    pending = change(running, plan=bigger, at=None)
    refused(InvalidTransition, "to come on 10 Dec 2026.*take it back", partial(change, running, quantity=2))
    for _ in range(2):
        take_back(running, pending.public_id)
    assert change(running, quantity=2).effective_at == NOW
    assert change(running, plan=bigger, at=None).effective_at == utc(12, 10)
    assert audited().count("took back change of subscription") == 1


def test_what_has_come_or_is_another_subscriptions_is_not_taken_back(running, acme, plan):
    made = change(running, quantity=2)
    refused(InvalidTransition, "came into effect on 22 Nov 2026", partial(take_back, running, made.public_id))
    refused(NotFound, "no such change", partial(take_back, begin(acme, plan), made.public_id))
    refused(NotFound, "no such change", partial(take_back, running, uuid4()))


def test_in_a_trial_the_period_ends_with_it(acme, plan, bigger):
    tried = begin(acme, plan, trial_days=60)
    made = change(tried, plan=bigger, at=None)
    assert made.effective_at == tried.trial_ends_at == utc(1, 9, year=2027)
    assert cancel(tried).ended_at == tried.trial_ends_at


def test_before_its_start_the_current_period_is_the_first(acme, plan):
    future = begin(acme, plan, starts_at=utc(12, 24))
    assert cancel(future).ended_at == utc(1, 24, year=2027)


def test_cancelled_at_the_period_end_or_at_once_and_twice_is_once(acme, plan, running):
    for _ in range(2):
        assert cancel(running).ended_at == utc(12, 10)
    at_once = begin(acme, plan)
    for _ in range(2):
        assert cancel(at_once, at=NOW).ended_at == NOW
    assert audited().count("cancelled subscription") == 2
    assert sql("SELECT DISTINCT reason FROM audit_entries WHERE action = 'cancelled subscription'") == [("too dear",)]


def test_a_cancellation_that_is_still_to_come_can_be_moved_and_taken_back(running):
    cancel(running)
    assert cancel(running, at=utc(11, 30)).ended_at == utc(11, 30)
    for _ in range(2):
        assert resume(running).ended_at is None
    assert audited()[1:] == ["cancelled subscription"] * 2 + ["resumed subscription"]


@pytest.mark.parametrize(
    ("values", "field", "match"),
    [
        ({"at": utc(11, 10)}, "at", "starts on 10 Nov 2026"),
        ({"at": utc(10, 31)}, "at", "are final"),
        ({"at": datetime(2026, 11, 30)}, "at", "offset from UTC"),  # noqa: DTZ001
        ({"reason": " "}, "reason", "needs a reason"),
    ],
)
def test_an_end_that_does_not_fit_is_refused(running, values, field, match):
    refused(InvalidInput, match, partial(cancel, running, **values), field=field)


def test_it_cannot_have_ended_before_a_change_that_has_come(running):
    change(running, quantity=2, at=utc(11, 20))
    refused(InvalidInput, "changed on 20 Nov 2026", partial(cancel, running, at=utc(11, 15)), field="at")
    assert cancel(running, at=utc(11, 20)).ended_at == utc(11, 20)


def test_what_would_come_after_the_end_comes_again_when_it_is_resumed(running, bigger):
    change(running, plan=bigger, at=None)
    cancel(running, at=utc(11, 30))
    assert [phase.plan for phase, _ in contract_of(reloaded(running)).spans()] == [running.plan_id]
    resume(running)
    assert [phase.plan for phase, _ in contract_of(reloaded(running)).spans()] == [running.plan_id, bigger.id]


def reloaded(subscription):
    with transaction():
        return subscription_of(subscription.public_id, subscription.organization_id)


def test_nothing_is_done_to_what_has_ended(running):
    cancel(running, at=utc(11, 30))
    later = utc(12, 1)
    for work in (
        partial(change, running, quantity=2, now=later, at=later),
        partial(change, running, quantity=2, now=later, at=None),
        partial(cancel, running, now=later, at=None),
        partial(resume, running, now=later),
    ):
        refused(InvalidTransition, "ended on 30 Nov 2026", work)
    assert cancel(running, at=utc(11, 30), now=later).ended_at == utc(11, 30)


def test_a_change_at_or_after_an_end_that_is_to_come_is_refused(running):
    cancel(running)
    for at in (None, utc(12, 10), utc(12, 11)):
        refused(InvalidInput, "ends on 10 Dec 2026", partial(change, running, quantity=2, at=at), field="at")
    assert change(running, quantity=2).effective_at == NOW


def test_another_organizations_subscription_is_not_found(running):
    other = make_organization("other")
    with transaction(), pytest.raises(NotFound):
        subscription_of(running.public_id, other.id)
    with pytest.raises(NotFound), transaction():
        change_subscription(10**15, quantity=2, at=NOW, now=NOW, open_from=None)


@pytest.mark.parametrize("at", [NOW, None], ids=["now", "at the period end"])
def test_of_changes_at_the_same_moment_one_wins_and_the_others_hear_of_it(app, running, at):
    results = at_once(app, *[partial(change, running, quantity=2 + n, at=at) for n in range(4)])
    refusals = [each for each in results if isinstance(each, PortalError)]
    assert len(refusals) == 3
    assert all("is changed on" in each.sentence for each in refusals)
    [won] = [each for each in results if not isinstance(each, PortalError)]
    assert sql("SELECT quantity FROM subscription_changes") == [(won.quantity,)]
    assert audited().count("changed subscription") == 1


def test_cancelled_by_two_at_the_same_moment_it_is_cancelled_once(app, running):
    ends = at_once(app, partial(cancel, running), partial(cancel, running))
    assert [each.ended_at for each in ends] == [utc(12, 10)] * 2
    assert audited().count("cancelled subscription") == 1


def test_a_month_that_becomes_final_meanwhile_takes_no_more_changes(app, acme, plan, owner_connection):
    begun = begin(acme, plan, starts_at=utc(10, 10), open_from=None)
    draft = make_draft(acme, MONTH)
    fingerprint = fingerprint_of(draft)
    frozen = threading.Event()

    def finalizing():
        with transaction():
            finalize(draft.id, fingerprint=fingerprint, by="Ada", now=NOW, terms=terms())
            frozen.set()
            wait_until(lambda: owner_connection.execute(WAITING).fetchone() == (1,))

    def changing():
        assert frozen.wait(10)
        with transaction():
            lock_organization(acme.id)
            first = open_from(organization_id=acme.id)
            return change_subscription(begun.id, quantity=2, at=utc(10, 20), now=NOW, open_from=first)

    _, changed = at_once(app, finalizing, changing)
    assert isinstance(changed, InvalidInput)
    assert "up to 2026-11-01 are final" in changed.sentence
    assert sql("SELECT count(*) FROM subscription_changes") == [(0,)]


WAITING = (
    "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    " AND query LIKE '%FROM organizations%FOR UPDATE%'"
)


def wait_until(happened) -> None:
    deadline = time.monotonic() + 4
    while not happened():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.02)


def test_the_commands_begin_change_and_end_a_subscription(runner, acme, plan, bigger):
    def run(*words: str, code: int = 0) -> str:
        result = runner.invoke(args=["subscriptions", *words])
        assert result.exit_code == code, result.output
        return result.output

    assert "starts on 2026-11-10 00:00 UTC" in run("start", "acme", "support", "--at", "2026-11-10", "--label", "db[1]")
    with transaction():
        [made] = subscriptions_of(acme.id)
    which = ["acme", str(made.public_id)]
    said = run("change", *which, "--plan", "bigger", "--quantity", "3", "--at", "2200-01-01", code=1)
    assert "between 2000 and 2199" in said
    assert "Changed from" in run("change", *which, "--plan", "bigger", "--at", "2190-01-01T08:30Z")
    listed = run("list", "acme")
    assert all(word in listed for word in (str(made.public_id), "support (db[1])", "bigger", "2190-01-01 08:30 UTC"))
    with transaction():
        pending = subscriptions_of(acme.id)[0].changes[0].public_id
    assert "will not come" in run("take-back", *which, str(pending))
    assert "Give either" in run("cancel", *which, "--reason", "x", "--at", "2190-01-01", "--at-period-end", code=2)
    assert "ends on 2190-01-01" in run("cancel", *which, "--reason", "x", "--at", "2190-01-01")
    assert "goes on" in run("resume", *which)
    assert "no plan “gone”" in run("start", "acme", "gone", code=1)
    assert "no active organization" in run("list", "nobody", code=1)
    assert "not a day" in run("start", "acme", "support", "--at", "soon", code=2)


def test_an_own_price_is_a_price_too(acme):
    european, plan = make_organization("eu", currency="EUR"), make_plan()
    with transaction():
        publish_price(
            name="Own", currency="EUR", terms={"model": "flat_fee", "unit_amount": "5"}, plan=plan_named("support"),
            valid_from=date(2026, 1, 1), open_from=None, organization_id=european.id,
        )  # fmt: skip
    assert begin(european, plan).plan_id == plan.id
