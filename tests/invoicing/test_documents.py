"""Invoices as files: every form says the same, the same bytes come out, and each can be computed again."""

import copy
import csv
import io
import json
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pypdf
import pytest
from click.testing import CliRunner

from portal.core.errors import InvalidInput
from portal.core.keys import canonical_json, content_hash
from portal.core.lifecycle import InvoiceState
from portal.core.money import major_text
from portal.core.statement import compose
from portal.infra.formats import money
from portal.invoice_commands import invoice_group
from portal.invoicing.exporting import pdf
from portal.invoicing.exporting.files import Paper, csv_file, json_file, pdf_file
from portal.invoicing.exporting.pdf import UNKNOWN, CannotPrint, pages_of, render
from portal.invoicing.exporting.printed import printed_draft, printed_invoice
from portal.invoicing.models import Invoice
from portal.invoicing.shown import lines_of_document
from portal.invoicing.sums import sums_of_invoice
from portal.invoicing.verifying import verify
from tests.full import FULL
from tests.house.test_routes import make_app
from tests.invoicing.random_invoices import MONTH, SELLER, random_invoice

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
PAPER = Paper(SELLER, "https://portal.example")
# With these the forms of an invoice are compared, in blocks that can fail each by itself; more of them with --full.
COMPARED, BLOCK = (500, 50) if FULL else (60, 30)
# Computing again needs no paper, and so takes more of them at all times.
VERIFIED = 600 if FULL else 150
NUMBER = re.compile(r"[0-9](?=[^0-9]*$)")


def text_of(body: bytes) -> str:
    """All pages as one text; spaces of every kind are one."""
    pages = (page.extract_text() for page in pypdf.PdfReader(io.BytesIO(body)).pages)
    return re.sub(r"\s+", " ", " ".join(pages).replace("\u200b", ""))


def spaced(text: str) -> str:
    return re.sub(r"\s+", " ", text)


def pdf_of(invoice: Invoice) -> bytes:
    return pdf_file(invoice, PAPER, now=NOW).make()


def with_document(invoice: Invoice, **changed: Any) -> Invoice:
    """The invoice as if its document had said something else."""
    invoice.document = {**invoice.document, **changed}
    invoice.content_sha256 = content_hash(invoice.document)
    return invoice


@pytest.fixture(scope="module")
def page_parts() -> Any:
    """The parts of the invoice's page that hold figures."""
    app = make_app()
    sums = app.jinja_env.get_template("components/sums.html").module.sums_facts
    lines = app.jinja_env.get_template("web/invoices/_lines.html")

    def render_parts(invoice: Invoice) -> str:
        shown = lines_of_document(invoice.document)
        table = lines.render(
            lines=shown, currency=invoice.currency, whole=invoice.month, total=invoice.total, total_label="Total"
        )
        html = table + str(sums(sums_of_invoice(invoice, shown), invoice.currency))
        return spaced(re.sub(r"<[^>]+>", " ", html))

    return render_parts


@pytest.mark.parametrize("first", range(1, COMPARED, BLOCK))
def test_html_pdf_csv_and_json_say_the_same_totals(page_parts, first):
    for seed in range(first, first + BLOCK):
        invoice = random_invoice(seed)
        currency, document = invoice.currency, invoice.document
        html, paper = page_parts(invoice), text_of(pdf_of(invoice))
        rows = list(csv.DictReader(io.StringIO(csv_file(invoice).make().decode("utf-8-sig"))))
        frozen = json.loads(json_file(invoice).make())["document"]
        assert sum(Decimal(row["Amount"]) for row in rows) == Decimal(major_text(invoice.total, currency))
        assert len(rows) == len(frozen["lines"]) == len(document["lines"])
        assert (frozen["total"], frozen["amount_due"]) == (invoice.total, invoice.amount_due)
        for label, value in (("Total", invoice.total), ("Amount due", invoice.amount_due)):
            words = spaced(f"{label} {money(value, currency)}")
            assert words in paper, (seed, words)
            assert words in html, (seed, words)
        sums = sums_of_invoice(invoice, lines_of_document(document))
        for label, value in (*sums.rows, *((f"of which tax {rate}%", tax) for rate, tax in sums.included)):
            words = spaced(f"{label} {money(value, currency)}")
            assert words in paper, (seed, words)
            assert words in html, (seed, words)
        # Every line stands on paper with the figures of its row.
        for row, line in zip(rows, printed_lines(invoice), strict=False):
            assert spaced(" ".join(line)) in paper, (seed, row)


