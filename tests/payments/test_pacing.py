"""All processes together never send Stripe more calls in any second than the settings say, and nobody fails for it."""

import copy
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal.core.lifecycle import SyncState
from portal.infra import outbox
from portal.payments import gateway, pacing
from portal.payments.pacing import (
    LONGEST_WAY,
    SECOND,
    Limit,
    NoTurn,
    OwnSlots,
    Slots,
    endpoint_of,
    full_jitter,
    take_from,
    turn,
)
from tests.factories import make_final, make_organization, reload, sql
from tests.payments.conftest import ROOT, examine, work

TAKER = """
import sys, time
from portal.payments.pacing import Limit, Slots
slots, wanted = Slots(sys.argv[1]), [Limit(sys.argv[2], int(sys.argv[3])), Limit("all", int(sys.argv[4]))]
taken = 0
while taken < int(sys.argv[5]):
    call = f"{sys.argv[6]}-{taken}"
    wait, now = slots.take(wanted, call)
    if wait:
        time.sleep(wait / 1_000_000)
    else:
        slots.give_back(wanted, call)
        taken += 1
        print(now)
"""


def busiest_second(moments: list[int]) -> int:
    """The most moments that lie within any one second."""
    ordered = sorted(moments)
    most = begin = 0
    for end, moment in enumerate(ordered):
        while ordered[begin] <= moment - SECOND:
            begin += 1
        most = max(most, end - begin + 1)
    return most


@given(
    most=st.integers(1, 100),
    calls=st.lists(
        st.tuples(st.integers(0, SECOND // 4), st.integers(0, LONGEST_WAY), st.integers(0, SECOND)), max_size=300
    ),
)
def test_no_second_at_stripe_sees_more_than_the_limit_however_long_the_way(most, calls):
    """Each call comes after a pause, takes a while to reach Stripe, and then a while to be answered."""
    own: OwnSlots = {}
    now, seen, answers = SECOND * 1_000, [], []
    for number, (pause, way, worked) in enumerate(calls):
        now += pause
        for answered, call in [each for each in answers if each[0] <= now]:
            own["x"][call] = min(own["x"].get(call, answered), answered + SECOND)
            answers.remove((answered, call))
        if take_from(own, [Limit("x", most)], str(number), now) == 0:
            seen.append(now + way)
            answers.append((now + way + worked, str(number)))
    assert not seen or busiest_second(seen) <= most


@pytest.mark.parametrize("most", [1, 2, 9, 10, 20, 25, 80, 1000])
def test_who_waits_as_long_as_he_is_told_gets_nearly_the_whole_limit(most):
    own: OwnSlots = {}
    now, given_out = 0, []
    while now < 10 * SECOND:
        call = str(len(given_out))
        wait = take_from(own, [Limit("x", most)], call, now)
        if not wait:
            given_out.append(now)
            # Answered after a twentieth of a second.
            own["x"][call] = now + SECOND // 20 + SECOND
        now += wait
    assert busiest_second(given_out) <= most
    assert len(given_out) >= 9 * most


def test_a_call_that_finds_no_slot_of_one_name_takes_none_of_the_other():
    own: OwnSlots = {}
    assert take_from(own, [Limit("create", 1), Limit("all", 10)], "1", 0) == 0
    before = copy.deepcopy(own)
    assert take_from(own, [Limit("create", 1), Limit("all", 10)], "2", 0) == SECOND + LONGEST_WAY
    assert own == before
    assert take_from(own, [Limit("finalize", 1), Limit("all", 10)], "3", 100_000) == 0


def test_fewer_slots_than_are_held_wait_until_enough_are_free():
    own: OwnSlots = {}
    for number in range(5):
        assert take_from(own, [Limit("all", 5)], str(number), number * 1_000) == 0
    # With two slots, three of the five have to go before the next.
    assert take_from(own, [Limit("all", 2)], "next", 10_000) == SECOND + LONGEST_WAY + 3_000 - 10_000


def test_several_processes_share_the_slots(redis_url, clean_redis):
    """Two endpoints of 30 a second, four processes, at most 40 a second in all; by Redis' own clock."""
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", TAKER, redis_url, endpoint, "30", "40", "30", str(number)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number, endpoint in enumerate(("create", "create", "finalize", "finalize"))
    ]
    taken = [[int(line) for line in process.communicate(timeout=60)[0].split()] for process in processes]
    assert [len(moments) for moments in taken] == [30] * 4
    assert busiest_second(taken[0] + taken[1]) <= 30
    assert busiest_second(taken[2] + taken[3]) <= 30
    assert busiest_second([moment for moments in taken for moment in moments]) <= 40


def test_threads_share_the_slots_too(redis_url, clean_redis):
    slots, wanted = Slots(redis_url), [Limit("create", 20), Limit("all", 80)]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda number: slots.take(wanted, str(number)), range(200)))
    granted = [now for wait, now in answers if not wait]
    assert granted
    assert busiest_second(granted) <= 20
    assert len(granted) < len(answers)


@pytest.mark.fault
def test_without_redis_a_process_keeps_to_a_tenth():
    slots, wanted = Slots("redis://127.0.0.1:9/0"), [Limit("create", 20), Limit("all", 80)]
    answers = [slots.take(wanted, str(number)) for number in range(50)]
    slots.give_back(wanted, "0")
    granted = [now for wait, now in answers if not wait]
    assert granted
    assert busiest_second(granted) <= 2
    assert all(0 <= wait <= SECOND + LONGEST_WAY for wait, _ in answers)


