"""The sandbox knows exactly the parameters that the library does: no more, no fewer."""

import importlib

import pytest
from stripe._request_options import RequestOptions

from portal.sandbox import credit_notes, customers, events, invoices, items, lines, settling

SHAPES = {
    "CustomerCreateParams": customers.CREATE_SHAPE,
    "CustomerUpdateParams": customers.UPDATE_SHAPE,
    "CustomerListParams": customers.LIST_SHAPE,
    "InvoiceCreateParams": invoices.CREATE_SHAPE,
    "InvoiceUpdateParams": invoices.UPDATE_SHAPE,
    "InvoiceListParams": invoices.LIST_SHAPE,
    "InvoiceAddLinesParams": lines.ADD_SHAPE,
    "InvoiceAddLinesParamsLine": lines.ADD_SHAPE["lines"][0],
    "InvoiceUpdateLinesParams": lines.UPDATE_SHAPE,
    "InvoiceUpdateLinesParamsLine": lines.UPDATE_SHAPE["lines"][0],
    "InvoiceRemoveLinesParams": lines.REMOVE_SHAPE,
    "InvoiceRemoveLinesParamsLine": lines.REMOVE_SHAPE["lines"][0],
    "InvoiceLineItemListParams": lines.LIST_SHAPE,
    "InvoiceFinalizeInvoiceParams": settling.FINALIZE_SHAPE,
    "InvoicePayParams": settling.PAY_SHAPE,
    "InvoiceVoidInvoiceParams": settling.PLAIN_SHAPE,
    "InvoiceSendInvoiceParams": settling.PLAIN_SHAPE,
    "InvoiceItemCreateParams": items.CREATE_SHAPE,
    "InvoiceItemListParams": items.LIST_SHAPE,
    "CreditNoteCreateParams": credit_notes.CREATE_SHAPE,
    "CreditNoteListParams": credit_notes.LIST_SHAPE,
    "EventListParams": events.LIST_SHAPE,
}


@pytest.mark.parametrize("name", SHAPES)
def test_a_shape_names_the_parameters_of_the_library(name):
    words = "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name)
    module = importlib.import_module(f"stripe.params.{words.partition('_params')[0]}_params")
    typed = set(getattr(module, name).__annotations__) - set(RequestOptions.__annotations__)
    assert set(SHAPES[name]) == typed