def printed_lines(invoice: Invoice) -> Iterator[tuple[str, ...]]:
    for group in printed_invoice(invoice, portal_url="")["groups"]:
        for line in group["lines"]:
            yield tuple(line[name] for name in ("quantity", "price", "amount") if line[name])


def test_lines_are_grouped_by_product_and_each_group_adds_up():
    invoice = random_invoice(11)
    groups = printed_invoice(invoice, portal_url="")["groups"]
    shown = {str(line.number): line for line in lines_of_document(invoice.document)}
    assert len(groups) > 1
    for group in groups:
        of_group = [shown[line["number"]] for line in group["lines"]]
        assert {line.product for line in of_group} <= {group["name"], ""}
        assert money(sum(line.amount for line in of_group), invoice.currency).endswith(group["amount"].lstrip("−"))


@pytest.mark.parametrize("lines", [1, 25, 120, 300])
def test_pages_are_numbered_tagged_and_end_with_the_sums(lines):
    invoice = long_invoice(lines)
    reader = pypdf.PdfReader(io.BytesIO(pdf_of(invoice)))
    count = len(reader.pages)
    assert (count > 1) == (lines > 25)
    root = reader.trailer["/Root"]
    assert root["/MarkInfo"]["/Marked"] == pypdf.generic.BooleanObject(True)
    assert root["/Lang"].startswith("en")
    assert "pdfuaid:part" in root["/Metadata"].get_object().get_data().decode()
    assert reader.metadata.title == f"Invoice {invoice.number}"
    texts = [spaced(page.extract_text()) for page in reader.pages]
    for number, text in enumerate(texts, 1):
        assert f"Page {number} of {count}" in text
        assert ("Line Item Quantity" in text) == any(f"Item {each:03d}" in text for each in range(1, lines + 1))
    assert f"Amount due {money(invoice.amount_due, 'USD')}" in texts[-1]
    # The names of all fonts are those of our own folder.
    assert {str(font["/BaseFont"]).split("+")[-1] for page in reader.pages for font in fonts_of(page)} <= {
        "Inter-Regular",
        "Inter-SemiBold",
    }


def fonts_of(page: pypdf.PageObject) -> list[Any]:
    return [font.get_object() for font in page["/Resources"]["/Font"].values()]


def long_invoice(lines: int, description: str = "Item") -> Invoice:
    invoice = random_invoice(1)
    one = {
        "kind": "one_off",
        "quantity": "1",
        "unit": "",
        "unit_amount": "2.5",
        "amount": 250,
        "period": [MONTH.first_day.isoformat(), MONTH.last_day.isoformat()],
        "derivation": {},
    }
    items = [{**one, "id": str(each), "description": f"{description} {each:03d}"} for each in range(1, lines + 1)]
    invoice.currency, invoice.total, invoice.amount_due = "USD", 250 * lines, 250 * lines
    invoice.tax_details, invoice.credits_applied, invoice.balance_applied = None, 0, 0
    return with_document(
        invoice,
        currency="USD",
        lines=items,
        tax=None,
        total=250 * lines,
        credits_applied=0,
        balance_applied=0,
        amount_due=250 * lines,
    )


def test_two_processes_make_the_same_bytes():
    program = (
        "import hashlib, sys; from tests.invoicing.test_documents import pdf_of, random_invoice;"
        "sys.stdout.write(hashlib.sha256(b''.join(pdf_of(random_invoice(seed)) for seed in (3, 4, 5))).hexdigest())"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", program],
            cwd=Path(__file__).parents[2],
            env={"PATH": "", "PYTHONHASHSEED": seed, "TZ": zone},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed, zone in (("1", "UTC"), ("2", "Asia/Tokyo"))
    }
    assert len(found) == 1
    assert len(found.pop()) == 64


def test_a_text_is_only_ever_shown():
    nasty = '#panic("x") $1$ *b* _i_ <label> @ref `raw` \\ // /* = heading {{ 1 }}'
    invoice = random_invoice(3)
    with_document(invoice, buyer={**invoice.document["buyer"], "name": nasty, "address": '- a\n+ b\n#read("/etc/x")'})
    paper = text_of(pdf_of(invoice)).replace(" ", "")
    assert nasty.replace(" ", "") in paper
    assert '#read("/etc/x")' in paper


