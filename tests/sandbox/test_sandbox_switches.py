"""The faults are switched on the sandbox's page by plain forms, from this machine and from that page only."""

import urllib.parse
import urllib.request

import html5lib
import pytest
import stripe

from portal.sandbox.server import close_sandbox, create_sandbox


def submit(sandbox, path, **fields):
    body = urllib.parse.urlencode(fields).encode()
    with urllib.request.urlopen(f"{sandbox.url}{path}", body) as answer:
        page = answer.read().decode()
    html5lib.HTMLParser(strict=True).parse(page)
    return page


def wish(**more):
    return {
        "call": "POST /v1/customers",
        "mode": "429",
        "argument": "",
        "nth": "1",
        "often": "times",
        "times": "1",
    } | more


def test_a_fault_that_is_set_on_the_page_strikes_as_often_as_it_was_told(sandbox, client):
    page = submit(sandbox, "/faults", **wish(times="2"))
    assert "Clear all faults" in page
    for _ in range(2):
        with pytest.raises(stripe.RateLimitError):
            client.v1.customers.create({})
    assert client.v1.customers.create({}).id


def test_a_fault_can_strike_from_a_later_call_on_and_always(sandbox, client):
    submit(sandbox, "/faults", **wish(nth="2", often="always"))
    assert client.v1.customers.create({}).id
    for _ in range(3):
        with pytest.raises(stripe.RateLimitError):
            client.v1.customers.create({})


def test_one_fault_or_all_are_cleared(sandbox, client):
    for mode in ("429", "400", "html_502"):
        submit(sandbox, "/faults", **wish(mode=mode))
    first, *rest = sandbox.ctl("faults", method="GET")["faults"]
    submit(sandbox, "/faults/clear", fault=str(first["id"]))
    assert [each["id"] for each in sandbox.ctl("faults", method="GET")["faults"]] == [each["id"] for each in rest]
    assert "None is set" in submit(sandbox, "/faults/clear")
    assert client.v1.customers.create({}).id


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"call": "nonsense"}, "match must look like"),
        ({"mode": "explode"}, "mode must be one of"),
        ({"mode": "slow"}, "needs an argument"),
        ({"nth": "0"}, "whole numbers from 1"),
        ({"times": "many"}, "whole numbers from 1"),
    ],
)
def test_what_cannot_be_set_is_said_on_the_page(sandbox, fields, says):
    assert says in submit(sandbox, "/faults", **wish(**fields))
    assert sandbox.ctl("faults", method="GET")["faults"] == []


def test_an_argument_goes_behind_the_mode(sandbox):
    submit(sandbox, "/faults", **wish(mode="slow", argument="0.01"))
    assert sandbox.ctl("faults", method="GET")["faults"][0]["mode"] == "slow:0.01"


@pytest.mark.parametrize(
    ("headers", "address", "base", "status"),
    [
        ({}, "127.0.0.1", "http://127.0.0.1:12111", 303),
        ({"Origin": "http://127.0.0.1:12111"}, "127.0.0.1", "http://127.0.0.1:12111", 303),
        ({"Origin": "http://evil.example"}, "127.0.0.1", "http://127.0.0.1:12111", 403),
        ({"Origin": "null"}, "127.0.0.1", "http://127.0.0.1:12111", 403),
        ({"Origin": "http://evil.example"}, "127.0.0.1", "http://evil.example", 403),
        ({}, "192.0.2.7", "http://127.0.0.1:12111", 403),
    ],
)
def test_only_this_machine_and_its_own_page_turn_the_switches(headers, address, base, status):
    app = create_sandbox(webhook_url="", webhook_secret="s")
    answer = app.test_client().post(
        "/faults", data=wish(), headers=headers, base_url=base, environ_overrides={"REMOTE_ADDR": address}
    )
    assert answer.status_code == status
    page = app.test_client().get("/", environ_overrides={"REMOTE_ADDR": address}).text
    assert ("Set this fault" in page) is (address == "127.0.0.1")
    close_sandbox(app)
