"""GET /api/v1/invoices: the documents by key, page by page, and nobody else's."""

import io
import json

import pypdf
import pytest

from portal.core.periods import Month
from portal.infra.db import transaction
from portal.invoicing.verifying import verify
from portal.organizations.api_keys import create_key
from tests.factories import acting, make_draft, make_final, make_organization


@pytest.fixture
def world(app, clean_database, clean_redis):
    """Acme with five final invoices and a draft, a rival with one; keys of Acme and of the platform."""
    with acting(app):
        acme, rival = make_organization("acme"), make_organization("rival")
        finals = [make_final(acme, "10", "2.50", month=Month(2026, each)) for each in range(5, 10)]
        foreign, draft = make_final(rival, "7", month=Month(2026, 9)), make_draft(acme)
        with transaction():
            keys = {
                name: create_key(name=name, organization_id=organization_id, scopes=scopes, live=False)
                for name, organization_id, scopes in (
                    ("acme", acme.id, ("read",)),
                    ("platform", None, ("read",)),
                    ("ingest", acme.id, ("ingest",)),
                )
            }
        ids = [str(each.public_id) for each in reversed(finals)]
        return {"ids": ids, "foreign": foreign.public_id, "draft": draft.public_id, "keys": keys}


@pytest.fixture
def get(app, world):
    def get_as(path: str, key: str = "acme", **headers: str):
        return app.test_client().get(path, headers={"Authorization": f"Bearer {world['keys'][key]}", **headers})

    return get_as


def test_pages_follow_each_other_without_a_gap(get, world):
    path, seen = "/api/v1/invoices?limit=2", []
    while path:
        answer = get(path).get_json()
        assert len(answer["data"]) <= 2
        seen += [each["id"] for each in answer["data"]]
        path = answer["next"]
    assert seen == world["ids"]
    assert len(get("/api/v1/invoices").get_json()["data"]) == 5


def test_an_invoice_is_a_document_that_can_be_computed_again(get, world):
    answer = get(f"/api/v1/invoices/{world['ids'][0]}")
    facts = answer.get_json()
    assert (facts["organization"], facts["state"], facts["payment_state"]) == ("acme", "finalized", "open")
    assert facts["document"]["amount_due"] == 1250
    assert verify(answer.data).findings == ()
    assert answer.headers["RateLimit-Limit"]
    assert facts == get("/api/v1/invoices?limit=1").get_json()["data"][0]


def test_the_pdf_is_the_customers(get, world):
    answer = get(f"/api/v1/invoices/{world['ids'][0]}.pdf")
    assert answer.mimetype == "application/pdf"
    assert "Amount due $12.50" in pypdf.PdfReader(io.BytesIO(answer.data)).pages[0].extract_text()
    again = get(f"/api/v1/invoices/{world['ids'][0]}.pdf", **{"If-None-Match": answer.headers["ETag"]})
    assert again.status_code == 304
    assert (
        "DRAFT"
        in pypdf.PdfReader(io.BytesIO(get(f"/api/v1/invoices/{world['draft']}.pdf").data)).pages[0].extract_text()
    )


def test_nobody_elses_are_found(get, world):
    for path in (f"{world['foreign']}", f"{world['foreign']}.pdf", f"{world['draft']}"):
        answer = get(f"/api/v1/invoices/{path}")
        assert (answer.status_code, answer.mimetype) == (404, "application/problem+json")
    assert get(f"/api/v1/invoices?after={world['foreign']}").status_code == 404
    found = get("/api/v1/invoices?limit=100", "platform").get_json()["data"]
    assert {each["organization"] for each in found} == {"acme", "rival"}
    assert len(found) == 6


@pytest.mark.parametrize(
    ("query", "field"), [("limit=0", "limit"), ("limit=101", "limit"), ("limit=x", "limit"), ("after=x", "after")]
)
def test_what_does_not_fit_is_named(get, query, field):
    answer = get(f"/api/v1/invoices?{query}")
    assert (answer.status_code, answer.get_json()["field"]) == (422, field)


def test_it_takes_a_key_that_may_read(app, get, world):
    for path in ("/api/v1/invoices", f"/api/v1/invoices/{world['ids'][0]}", f"/api/v1/invoices/{world['ids'][0]}.pdf"):
        assert get(path, "ingest").status_code == 403
        assert app.test_client().get(path).status_code == 401


def test_a_document_holds_no_float(get, world):
    def refuse(text: str) -> None:
        raise AssertionError(text)

    json.loads(get("/api/v1/invoices").data, parse_float=refuse)