def test_a_text_fetches_and_attaches_nothing():
    """Addresses in texts are texts: no file of the machine is read, nobody outside is asked, nothing can be clicked."""
    with socket.create_server(("127.0.0.1", 0)) as outside:
        address = f"http://127.0.0.1:{outside.getsockname()[1]}"
        texts = [
            f'<img src="{address}/a.png">',
            "<img src=file:///etc/passwd>",
            f"<link rel=attachment href={address}/b>",
            f'#image("{address}/c.svg")',
            f'#link("{address}")[x]',
        ]
        invoice = random_invoice(3)
        with_document(invoice, buyer={**invoice.document["buyer"], "name": "".join(texts), "address": "\n".join(texts)})
        reader = pypdf.PdfReader(io.BytesIO(pdf_of(invoice)))
        outside.setblocking(False)
        with pytest.raises(BlockingIOError):
            outside.accept()
    paper = "".join(page.extract_text() for page in reader.pages).replace(" ", "").replace("\n", "")
    assert all(paper.count(text.replace(" ", "")) >= 1 for text in texts)
    assert "root:" not in paper
    assert dict(reader.attachments) == {}
    links = [each.get_object()["/A"]["/URI"] for page in reader.pages for each in page.get("/Annots", ())]
    assert [link for link in links if address in link] == []


def test_a_text_cannot_turn_its_direction_or_hide_in_it():
    invoice = random_invoice(3)
    with_document(
        invoice, buyer={**invoice.document["buyer"], "name": "Pay \u202e0051$\u202c to\u2066 \u200bX\x07\u00adY"}
    )
    paper = text_of(pdf_of(invoice))
    assert "Pay 0051$ to XY" in paper
    assert not set("\u202e\u202c\u2066\x07") & set(paper)


def test_characters_that_no_font_has_are_marked_and_said():
    invoice = random_invoice(3)
    with_document(invoice, buyer={**invoice.document["buyer"], "name": "日本 KK שלום 😀", "address": None})
    paper = text_of(pdf_of(invoice))
    assert f"{UNKNOWN}{UNKNOWN} KK {UNKNOWN * 4} {UNKNOWN}" in paper
    assert "the JSON file has all" in paper
    assert UNKNOWN not in text_of(pdf_of(random_invoice(3)))


def test_long_texts_stay_on_the_page():
    invoice = long_invoice(3, "W" * 400)
    with_document(invoice, buyer={**invoice.document["buyer"], "name": "Verylongname" * 20, "purchase_order": "9" * 90})
    reader = pypdf.PdfReader(io.BytesIO(pdf_of(invoice)))
    right_edges: list[float] = []

    def note(text: str, _cm: Any, matrix: list[float], _font: Any, _size: Any) -> None:
        if text.strip():
            right_edges.append(matrix[4])

    for page in reader.pages:
        page.extract_text(visitor_text=note)
        assert max(right_edges) < float(page.mediabox.width)
    assert "W" * 400 in text_of(pdf_of(invoice)).replace(" ", "")


def test_void_and_draft_are_marked_and_a_final_one_is_not():
    invoice = random_invoice(3)
    assert " VOID " not in f" {text_of(pdf_of(invoice))} "
    final = pdf_file(invoice, PAPER, now=NOW)
    invoice.state = InvoiceState.VOID
    void = pdf_file(invoice, PAPER, now=NOW)
    paper = text_of(void.make())
    assert "VOID" in paper
    assert "nothing is owed" in paper
    assert "How to pay" not in paper
    assert void.etag != final.etag
    draft = printed_draft(invoice.organization, MONTH, compose([], currency="USD"), SELLER, now=NOW)
    paper = text_of(render(pages_of(draft, made_at=NOW)))
    assert "DRAFT" in paper
    assert "There is nothing to bill in this month." in paper
    assert "As it stands on 22 Nov 2026, 12:00 UTC" in paper


