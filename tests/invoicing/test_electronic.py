"""Electronic invoices: valid by the standard's own schema and rules, with the figures of the paper."""

import io
from collections.abc import Iterator
from decimal import Decimal
from importlib.resources import files
from typing import Any

import pypdf
import pytest
from facturx import xml_check_xsd
from lxml import etree

from portal.core.lifecycle import InvoiceState
from portal.core.money import major_text
from portal.core.taxes import TaxTreatment
from portal.invoicing.exporting.electronic import electronic_invoice
from portal.invoicing.exporting.files import Paper, pages_of_final
from portal.invoicing.exporting.pdf import render
from portal.invoicing.models import Invoice
from tests.full import FULL
from tests.invoicing.random_invoices import SELLER, random_invoice

PAPER = Paper(SELLER, "https://portal.example")
GERMAN = {"name": "Example Cloud GmbH", "address": "Straße 1\n10115 Berlin", "tax_id": "DE123456789", "country": "DE"}
BUYERS = (
    {"country": "DE", "tax_id": "DE999999999"},
    {"country": "GR", "tax_id": "EL999999999", "address": "1\n2\n3\n4 Athens"},
    {"country": "US", "tax_id": "12-3456789", "address": None},
)
SEEDS = 400 if FULL else 120
NAMESPACES = {
    "ram": "urn:un:unece:uncefact:data:standard:ReusableAggregateBusinessInformationEntity:100",
    "rsm": "urn:un:unece:uncefact:data:standard:CrossIndustryInvoice:100",
}


def european(seed: int) -> Invoice:
    """A random invoice as a German seller would have made it."""
    invoice = random_invoice(seed)
    assert invoice.document is not None
    buyer = {**invoice.document["buyer"], **BUYERS[seed % len(BUYERS)]}
    memo = {"memo": "Thank you\x0b & <good> luck"} if seed % 2 else {}
    invoice.document = {**invoice.document, "seller": GERMAN, "buyer": buyer, **memo}
    return invoice


@pytest.fixture(scope="module")
def electronic() -> dict[int, tuple[Invoice, bytes]]:
    """The random invoices that have an electronic twin, with it."""
    found = {}
    for seed in range(1, SEEDS + 1):
        invoice = european(seed)
        assert invoice.document is not None
        if xml := electronic_invoice(invoice.document):
            found[seed] = (invoice, xml)
    return found


def test_there_is_one_of_every_kind(electronic):
    categories = {
        category
        for _, xml in electronic.values()
        for category in etree.fromstring(xml).xpath("//ram:CategoryCode/text()", namespaces=NAMESPACES)
    }
    assert categories == {"S", "Z", "E", "AE"}
    assert {invoice.total < 0 for invoice, _ in electronic.values()} == {True, False}


def test_each_is_valid_by_the_schema(electronic):
    for _, xml in electronic.values():
        assert xml_check_xsd(xml, flavor="factur-x", level="en16931")


def test_each_keeps_the_rules_of_the_standard(electronic):
    rules = Rules()
    for seed, (_, xml) in electronic.items():
        assert list(rules.broken_by(xml)) == [], seed
    assert any("BR-CO-15" in each for each in rules.broken_by(_with_another_total(xml)))


def test_the_figures_are_those_of_the_document(electronic):
    for seed, (invoice, xml) in electronic.items():
        document, parsed = invoice.document, etree.fromstring(xml)
        assert document is not None
        stated = {
            name: parsed.xpath(f"string(//ram:{name})", namespaces=NAMESPACES)
            for name in ("GrandTotalAmount", "DuePayableAmount", "TaxTotalAmount")
        }
        assert stated == {
            "GrandTotalAmount": major_text(document["total"], "EUR"),
            "DuePayableAmount": major_text(document["amount_due"], "EUR"),
            "TaxTotalAmount": major_text(document["tax"]["amount"], "EUR"),
        }, seed
        for line in parsed.xpath("//ram:IncludedSupplyChainTradeLineItem", namespaces=NAMESPACES):
            price, count, net, *allowances = (
                Decimal(text)
                for name in ("ChargeAmount", "BilledQuantity", "LineTotalAmount", "ActualAmount")
                for text in line.xpath(f".//ram:{name}/text()", namespaces=NAMESPACES)
            )
            assert price >= 0
            assert abs(price * count - sum(allowances) - net) <= Decimal("0.005"), seed