@pytest.mark.fault
def test_a_redis_that_lost_its_memory_has_free_slots_and_goes_on(redis_url, clean_redis):
    slots, wanted = Slots(redis_url), [Limit("create", 1)]
    assert slots.take(wanted, "1")[0] == 0
    assert slots.take(wanted, "2")[0] > 0
    clean_redis.flushall()
    slots.give_back(wanted, "1")
    assert slots.take(wanted, "2")[0] == 0
    assert slots.take(wanted, "3")[0] > 0


def test_an_answer_frees_its_slot_a_second_later_and_no_answer_a_little_later_still(redis_url, clean_redis):
    slots, wanted = Slots(redis_url), [Limit("create", 1)]
    assert slots.take(wanted, "1")[0] == 0
    assert SECOND < slots.take(wanted, "2")[0] <= SECOND + LONGEST_WAY
    slots.give_back(wanted, "1")
    assert slots.take(wanted, "2")[0] <= SECOND


@pytest.mark.parametrize(
    ("method", "url", "endpoint"),
    [
        ("post", "https://api.stripe.com/v1/invoices", "POST /v1/invoices"),
        ("get", "https://api.stripe.com/v1/invoices?customer=cus_1&limit=100", "GET /v1/invoices"),
        ("get", "http://127.0.0.1:12111/v1/invoices/in_1", "GET /v1/invoices/*"),
        ("post", "http://127.0.0.1:12111/v1/invoices/in_1/add_lines", "POST /v1/invoices/*/add_lines"),
        ("delete", "http://127.0.0.1:12111/v1/invoices/in_1", "DELETE /v1/invoices/*"),
        ("post", "http://x/v1/invoices/in_1/mark_uncollectible", "POST /v1/invoices/*/mark_uncollectible"),
    ],
)
def test_calls_that_stripe_counts_together_share_their_slots(method, url, endpoint):
    assert endpoint_of(method, url) == endpoint


def test_the_jitter_is_full_and_bounded():
    for attempts, bound in ((1, 10), (2, 20), (5, 160), (12, 600), (10_000, 600)):
        waits = [full_jitter(attempts, first=5, most=600) for _ in range(400)]
        assert 1 <= min(waits) <= max(waits) <= bound
        assert len(set(waits)) > bound // 40


def test_the_bounds_of_waiting_and_calling_fit_into_the_lease():
    longest = pacing.LONGEST_WAIT // SECOND + gateway.CONNECT_TIMEOUT_SECONDS + gateway.READ_TIMEOUT_SECONDS
    assert 3 * longest <= outbox.LEASE.total_seconds()


@pytest.mark.usefixtures("books")
def test_a_call_waits_for_its_turn_and_not_for_ever(app, monkeypatch):
    settings = replace(app.config["SETTINGS"], stripe_endpoint_calls_per_second=1)
    monkeypatch.setitem(app.config, "SETTINGS", settings)
    monkeypatch.setattr(pacing, "LONGEST_WAIT", 0)
    with turn("POST", "http://x/v1/invoices"):
        pass
    with pytest.raises(NoTurn), turn("POST", "http://x/v1/invoices"):
        pass
    with turn("POST", "http://x/v1/customers"):
        pass


@pytest.mark.fault
@pytest.mark.usefixtures("books")
def test_a_call_without_a_turn_was_not_made_and_is_not_counted(sandbox, monkeypatch):
    def no_turn(*_: object) -> None:
        raise NoTurn

    invoice = make_final(make_organization(), "12.00")
    with monkeypatch.context() as crowd:
        crowd.setattr(pacing, "turn", no_turn)
        outbox.drain()
    assert sandbox.calls() == []
    assert (reload(invoice).sync_state, reload(invoice).sync_message) == (SyncState.PENDING, None)
    assert sql("SELECT step, attempts, outcome FROM stripe_calls") == [("customer", 0, None)]
    assert sql("SELECT tries, dead_at FROM outbox") == [(0, None)]
    assert sql("SELECT count(*) FROM stripe_circuit WHERE failures > 0") == [(0,)]
    work()
    assert reload(invoice).sync_state == SyncState.SYNCED
    assert len(sandbox.invoices()) == 1
    assert examine() == []


@pytest.mark.usefixtures("books")
def test_stripe_never_has_to_turn_us_away(sandbox):
    """A sandbox with Stripe's own limits, and more invoices than it takes in a second."""
    for number in range(30):
        make_final(make_organization(f"org-{number}"), "1.00")
    sandbox.ctl("rate_limit", {"per_endpoint": 25, "total": 100})
    work()
    calls = sandbox.ledger()["calls"]
    assert len(calls) == 30 * 5
    assert {call["status"] for call in calls} == {200}
    assert examine() == []


@pytest.mark.fault
@pytest.mark.usefixtures("books")
def test_without_redis_an_invoice_still_goes_out(app, sandbox, monkeypatch):
    monkeypatch.setitem(app.extensions, "stripe_slots", Slots("redis://127.0.0.1:9/0"))
    invoice = make_final(make_organization(), "12.00")
    work()
    assert reload(invoice).sync_state == SyncState.SYNCED
    assert examine() == []