def test_both_tax_ids_and_how_to_pay_are_on_paper():
    invoice = long_invoice(2)
    paper = text_of(pdf_of(invoice))
    assert "Tax id XX123456789" in paper
    assert "Tax id DE999999999" in paper
    assert "Please pay by 18 Nov 2026" in paper
    assert f"https://portal.example/invoices/{invoice.public_id}" in paper.replace(" ", "")


@pytest.mark.parametrize("template", ["#let broken = (", "#panic(1)", None])
def test_an_unusable_template_is_a_refusal_and_never_half_a_file(tmp_path, monkeypatch, template):
    (tmp_path / "fonts").mkdir()
    if template is not None:
        (tmp_path / "invoice.typ").write_text(template)
    monkeypatch.setattr(pdf, "FOLDER", tmp_path)
    with pytest.raises(CannotPrint, match="could not be made"):
        pdf_of(random_invoice(3))


def test_a_missing_library_is_a_refusal(monkeypatch):
    monkeypatch.setitem(sys.modules, "typst", None)
    with pytest.raises(CannotPrint, match="typst is not installed"):
        pdf_of(random_invoice(3))


def test_csv_lines_end_as_the_standard_says_and_hold_no_formula():
    invoice = long_invoice(2, '=HYPERLINK("x")\n, "quoted"')
    body = csv_file(invoice).make().decode("utf-8-sig")
    assert body.count("\r\n") == 3
    rows = list(csv.reader(io.StringIO(body, newline="")))
    assert {len(row) for row in rows} == {18}
    assert rows[1][2] == '\'=HYPERLINK("x")\n, "quoted" 001'


def test_the_json_file_is_in_canonical_form():
    body = json_file(random_invoice(3)).make().decode()
    file = json.loads(body)
    assert body == canonical_json(file) + "\n"
    assert content_hash(file["document"]) == file["content_sha256"]


def test_every_random_invoice_can_be_computed_again():
    for seed in range(1, VERIFIED + 1):
        invoice = random_invoice(seed)
        found = verify(json_file(invoice).make())
        assert found.findings == (), seed
        assert (found.number, found.total) == (invoice.number, invoice.total)


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """Every number of a document, also those within texts, with its place."""
    if isinstance(value, dict | list):
        for name, each in value.items() if isinstance(value, dict) else enumerate(value):
            yield from leaves(each, (*path, name))
    elif not isinstance(value, bool) and NUMBER.search(str(value or "")):
        yield path, value


def changed(document: Any, path: tuple[Any, ...]) -> Any:
    """The document with the last digit at a place turned into the next."""
    document = copy.deepcopy(document)
    holder = document
    for name in path[:-1]:
        holder = holder[name]
    value = holder[path[-1]]
    if isinstance(value, int):
        holder[path[-1]] = value + 1
    else:
        place = NUMBER.search(value).start()
        holder[path[-1]] = value[:place] + str((int(value[place]) + 1) % 10) + value[place + 1 :]
    return document


def sealed_again(document: Any) -> bytes:
    return canonical_json({"content_sha256": content_hash(document), "document": document}).encode()


def findings_in(body: bytes) -> str:
    """What is found, or why the file cannot be read any more."""
    try:
        return "\n".join(verify(body).findings)
    except InvalidInput as error:
        return error.sentence


def small_documents() -> list[Any]:
    return [json.loads(json_file(random_invoice(seed, most_lines=5)).make())["document"] for seed in range(1, 25)]


def test_every_changed_number_is_found_by_the_hash():
    tried = 0
    for document in small_documents()[:8]:
        for path, _ in leaves(document):
            file = {"content_sha256": content_hash(document), "document": changed(document, path)}
            assert "SHA-256" in findings_in(canonical_json(file).encode()), path
            tried += 1
    assert tried > 300


# What decides about money in a document; other numbers (dates, names, terms that did not come to bear) only the hash
# holds.
MONEY = re.compile(
    r"(total|amount_due|credits_applied|balance_applied|tax\.amount|tax\.rates\..*"
    r"|lines\.\d+\.(amount|discount|credited|tax)"
    r"|lines\.\d+\.derivation\.(already|base|net|priced|tax_percent|parts\..*|steps\..*|terms\.rate_percent)"
    r"|lines\.\d+\.derivation\.terms\.(unit_amount|fee_per_event))"
)