def test_the_pdf_carries_it_and_stays_accessible(electronic):
    invoice, xml = next(iter(electronic.values()))
    pages = pages_of_final(invoice, PAPER)
    body = render(pages)
    read = pypdf.PdfReader(io.BytesIO(body))
    assert read.attachments["factur-x.xml"] == [xml]
    root: Any = read.trailer["/Root"]
    assert root["/AF"][0]["/AFRelationship"] == "/Alternative"
    assert root["/MarkInfo"]["/Marked"]
    metadata = root["/Metadata"].get_data().decode()
    etree.fromstring(metadata)
    for stated in ("<fx:ConformanceLevel>EN 16931<", "<pdfaid:part>3<", "<pdfuaid:part>1<", "fx</pdfaSchema:prefix>"):
        assert stated in metadata
    assert body == render(pages_of_final(invoice, PAPER))


def test_a_void_invoice_carries_none(electronic):
    invoice = european(next(iter(electronic)))
    assert pages_of_final(invoice, PAPER).electronic
    invoice.state = InvoiceState.VOID
    assert not pages_of_final(invoice, PAPER).electronic


def test_a_line_that_is_exempt_by_its_own_tax_code_says_why_among_lines_that_are_taxed(electronic):
    document = next(
        invoice.document
        for invoice, xml in electronic.values()
        if {b"<ram:CategoryCode>S<" in xml, b"<ram:CategoryCode>Z<" in xml} == {True}
    )
    lines = [
        line
        if "tax_percent" in line["derivation"]
        else {**line, "derivation": {**line["derivation"], "tax_code": "exempt"}}
        for line in document["lines"]
    ]
    xml = electronic_invoice({**document, "lines": lines})
    assert xml_check_xsd(xml, flavor="factur-x", level="en16931")
    assert list(Rules().broken_by(xml)) == []
    found = etree.fromstring(xml)
    assert set(found.xpath("//ram:CategoryCode/text()", namespaces=NAMESPACES)) == {"S", "E"}
    assert found.xpath("//ram:ExemptionReason/text()", namespaces=NAMESPACES) == [TaxTreatment.EXEMPT.sentence]


def test_what_the_standard_needs_and_the_document_does_not_say(electronic):
    plain = next(
        invoice.document
        for invoice, _ in electronic.values()
        if invoice.document and invoice.document["tax"]["sentence"] == "" and invoice.document["tax"]["rates"]
    )
    reversed_charge = next(
        invoice.document
        for invoice, _ in electronic.values()
        if invoice.document and invoice.document["tax"]["sentence"] == TaxTreatment.REVERSE_CHARGE.sentence
    )
    seller, buyer, tax = plain["seller"], plain["buyer"], plain["tax"]
    rates = [{**tax["rates"][0], "tax": tax["rates"][0]["tax"] + 1}, *tax["rates"][1:]]
    for change in (
        {"currency": "USD"},
        {"tax": None},
        {"seller": {**seller, "country": ""}},
        {"seller": {**seller, "tax_id": ""}},
        {"buyer": {**buyer, "country": None}},
        {"total": plain["total"] + 1},
        {"tax": {**tax, "rates": rates}, "total": plain["total"] + 1},
    ):
        assert electronic_invoice({**plain, **change}) is None, change
    assert electronic_invoice(reversed_charge)
    assert electronic_invoice({**reversed_charge, "buyer": {**reversed_charge["buyer"], "tax_id": None}}) is None


class Rules:
    """The rules of EN 16931 as its authors publish them for software (Schematron), run by an XSLT 2 processor."""

    def __init__(self) -> None:
        from saxonche import PySaxonProcessor

        self._processor = PySaxonProcessor(license=False)
        rules = files("facturx") / "xsd_and_schematron" / "facturx-en16931" / "FACTUR-X_EN16931.xslt"
        self._rules = self._processor.new_xslt30_processor().compile_stylesheet(stylesheet_file=str(rules))

    def broken_by(self, xml: bytes) -> Iterator[str]:
        """The rules that it breaks, in their words."""
        report = self._rules.transform_to_string(xdm_node=self._processor.parse_xml(xml_text=xml.decode()))
        for failed in etree.fromstring(report.encode()).xpath("//*[local-name()='failed-assert']"):
            yield " ".join(failed.xpath("string()").split())


def _with_another_total(xml: bytes) -> bytes:
    parsed = etree.fromstring(xml)
    total = parsed.xpath("//ram:GrandTotalAmount", namespaces=NAMESPACES)[0]
    total.text = str(Decimal(total.text) + 1)
    return bytes(etree.tostring(parsed))
