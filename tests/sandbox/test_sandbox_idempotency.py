"""A key is executed once: repeated, refused, held back or forgotten as at Stripe."""

import threading
import time

import pytest
import stripe

DAY = 24 * 3600


def test_a_repeated_call_gets_the_first_answer(sandbox, client):
    first = client.v1.customers.create({"name": "Acme"}, {"idempotency_key": "k1"})
    again = client.v1.customers.create({"name": "Acme"}, {"idempotency_key": "k1"})
    assert again.id == first.id
    assert "idempotent-replayed" not in {name.lower() for name in first.last_response.headers}
    assert again.last_response.headers["Idempotent-Replayed"] == "true"
    assert again.last_response.headers["Request-Id"] != first.last_response.headers["Request-Id"]
    assert len(sandbox.ledger()["customers"]) == 1


def test_the_same_key_with_other_parameters_is_refused(client):
    client.v1.customers.create({"name": "Acme"}, {"idempotency_key": "k1"})
    with pytest.raises(stripe.IdempotencyError):
        client.v1.customers.create({"name": "Other"}, {"idempotency_key": "k1"})


def test_the_same_key_at_another_endpoint_is_refused(client, customer):
    client.v1.customers.create({}, {"idempotency_key": "k1"})
    with pytest.raises(stripe.IdempotencyError, match="same endpoint"):
        client.v1.customers.update(customer, {}, {"idempotency_key": "k1"})


def test_a_key_is_forgotten_after_24_hours(sandbox, client):
    first = client.v1.customers.create({"name": "Acme"}, {"idempotency_key": "k1"})
    sandbox.ctl("clock", {"advance_seconds": DAY - 60})
    assert client.v1.customers.create({"name": "Acme"}, {"idempotency_key": "k1"}).id == first.id
    sandbox.ctl("clock", {"advance_seconds": 120})
    assert client.v1.customers.create({"name": "Acme"}, {"idempotency_key": "k1"}).id != first.id


@pytest.mark.parametrize(("mode", "customers"), [("500_before", 0), ("500_after", 1)])
def test_a_server_error_is_kept_and_repeated(sandbox, client, mode, customers):
    sandbox.fault("POST /v1/customers", mode)
    for _ in range(2):
        with pytest.raises(stripe.APIError) as caught:
            client.v1.customers.create({"name": "Acme"}, {"idempotency_key": "k1"})
        assert caught.value.http_status == 500
    assert len(sandbox.ledger()["customers"]) == customers
    assert [call["replayed"] for call in sandbox.ledger()["calls"]] == [False, True]


def test_a_refused_state_is_kept_and_repeated(client, draft):
    client.v1.invoices.finalize_invoice(draft)
    for replayed in (None, "true"):
        with pytest.raises(stripe.InvalidRequestError) as caught:
            client.v1.invoices.finalize_invoice(draft, {}, {"idempotency_key": "k1"})
        assert caught.value.headers.get("Idempotent-Replayed") == replayed


def test_what_fails_before_execution_leaves_the_key_free(sandbox, client):
    options = {"idempotency_key": "k1"}
    with pytest.raises(stripe.InvalidRequestError):
        client.v1.customers.create({"nickname": "x"}, options)
    sandbox.fault("POST /v1/customers", "429")
    with pytest.raises(stripe.RateLimitError):
        client.v1.customers.create({"name": "Acme"}, options)
    with pytest.raises(stripe.AuthenticationError):
        sandbox.client(key="rk_wrong").v1.customers.create({"name": "Acme"}, options)
    assert client.v1.customers.create({"name": "Acme"}, options).name == "Acme"


def test_a_key_in_flight_is_a_conflict(sandbox, client):
    sandbox.fault("POST /v1/customers", "slow:0.5")
    options = {"idempotency_key": "k1"}
    slow = threading.Thread(target=client.v1.customers.create, args=({"name": "Acme"}, options))
    slow.start()
    time.sleep(0.15)
    with pytest.raises(stripe.APIError) as caught:
        sandbox.client().v1.customers.create({"name": "Acme"}, options)
    assert (caught.value.http_status, caught.value.error.code) == (409, "idempotency_key_in_use")
    slow.join()
    assert len(sandbox.ledger()["customers"]) == 1
