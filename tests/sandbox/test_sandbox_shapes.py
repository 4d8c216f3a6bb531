"""The sandbox takes exactly the parameters that the library has types for: names, kinds and words, however deep."""

import importlib
import typing
from collections.abc import Mapping
from decimal import Decimal
from types import NoneType, UnionType
from typing import Any, Literal, NotRequired

import pytest
from stripe._request_options import RequestOptions
from typing_extensions import is_typeddict

from portal.sandbox import (
    checkout,
    credit_notes,
    customers,
    events,
    invoices,
    items,
    lines,
    meter_events,
    methods,
    refunds,
    settling,
)
from portal.sandbox.errors import StripeError
from portal.sandbox.routes import ROUTES
from portal.sandbox.shapes import EXPAND, NO_EXPAND, boolean, integer, metadata, moments, unsupported, words

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
    "CustomerListPaymentMethodsParams": methods.LIST_SHAPE,
    "checkout.SessionCreateParams": checkout.CREATE_SHAPE,
    "billing_portal.SessionCreateParams": checkout.PORTAL_SHAPE,
    "RefundCreateParams": refunds.CREATE_SHAPE,
    "RefundListParams": refunds.LIST_SHAPE,
    "DisputeListParams": refunds.LIST_SHAPE,
    "InvoicePaymentListParams": refunds.PAYMENTS_SHAPE,
    "billing.MeterEventCreateParams": meter_events.CREATE_SHAPE,
}


OPTIONS = set(RequestOptions.__annotations__)


def hints_of(typed: Any) -> dict[str, Any]:
    """The library's types of a set of parameters, by name; its names for options of a request are not resolved."""
    found = typing.get_type_hints(typed, localns={"StripeContext": object, "Mapping": Mapping}, include_extras=True)
    return {name: hint for name, hint in found.items() if name not in OPTIONS}


def params_of(name: str) -> Any:
    package, _, plain = name.rpartition(".")
    words_of = "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in plain)
    path = ".".join(filter(None, ["stripe.params", package, f"{words_of.partition('_params')[0]}_params"]))
    return getattr(importlib.import_module(path), plain)


def choices_in(hint: Any) -> list[Any]:
    """What a hint allows, without the empty string that unsets a value."""
    if typing.get_origin(hint) is NotRequired:
        return choices_in(typing.get_args(hint)[0])
    if typing.get_origin(hint) in (typing.Union, UnionType):
        return [choice for each in typing.get_args(hint) for choice in choices_in(each)]
    return [] if hint in (Literal[""], NoneType) else [hint]


def accepts(spec: Any, value: Any) -> bool:
    try:
        spec(value, "x")
    except StripeError as refusal:
        # Of a list, only the property is refused, not that there is one.
        return "cannot be expanded" in str(refusal)
    return True


def check(spec: Any, hint: Any, where: str) -> None:
    """The reader or shape is as the library's type says."""
    if spec is unsupported:
        return
    choices = choices_in(hint)
    nested = next((each for each in choices if is_typeddict(each)), None)
    if spec is moments:
        assert int in choices, where
        assert set(hints_of(nested)) == {"gt", "gte", "lt", "lte"}, where
    elif nested is not None:
        check_all(spec, nested, where)
    elif listed := next((each for each in choices if typing.get_origin(each) in (list, typing.List)), None):  # noqa: UP006
        assert isinstance(spec, list), where
        check(spec[0], typing.get_args(listed)[0], f"{where}[]")
    else:
        check_one(spec, choices[0], where)


def check_one(spec: Any, hint: Any, where: str) -> None:
    origin = typing.get_origin(hint)
    if hint in (int, bool):
        assert spec is (integer if hint is int else boolean), where
    elif origin is Literal:
        assert not accepts(spec, "no such word"), where
        with pytest.raises(StripeError) as refusal:
            spec("no such word", "x")
        assert set(str(refusal.value).partition("one of ")[2].split(", ")) == set(typing.get_args(hint)), where
        assert all(accepts(spec, word) for word in typing.get_args(hint)), where
    elif origin is dict:
        assert spec in (metadata, words), where
    else:
        assert hint in (str, Decimal), (where, hint)
        assert accepts(spec, "1"), where
        assert not accepts(spec, ["1"]), where
        assert accepts(spec, "a word") == (hint is str and "decimal" not in where), where


def check_all(shape: Mapping[str, Any], typed: Any, where: str) -> None:
    hints = hints_of(typed)
    assert set(shape) == set(hints), where
    for name, hint in hints.items():
        check(shape[name], hint, f"{where}.{name}")


@pytest.mark.parametrize("name", SHAPES)
def test_a_shape_is_what_the_library_has_types_for(name):
    check_all(SHAPES[name], params_of(name), name)


def test_every_route_takes_such_a_shape_or_nothing_but_expand():
    known = [*SHAPES.values(), EXPAND, NO_EXPAND, {}]
    assert [f"{route.method} {route.path}" for route in ROUTES if route.shape not in known] == []


def test_what_the_library_requires_is_required():
    for name, shape in SHAPES.items():
        needed = {key for key, hint in hints_of(params_of(name)).items() if typing.get_origin(hint) is not NotRequired}
        for route in (each for each in ROUTES if each.shape is shape):
            assert needed <= set(route.required), (name, route.path)
