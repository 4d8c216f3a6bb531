"""Bodies and signatures: one spelling, the specification's own example, and the example of the documentation."""

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from portal.webhooks.sending import WAITS, wait_after
from portal.webhooks.signing import SECRET_PREFIX, body_of, headers_of, secret_text, signature_of

DOCS = Path(__file__).parents[2] / "docs" / "api.md"
NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
SECRET = secret_text(b"0123456789abcdef0123456789abcdef")


def documented_check():
    """The function that the documentation gives to receivers."""
    [code] = re.findall(r"```python\n(.*?def is_from_the_portal.*?)```", DOCS.read_text(), re.DOTALL)
    names: dict = {}
    exec(code, names)
    return names["is_from_the_portal"]


def test_the_signature_is_that_of_the_specifications_own_example():
    body = b'{"event_type":"ping","data":{"success":true}}'
    signed = signature_of("msg_loFOjxBNrRLzqYUf", "1731705121", body, SECRET_PREFIX + "plJ3nmyCDGBKInavdOK15jsl")
    assert signed == "v1,rAvfW3dJ/X/qxhsaXPOyyCGmRKsaKWcsNccKXlIktD0="


def test_a_body_has_one_spelling():
    body = body_of("invoice.paid", {"number": "INV-1", "invoice": "a"}, created_at=NOW)
    assert body == (
        b'{"data":{"invoice":"a","number":"INV-1"},"timestamp":"2026-11-22T12:00:00Z","type":"invoice.paid","version":1}'
    )


@pytest.mark.parametrize(
    ("change", "is_right"),
    [
        ({}, True),
        ({"body": b"{ }"}, False),
        ({"secret": secret_text(b"x" * 32)}, False),
        ({"webhook-id": "another"}, False),
        ({"webhook-timestamp": "1"}, False),
        ({"webhook-signature": ""}, False),
    ],
)
def test_the_documented_check_takes_what_is_signed_and_nothing_else(change, is_right):
    """Also while two secrets sign."""
    now = datetime.now(UTC)
    headers = headers_of("id-1", b"{}", [secret_text(b"new"), SECRET], now=now)
    headers |= {name: value for name, value in change.items() if name.startswith("webhook-")}
    check = documented_check()
    assert check(headers, change.get("body", b"{}"), change.get("secret", SECRET)) is is_right


def test_waits_grow_and_are_shortened_by_at_most_half():
    assert [wait_after(number, jitter=0) for number in range(1, 10)] == [*WAITS, WAITS[-1]]
    for number in range(1, 40):
        longest = wait_after(number, jitter=0)
        assert longest // 2 <= wait_after(number, jitter=1) <= wait_after(number, jitter=0.5) <= longest
