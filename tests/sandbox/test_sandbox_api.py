"""Keys, parameters, customers and lists."""

import json
import urllib.error
import urllib.request

import pytest
import stripe


def refused(call, *args):
    with pytest.raises(stripe.InvalidRequestError) as caught:
        call(*args)
    return caught.value


def test_the_account_is_the_sandbox(client):
    assert client.v1.accounts.retrieve_current().id == "acct_sandbox"


@pytest.mark.parametrize("key", ["pk_test_sandbox", "sk_live_something"])
def test_a_wrong_key_is_refused(sandbox, key):
    with pytest.raises(stripe.AuthenticationError):
        sandbox.client(key=key).v1.accounts.retrieve_current()


@pytest.mark.parametrize(
    ("params", "param"),
    [
        ({"nickname": "x"}, "nickname"),
        ({"address": {"planet": "x"}}, "address[planet]"),
    ],
)
def test_an_unknown_parameter_is_refused(client, params, param):
    error = refused(client.v1.customers.create, params)
    assert (error.http_status, error.code, error.param) == (400, "parameter_unknown", param)


def test_a_nested_unknown_parameter_is_named(client, draft):
    error = refused(client.v1.invoices.add_lines, draft, {"lines": [{"amount": 1}, {"amount": 1, "price": "x"}]})
    assert (error.code, error.param) == ("parameter_unknown", "lines[1][price]")


@pytest.mark.parametrize(
    ("params", "code"),
    [
        ({}, "parameter_missing"),
        ({"customer": "cus_nobody"}, "resource_missing"),
        ({"customer": "cus_nobody", "days_until_due": "soon"}, "parameter_invalid_integer"),
    ],
)
def test_a_bad_invoice_is_refused(client, params, code):
    assert refused(client.v1.invoices.create, params).code == code


def test_metadata_stays_inside_stripes_limits(client):
    refused(client.v1.customers.create, {"metadata": {"k": "v" * 501}})
    refused(client.v1.customers.create, {"metadata": {"k" * 41: "v"}})
    refused(client.v1.customers.create, {"metadata": {f"k{i}": "v" for i in range(51)}})


def test_metadata_is_merged_and_unset(client, customer):
    client.v1.customers.update(customer, {"metadata": {"a": "1", "b": "2"}})
    assert client.v1.customers.update(customer, {"metadata": {"a": ""}}).metadata.to_dict() == {"b": "2"}
    assert client.v1.customers.update(customer, {"metadata": ""}).metadata.to_dict() == {}


def test_a_deleted_customer_is_only_an_id(client, customer, draft):
    assert client.v1.customers.delete(customer).deleted is True
    gone = client.v1.customers.retrieve(customer)
    assert (gone.id, gone.deleted, "name" in gone) == (customer, True, False)
    assert client.v1.customers.list().data == []
    assert refused(client.v1.customers.update, customer, {"name": "x"}).code == "resource_missing"
    error = refused(client.v1.invoices.create, {"customer": customer})
    assert (error.http_status, error.code, error.param) == (400, "resource_missing", "customer")
    refused(client.v1.invoices.finalize_invoice, draft)


def test_an_unknown_url_is_refused_in_stripes_shape(client):
    assert refused(client.v1.products.list).http_status == 404


def test_a_list_is_read_by_cursors(client, customer):
    made = [client.v1.invoices.create({"customer": customer}).id for _ in range(5)]
    first = client.v1.invoices.list({"customer": customer, "limit": 2})
    assert ([invoice.id for invoice in first.data], first.has_more) == (made[:2:-1], True)
    second = client.v1.invoices.list({"customer": customer, "limit": 2, "starting_after": first.data[-1].id})
    assert [invoice.id for invoice in second.data] == [made[2], made[1]]
    back = client.v1.invoices.list({"customer": customer, "limit": 2, "ending_before": second.data[0].id})
    assert [invoice.id for invoice in back.data] == made[:2:-1]
    assert [invoice.id for invoice in first.auto_paging_iter()] == made[::-1]
    refused(client.v1.invoices.list, {"starting_after": "in_nothing"})
    refused(client.v1.invoices.list, {"limit": 101})


