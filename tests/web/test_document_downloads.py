"""Downloads of invoices by customers and staff, over HTTP."""

import csv
import io
import json
import re
import zipfile
from collections.abc import Callable

import pypdf
import pytest
from flask import Flask
from flask.testing import FlaskClient

from portal.core.periods import Month
from portal.infra.db import transaction
from portal.invoicing.exporting import pdf, year
from portal.invoicing.queries import invoice_of
from portal.invoicing.verifying import verify
from portal.invoicing.voiding import void_invoice
from tests.factories import NOW, acting, make_final
from tests.web.conftest import MONTH, World


def text_of(body: bytes) -> str:
    return " ".join(page.extract_text() for page in pypdf.PdfReader(io.BytesIO(body)).pages)


@pytest.fixture
def staff(as_person: Callable[[str], FlaskClient]) -> FlaskClient:
    return as_person("staff@example.com")


def void(app: Flask, world: World) -> None:
    with acting(app), transaction():
        void_invoice(invoice_of(world.final).id, reason="wrong", now=NOW)


def test_a_final_invoice_can_be_had_in_each_form_and_all_agree(owner: FlaskClient, world: World):
    page = owner.get(f"/invoices/{world.final}").text
    for kind, mimetype in (("pdf", "application/pdf"), ("csv", "text/csv"), ("json", "application/json")):
        assert f'href="/invoices/{world.final}.{kind}"' in page
        answer = owner.get(f"/invoices/{world.final}.{kind}")
        assert answer.mimetype == mimetype
        assert re.fullmatch(
            r'attachment; filename="invoice-[A-Z0-9-]+\.' + kind + '"', answer.headers["Content-Disposition"]
        )
    paper = text_of(owner.get(f"/invoices/{world.final}.pdf").data)
    assert "Amount due $20.00" in paper
    assert "Migration assistance" in paper
    assert f"/invoices/{world.final}" in re.sub(r"\s", "", paper)
    found = verify(owner.get(f"/invoices/{world.final}.json").data)
    assert (found.findings, found.total) == ((), 2000)


@pytest.mark.parametrize("kind", ["pdf", "csv", "json"])
def test_a_final_file_is_not_sent_twice(owner: FlaskClient, world: World, app: Flask, kind: str):
    address = f"/invoices/{world.final}.{kind}"
    first = owner.get(address)
    assert first.headers["Cache-Control"] == "private, no-cache"
    again = owner.get(address, headers={"If-None-Match": first.headers["ETag"]})
    assert (again.status_code, again.data) == (304, b"")
    assert owner.get(address, headers={"If-None-Match": '"other"'}).data == first.data
    void(app, world)
    after = owner.get(address, headers={"If-None-Match": first.headers["ETag"]})
    # Only paper says that it is void: the document is what it was.
    assert after.status_code == (200 if kind == "pdf" else 304)
    assert kind != "pdf" or "VOID" in text_of(after.data)


def test_a_draft_is_marked_never_kept_and_has_no_document(owner: FlaskClient, world: World):
    for address in (f"/invoices/{world.draft}.pdf", f"/invoices/draft.pdf?month={MONTH}"):
        answer = owner.get(address)
        assert "ETag" not in answer.headers
        assert answer.headers["Cache-Control"] == "private, no-store"
        paper = text_of(answer.data)
        assert "DRAFT" in paper
        assert "Amount so far" in paper
        assert "$2.50" in paper
    assert owner.get(f"/invoices/{world.draft}.json").status_code == 404
    assert owner.get("/invoices/draft.pdf?month=2026-09").location == f"/invoices/{world.final}.pdf"
    assert "/invoices/draft.pdf" in owner.get(f"/invoices/draft?month={MONTH}").text


def test_a_month_that_nobody_has_opened_can_be_printed(owner: FlaskClient):
    paper = text_of(owner.get("/invoices/draft.pdf?month=2026-11").data)
    assert "Draft invoice, November 2026" in paper


