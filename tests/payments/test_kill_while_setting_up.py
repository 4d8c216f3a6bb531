"""The worker dies at every step of opening Stripe's page and of taking a card over: one customer, one page, one card.

By default at each eleventh step; at every one with --full.
"""

from collections import Counter

import pytest

from portal.infra import clock, outbox
from portal.infra.db import transaction
from portal.payments.opening import OPEN_PAGE, Page, open_page
from portal.payments.receiving import store_event
from tests.factories import make_organization, sql
from tests.full import every
from tests.payments import test_kill_at_every_step as killing
from tests.payments.conftest import examine, open_rows, work
from tests.payments.test_payment_methods import enter_card

pytestmark = [pytest.mark.fault, pytest.mark.slow, pytest.mark.usefixtures("books")]
helper = killing.helper
# All points with --full.
EVERY = every(11)


def test_opening_a_page_that_is_killed_anywhere_makes_one_customer_and_one_page(helper, sandbox, capsys):
    organizations = []

    def prepare(number: int) -> int:
        organization = make_organization(f"org-{number}")
        organizations.append(organization)
        with transaction():
            outbox.enqueue(
                OPEN_PAGE,
                dedupe_key=f"{organization.id} {Page.SETUP}",
                organization_id=organization.id,
                run_after=clock.now(),
                customer_of=organization.id,
                in_portal=0,
            )
        return killing.newest_job(OPEN_PAGE)

    killing.kill_everywhere(helper, prepare, capsys, "setup page", every=EVERY)
    ledger = sandbox.ledger()
    names = Counter(each["metadata"]["organization_id"] for each in ledger["customers"])
    pages = Counter(each["metadata"]["organization_id"] for each in ledger["checkout_sessions"])
    assert names == pages == {str(each.public_id): 1 for each in organizations}
    assert open_rows() == 0
    assert examine() == []


def test_taking_a_card_over_that_is_killed_anywhere_stores_it_once(helper, sandbox, capsys):
    def prepare(number: int) -> int:
        organization = make_organization(f"org-{number}")
        enter_card(open_page(organization.id, Page.SETUP))
        [event] = [each for each in sandbox.events()[-4:] if each["type"] == "checkout.session.completed"]
        with transaction():
            store_event(event)
        return killing.newest_job("apply_stripe_event")

    kills = killing.kill_everywhere(helper, prepare, capsys, "payment method", every=EVERY)
    work()
    assert sql("SELECT count(*), count(DISTINCT stripe_id) FROM payment_methods") == [(kills + 2, kills + 2)]
    assert sql("SELECT count(*) FROM audit_entries WHERE action = 'payment method changed'") == [(kills + 2,)]
    defaults = [each["invoice_settings"]["default_payment_method"] for each in sandbox.ledger()["customers"]]
    assert len(set(defaults) - {None}) == kills + 2
    assert examine() == []