def test_a_list_is_filtered(sandbox, client, draft):
    other = client.v1.customers.create({}).id
    invoice = client.v1.invoices.retrieve(draft)
    for params, found in (
        ({"customer": invoice.customer}, [draft]),
        ({"customer": other}, []),
        ({"status": "draft"}, [draft]),
        ({"status": "open"}, []),
        ({"created": {"gte": invoice.created, "lte": invoice.created}}, [draft]),
        ({"created": {"gt": invoice.created}}, []),
        ({"due_date": {"lt": invoice.due_date}}, []),
    ):
        assert [row.id for row in client.v1.invoices.list(params).data] == found


def test_a_customer_is_expanded_where_asked(client, draft):
    assert client.v1.invoices.retrieve(draft, {"expand": ["customer"]}).customer.name == "Acme"
    assert client.v1.invoices.list({"expand": ["data.customer"]}).data[0].customer.name == "Acme"
    refused(client.v1.invoices.retrieve, draft, {"expand": ["charge"]})


def test_the_rate_limit_is_counted_per_endpoint(sandbox, client, customer):
    sandbox.ctl("rate_limit", {"per_endpoint": 3, "total": 100})
    for _ in range(3):
        client.v1.customers.retrieve(customer)
    with pytest.raises(stripe.RateLimitError):
        client.v1.customers.retrieve(customer)
    client.v1.invoices.list()
    assert sandbox.ctl("rate_limit") == {"per_endpoint": 25, "total": 100}
    assert sandbox.ctl("rate_limit", {"per_endpoint": None, "total": None})["total"] is None


@pytest.mark.parametrize(
    ("body", "kind", "sentence"),
    [
        (b'{"customer": "cus_1"}', "application/json", "must be form-encoded"),
        (b"currency=usd", None, "must be form-encoded"),
        (b"metadata=1&metadata[a]=2", "application/x-www-form-urlencoded", "is given as a value as well"),
        (b"metadata[a]=2&metadata=1", "application/x-www-form-urlencoded", "is given as an object as well"),
    ],
)
def test_what_is_not_stripes_form_encoding_is_refused(sandbox, body, kind, sentence):
    headers = {"Authorization": "Bearer sk_test_sandbox", "Content-Type": kind or "application/octet-stream"}
    request = urllib.request.Request(f"{sandbox.url}/v1/invoices", body, headers)
    with pytest.raises(urllib.error.HTTPError) as refusal:
        urllib.request.urlopen(request)
    with refusal.value as answer:
        assert answer.code == 400
        assert sentence in json.load(answer)["error"]["message"]


def test_what_cannot_be_expanded_is_said_aloud(client, customer, draft):
    for ask in (
        lambda: client.v1.customers.retrieve(customer, {"expand": ["sources"]}),
        lambda: client.v1.credit_notes.list({"expand": ["data.invoice"]}),
        lambda: client.v1.invoices.retrieve(draft, {"expand": ["charge"]}),
    ):
        with pytest.raises(stripe.InvalidRequestError, match="cannot be expanded"):
            ask()


def test_a_meter_event_is_taken_and_a_bad_one_refused(client, customer):
    event = {"event_name": "seconds", "payload": {"stripe_customer_id": customer, "value": "25"}}
    assert client.v1.billing.meter_events.create(event).to_dict()["payload"] == event["payload"]
    for wrong in ({"payload": {"stripe_customer_id": "cus_none", "value": "1"}}, {"timestamp": 1}, {"event_name": ""}):
        with pytest.raises(stripe.InvalidRequestError):
            client.v1.billing.meter_events.create({**event, **wrong})
