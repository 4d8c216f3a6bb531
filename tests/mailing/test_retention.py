"""What has an age is deleted by the clock; what explains money is not, and the books stay in order."""

from datetime import timedelta

from portal.infra import clock
from portal.retention import RETENTION, forget_by_age
from tests.factories import make_draft, make_meter, make_price, sql
from tests.mailing.conftest import hear_from_stripe, issue
from tests.mailing.test_mail_pages import again, as_person, get, mail_address
from tests.payments.conftest import examine

__all__ = ["as_person"]
ADD_SIMULATION = """
    INSERT INTO price_simulations (public_id, price_id, terms, valid_from, months, started_by, as_of, state, ended_at,
                                   whole, done)
    SELECT gen_random_uuid(), :price, '{}', '2026-10-01', '{2026-10-01}', 'Ada', now(), 'done', now(), 1, 1
    RETURNING id
"""
ADD_RESULT = """
    INSERT INTO price_simulation_results (simulation_id, organization_id, month, old, new, difference)
    VALUES (:simulation, :organization, '2026-10-01', 1, 2, 1)
"""


def test_what_is_old_enough_goes_and_the_rest_stays(app, acme, post, sandbox, as_person):
    settings, now = app.config["SETTINGS"], clock.now()
    invoice = issue(acme)
    sandbox.act("pay", invoice=invoice.stripe_id)
    hear_from_stripe(sandbox)
    price = make_price(make_meter("simulated")).price_id
    [(simulation,)] = sql(ADD_SIMULATION, price=price)
    sql(ADD_RESULT, simulation=simulation, organization=acme.id)
    assert forget_by_age(now=now, settings=settings) == {}
    deleted = forget_by_age(now=now + timedelta(days=401), settings=settings)
    assert set(deleted) == {
        *("texts and addresses of mails", "what Stripe's events said"),
        *("results of price simulations", "price simulations"),
    }
    assert forget_by_age(now=now + timedelta(days=401), settings=settings) == {}
    kept = sql("SELECT subject <> '', body_text || body_html, recipients || delivered FROM mails")
    assert {row[0] for row in kept} == {True}
    assert {(body, tuple(addresses)) for _, body, addresses in kept} == {("", ())}
    assert sql("SELECT DISTINCT payload FROM stripe_events WHERE state <> 'stored'") == [({},)]
    staff = as_person("billing_operations")
    assert "has been deleted, because it is old" in get(staff, mail_address())
    refused = again(staff, mail_address())
    assert refused.status_code == 409
    assert "has been deleted, because it is old" in refused.text
    assert examine() == []
    make_draft(acme)


def test_each_age_is_a_setting_of_its_own(app):
    assert all(isinstance(getattr(app.config["SETTINGS"], each.setting), int) for each in RETENTION)
    assert {each.setting for each in RETENTION} == {
        *("mail_keep_days", "account_mail_keep_days", "stripe_event_keep_days"),
        *("webhook_delivery_keep_days", "simulation_keep_days"),
    }