def test_every_changed_amount_is_found_even_if_the_hash_is_made_anew():
    tried = set()
    for document in small_documents():
        for path, _ in leaves(document):
            place = ".".join(str(each) for each in path)
            if MONEY.fullmatch(place):
                try:
                    findings = verify(sealed_again(changed(document, path))).findings
                except InvalidInput:
                    findings = ("it cannot be read any more",)
                assert findings, place
                tried.add(re.sub(r"\d+", "*", place))
    assert len(tried) >= 25


def test_a_finding_names_its_line_and_says_both_figures():
    document = json.loads(json_file(long_invoice(3)).make())["document"]
    document["lines"][1]["amount"] = 251
    findings = verify(sealed_again(document)).findings
    assert findings == (
        "Line 2, Item 002: its amount is 2.51, and what it was computed from comes to 2.50.",
        "The total is 7.50 and comes to 7.51.",
        "The amount due is 7.50 and comes to 7.51.",
    )


def test_a_line_that_is_gone_or_new_is_found():
    document = json.loads(json_file(long_invoice(3)).make())["document"]
    gone = {**document, "lines": document["lines"][:2]}
    assert verify(sealed_again(gone)).findings == (
        "The total is 7.50 and comes to 5.00.",
        "The amount due is 7.50 and comes to 5.00.",
    )
    tax = {**document["lines"][0], "kind": "tax", "description": "Tax 1%", "amount": 0}
    assert verify(sealed_again({**document, "lines": [*document["lines"], tax]})).findings


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (b"", "not valid JSON"),
        (b"\xff\xfe", "not valid JSON"),
        (b"[1]", "one object"),
        (b"{}", "has a document"),
        (b'{"document": {}, "content_sha256": "x"}', "'lines' is missing"),
        (b'{"document": {"total": 1, "total": 2}, "content_sha256": "x"}', "stands twice"),
        (b'{"document": {"total": 1.5}, "content_sha256": "x"}', "whole minor units"),
        (b'{"document": {"total": NaN}, "content_sha256": "x"}', "whole minor units"),
        (b"[" * 100_000, "not valid JSON"),
    ],
)
def test_what_is_no_invoice_is_refused_with_a_sentence(tmp_path, body, sentence):
    file = tmp_path / "file.json"
    file.write_bytes(body)
    answer = CliRunner().invoke(invoice_group, ["verify", str(file)])
    assert answer.exit_code == 1
    assert sentence in answer.output
    assert answer.output.startswith("Error: ")


def test_the_command_says_what_it_found_without_settings_or_a_database(tmp_path):
    file = tmp_path / "invoice.json"
    file.write_bytes(json_file(long_invoice(3)).make())
    command = [sys.executable, "-m", "portal.invoice_commands", "verify", str(file)]
    run = {"cwd": Path(__file__).parents[2], "env": {"PATH": ""}, "capture_output": True, "text": True}
    answer = subprocess.run(command, **run)
    assert answer.returncode == 0, answer.stderr
    assert "3 lines, USD 7.50: the hash, every line and every sum agree." in answer.stdout
    file.write_bytes(file.read_bytes().replace(b'"amount":250', b'"amount":150', 1))
    answer = subprocess.run(command, **run)
    assert answer.returncode == 1
    assert "Line 1, Item 001: its amount is 1.50" in answer.stdout
    assert subprocess.run([*command[:-1], str(tmp_path / "none.json")], **run).returncode == 2


def test_a_document_from_before_lines_said_what_they_are_of_still_agrees():
    documents = [document for document in small_documents() if document["lines"][0]["derivation"].get("product")]
    for document in documents:
        for line in document["lines"]:
            for name in ("product", "meter"):
                line["derivation"].pop(name, None)
        limited = any(line["derivation"].get("products") for line in document["lines"])
        findings = verify(sealed_again(document)).findings
        assert limited or findings == (), findings
    assert any(line["kind"] == "coupon" for document in documents for line in document["lines"])


def test_the_pages_of_an_invoice_have_an_id_that_changes_with_them():
    invoice = random_invoice(3)
    printed = printed_invoice(invoice, portal_url="https://a.example")
    made_at = datetime.combine(date(2026, 11, 4), datetime.min.time(), UTC)
    first = pages_of(printed, made_at=made_at)
    assert first.id == pages_of(printed, made_at=made_at).id
    assert first.id != pages_of({**printed, "subtitle": "other"}, made_at=made_at).id
