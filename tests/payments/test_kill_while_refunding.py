"""The worker dies at every step of a refund: one refund at Stripe. By default at each eleventh; with --full at all."""

from collections import Counter
from uuid import uuid4

import pytest

from portal.infra.db import transaction
from portal.payments.refunding import SYNC_REFUND, start_refund
from tests.factories import MONTH, NOW, make_final, make_organization, reload, sql
from tests.full import every
from tests.payments import test_kill_at_every_step as killing
from tests.payments.conftest import examine
from tests.payments.test_refunds import deliver

pytestmark = [pytest.mark.fault, pytest.mark.slow, pytest.mark.usefixtures("books")]
helper = killing.helper
EVERY = every(11)


def test_a_refund_that_is_killed_anywhere_is_made_once(helper, sandbox, capsys):
    organization = make_organization()

    def prepare(number: int) -> int:
        invoice = make_final(organization, "12.00", month=MONTH.plus(-number))
        helper(work="run", outbox_id=killing.newest_job("sync_invoice"))
        sandbox.act("pay", invoice=reload(invoice).stripe_id)
        deliver(sandbox, "invoice.paid")
        with transaction():
            start_refund(invoice.id, amount=500, reason="x", by="Ada", form_token=uuid4(), now=NOW)
        return killing.newest_job(SYNC_REFUND)

    kills = killing.kill_everywhere(helper, prepare, capsys, "refund", every=EVERY)
    refunds = sandbox.ledger()["refunds"]
    by_payment = Counter(each["payment_intent"] for each in refunds)
    assert (len(by_payment), set(by_payment.values())) == (kills + 2, {1})
    assert {each["amount"] for each in refunds} == {500}
    assert sql("SELECT state, count(*), count(stripe_id) FROM refunds GROUP BY state") == [
        ("succeeded", kills + 2, kills + 2)
    ]
    assert sql("SELECT count(*) FROM audit_entries WHERE action = 'refunded'") == [(kills + 2,)]
    assert examine() == []