def test_nobody_gets_the_files_of_another_organization(
    owner: FlaskClient, as_person: Callable[[str], FlaskClient], world: World
):
    for kind in ("pdf", "csv", "json"):
        answer = owner.get(f"/invoices/{world.foreign}.{kind}")
        assert answer.status_code == 404
        assert "rival" not in answer.text.lower()
        assert owner.get(f"/admin/invoices/{world.final}.{kind}").status_code == 404
        assert as_person("developer@acme.example").get(f"/invoices/{world.final}.{kind}").status_code == 404
    assert as_person("developer@acme.example").get("/invoices/year-2026.zip").status_code == 404


def test_staff_get_the_very_files_of_the_customer(staff: FlaskClient, owner: FlaskClient, world: World):
    for kind in ("pdf", "csv", "json"):
        address = f"/invoices/{world.final}.{kind}"
        assert staff.get(f"/admin{address}").data == owner.get(address).data
    page = staff.get(f"/admin/invoices/{world.final}").text
    assert f'href="/admin/invoices/{world.final}.pdf"' in page
    year_address = re.search(r'href="(/admin/organizations/[^"]+/year-2026\.zip)"', page)
    assert year_address is not None
    assert staff.get(year_address[1]).data == owner.get("/invoices/year-2026.zip").data
    assert staff.get(f"/admin/invoices/{world.draft}.json").status_code == 404


def test_a_year_is_one_file_with_all_its_invoices_and_an_index(owner: FlaskClient, world: World, app: Flask):
    void(app, world)
    with acting(app):
        acme = invoice_of(world.final).organization
        made = make_final(acme, "12.34", month=Month(2026, 8))
    assert 'href="/invoices/year-2026.zip"' in owner.get("/invoices").text
    answer = owner.get("/invoices/year-2026.zip")
    assert answer.mimetype == "application/zip"
    assert "invoices-2026.zip" in answer.headers["Content-Disposition"]
    archive = zipfile.ZipFile(io.BytesIO(answer.data))
    assert archive.testzip() is None
    rows = list(csv.DictReader(io.StringIO(archive.read("index.csv").decode("utf-8-sig"))))
    assert [(row["State"], row["Total"]) for row in rows] == [("void", "20.00"), ("finalized", "12.34")]
    named = [name for row in rows for name in row["Files"].split(", ")]
    assert archive.namelist() == [*named, "index.csv"]
    assert archive.read(f"invoice-{made.number}.pdf") == owner.get(f"/invoices/{made.public_id}.pdf").data
    for row in rows:
        file = archive.read(f"invoice-{row['Number']}.json")
        assert json.loads(file)["content_sha256"] == row["SHA-256"]
        assert verify(file).findings == ()
    assert owner.get("/invoices/year-2026.zip").data == answer.data


def test_a_year_without_invoices_and_one_with_too_many_are_refused(owner: FlaskClient, monkeypatch: pytest.MonkeyPatch):
    assert owner.get("/invoices/year-2025.zip").status_code == 404
    assert owner.get("/invoices/year-26.zip").status_code == 404
    monkeypatch.setattr(year, "MOST_INVOICES", 0)
    answer = owner.get("/invoices/year-2026.zip")
    assert answer.status_code == 422
    assert "one by one" in answer.text


def test_an_unusable_template_is_an_error_page(owner: FlaskClient, world: World, monkeypatch, tmp_path):
    (tmp_path / "fonts").mkdir()
    (tmp_path / "invoice.typ").write_text("#let broken = (")
    monkeypatch.setattr(pdf, "FOLDER", tmp_path)
    for address in (f"/invoices/{world.final}.pdf", "/invoices/year-2026.zip"):
        answer = owner.get(address)
        assert (answer.status_code, answer.mimetype) == (500, "text/html")
        assert "The PDF could not be made" in answer.text
    assert owner.get(f"/invoices/{world.final}.json").status_code == 200
