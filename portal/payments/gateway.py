"""Stripe in the portal's words. The only file that imports stripe, so that keys and retries are all here.

Nothing here retries: a call waits for its turn, is made once, and what came of it is one of four things: an answer
(returned), refused, busy, or unknown. Unknown means just that: the call may have worked.
"""

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import cache, partial
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from flask import current_app
from rq.timeouts import BaseTimeoutException

from portal.core.errors import InvalidInput
from portal.payments import pacing

if TYPE_CHECKING:
    import stripe

CONNECT_TIMEOUT_SECONDS, READ_TIMEOUT_SECONDS = 5, 20
SIGNATURE_TOLERANCE_SECONDS = 300
STRIPE_PAGES = ("https://checkout.stripe.com", "https://billing.stripe.com")
LINES_PER_PAGE = OBJECTS_PER_PAGE = 100
log = logging.getLogger(__name__)


class GatewayError(Exception):
    """Something other than an answer came of a call; the text is a sentence for an admin."""


class OutcomeUnknown(GatewayError):
    """No answer, or none that can be understood: the call may have worked. Same key, same parameters, later."""


class FailureStored(OutcomeUnknown):
    """Stripe has kept an error for this key and repeats it: asking with the same key tells nothing any more."""


class NotSent(GatewayError):
    """The call had no turn within the longest wait: it was not made."""


class Busy(GatewayError):
    """Stripe asks to slow down, or another call holds the object: nothing is known of it; same key, later."""


class Refused(GatewayError):
    """Stripe understood and said no: trying again with the same parameters cannot help."""


class Missing(Refused):
    """Stripe has no such object, or not any more."""


def preload() -> None:
    """Import the library now (it takes a second or two), so that forked workers need not.

    It imports services and objects only when they are asked for, which each child would do again.
    """
    import stripe

    _changing_calls(_client("sk_test_preload", None))
    for name in ("ListObject", "Customer", "Invoice", "InvoiceLineItem", "CreditNote", "Refund"):
        getattr(stripe, name)


def write(step: str, target: str | None, parameters: Mapping[str, Any], *, idempotency_key: str) -> dict[str, Any]:
    """Make one changing call. `step` names it, `target` is the id of the object that it changes, if any.

    Returns Stripe's object as plain data. Raises OutcomeUnknown, Busy, NotSent or Refused.
    """
    call = _changing_calls(client_of_app())[step]
    arguments = (target,) if target is not None else ()
    options = None if step == "delete" else {"idempotency_key": idempotency_key}
    return _answer(lambda: call(*arguments, dict(parameters), options))


def _changing_calls(client: "stripe.StripeClient") -> dict[str, Any]:
    return {
        "customer": client.v1.customers.create,
        "create": client.v1.invoices.create,
        "add_lines": client.v1.invoices.add_lines,
        "remove_lines": client.v1.invoices.remove_lines,
        "finalize": client.v1.invoices.finalize_invoice,
        "void": client.v1.invoices.void_invoice,
        "delete": client.v1.invoices.delete,
        "credit_note": client.v1.credit_notes.create,
        "write_off": client.v1.invoices.mark_uncollectible,
        "refund": client.v1.refunds.create,
        "open_setup_page": client.v1.checkout.sessions.create,
        "open_customer_portal": client.v1.billing_portal.sessions.create,
        "default_method": client.v1.customers.update,
    }


def read_account() -> dict[str, Any]:
    """The account that our key belongs to. Raises OutcomeUnknown, Busy, NotSent or Refused."""
    return _answer(lambda: client_of_app().v1.accounts.retrieve_current())


def read_invoice(stripe_id: str) -> dict[str, Any]:
    """An invoice as Stripe has it now. Raises OutcomeUnknown, Busy or Refused (there is none)."""
    return _answer(lambda: client_of_app().v1.invoices.retrieve(stripe_id))


def read_lines(stripe_id: str) -> list[dict[str, Any]]:
    """All lines of an invoice, by pages of 100."""
    client = client_of_app()
    return all_pages(lambda page: client.v1.invoices.line_items.list(stripe_id, page))


def read_customer(stripe_id: str) -> dict[str, Any]:
    """A customer with its default payment method in full; of a deleted one only the id is left."""
    wanted: Any = {"expand": ["invoice_settings.default_payment_method"]}
    return _answer(lambda: client_of_app().v1.customers.retrieve(stripe_id, wanted))


def read_setup(stripe_id: str) -> dict[str, Any]:
    """A session in which a payment method was set up, with that method in full."""
    wanted: Any = {"expand": ["setup_intent.payment_method"]}
    return _answer(lambda: client_of_app().v1.checkout.sessions.retrieve(stripe_id, wanted))


def page_origins() -> tuple[str, ...]:
    """Where Stripe's pages for customers are; the sandbox has its own."""
    sandbox = current_app.config["SETTINGS"].stripe_api_base
    return (_origin(sandbox),) if sandbox else STRIPE_PAGES


def is_its_page(address: object) -> bool:
    """Whether an address leads to a page of Stripe's, and nowhere else."""
    try:
        return isinstance(address, str) and _origin(address) in page_origins()
    except ValueError:
        return False


def _origin(address: str) -> str:
    parts = urlsplit(address)
    return f"{parts.scheme}://{parts.netloc}"


def customers_made(since: datetime, until: datetime) -> list[dict[str, Any]]:
    """All customers that were created at Stripe between two moments, but for deleted ones."""
    client = client_of_app()
    window: Any = {"created": _window(since, until)}
    return all_pages(lambda page: client.v1.customers.list(window | page))


def invoices_made(customer: str, since: datetime, until: datetime) -> list[dict[str, Any]]:
    """All invoices of a customer that were created at Stripe between two moments, in whatever state."""
    client = client_of_app()
    window: Any = {"customer": customer, "created": _window(since, until)}
    return all_pages(lambda page: client.v1.invoices.list(window | page))


def read_event(payload: bytes, header: str | None, secrets: Sequence[str], *, now: datetime) -> dict[str, Any]:
    """Check a webhook's signature over its raw bytes and return the event.

    Any of the secrets may have signed it (two are valid while one replaces the other). Raises InvalidInput for a
    wrong or missing signature, for one made more than 300 s ago or ahead, and for a body that is no event.
    """
    import stripe

    for secret in secrets:
        try:
            stripe.WebhookSignature.verify_header(
                payload.decode("utf-8"), header or "", secret, SIGNATURE_TOLERANCE_SECONDS
            )
            break
        except (stripe.SignatureVerificationError, UnicodeDecodeError):
            continue
    else:
        raise InvalidInput("The signature does not fit this body, or it is too old.", field="Stripe-Signature")
    # The library checks only for old timestamps; one from the future would stay valid for long.
    if _timestamp_of(header or "") > now.timestamp() + SIGNATURE_TOLERANCE_SECONDS:
        raise InvalidInput("The signature's time lies in the future.", field="Stripe-Signature")
    try:
        event = json.loads(payload)
    except ValueError:
        raise InvalidInput("The body is not JSON.") from None
    if not isinstance(event, dict) or not isinstance(event.get("id"), str) or not isinstance(event.get("type"), str):
        raise InvalidInput("The body is not an event.")
    return event


def is_live() -> bool:
    """Whether our key moves real money; objects and events of the other mode are not ours."""
    return "_live_" in current_app.config["SETTINGS"].stripe_secret_key


def client_of_app() -> "stripe.StripeClient":
    """The client of the running application: its key and, for the sandbox, its address."""
    settings = current_app.config["SETTINGS"]
    return _client(settings.stripe_secret_key, settings.stripe_api_base)


@cache
def _client(key: str, api_base: str | None) -> "stripe.StripeClient":
    import requests
    import stripe

    class SameAddress(requests.Session):
        """Follows nobody to another address: the key is for the one in the settings."""

        def get_redirect_target(self, resp: requests.Response) -> None:
            """None: a redirect is an answer like any other."""

    class PacedClient(stripe.RequestsClient):
        """Every call of the library waits for its turn, whoever makes it."""

        def request(self, method: str, url: str, headers: Any, post_data: Any = None, **more: Any) -> Any:
            with pacing.turn(method, url):
                return super().request(method, url, headers, post_data, **more)

    addresses: Any = {"api": api_base} if api_base else {}
    timeout = (CONNECT_TIMEOUT_SECONDS, READ_TIMEOUT_SECONDS)
    return stripe.StripeClient(
        key,
        base_addresses=addresses,
        # The library's own retries would hide an unknown outcome from the journal.
        max_network_retries=0,
        http_client=PacedClient(timeout=timeout, session=SameAddress()),
    )


def all_pages(read_page: Callable[[Any], Any]) -> list[dict[str, Any]]:
    """All objects of a list at Stripe, by pages of 100. Raises OutcomeUnknown, Busy, NotSent or Refused."""
    rows: list[dict[str, Any]] = []
    more: dict[str, Any] = {"limit": OBJECTS_PER_PAGE}
    while True:
        page = _answer(partial(read_page, more))
        rows += page["data"]
        if not page["has_more"]:
            return rows
        more = {"limit": OBJECTS_PER_PAGE, "starting_after": rows[-1]["id"]}


def _window(since: datetime, until: datetime) -> dict[str, int]:
    return {"gte": int(since.timestamp()), "lte": int(until.timestamp())}


def _answer(call: Any) -> dict[str, Any]:
    import stripe

    try:
        found: dict[str, Any] = call().to_dict()
    except pacing.NoTurn:
        raise NotSent("Many calls to Stripe wait for their turn; this one comes later.") from None
    except stripe.APIConnectionError as error:
        if isinstance(error.__cause__, BaseTimeoutException):
            log.warning("the job's time ran out inside a call to Stripe")
        raise OutcomeUnknown("Stripe did not answer. Nothing is sent twice; we ask again.") from error
    except stripe.RateLimitError as error:
        raise Busy("Stripe asks us to slow down.") from error
    except (stripe.AuthenticationError, stripe.PermissionError) as error:
        raise Refused(f"Stripe does not accept our key: {error.user_message or error}") from error
    except stripe.StripeError as error:
        status = error.http_status or 0
        if status == 409:
            raise Busy("Stripe is still working on the same call.") from error
        if status == 404 and error.code == "resource_missing":
            raise Missing(f"Stripe refused: {error.user_message or error}") from error
        if 400 <= status < 500:
            raise Refused(f"Stripe refused: {error.user_message or error}") from error
        if _is_repeated(error):
            raise FailureStored(f"Stripe keeps answering {status} for this call.") from error
        raise OutcomeUnknown(f"Stripe answered {status or 'something that cannot be read'}.") from error
    if "id" not in found and "data" not in found:
        raise OutcomeUnknown("Stripe's answer has no id.")
    return found


def _is_repeated(error: "stripe.StripeError") -> bool:
    """Whether Stripe says that this is the answer which it has kept for the key."""
    headers: Mapping[str, Any] = error.headers or {}
    return any(name.lower() == "idempotent-replayed" and value == "true" for name, value in headers.items())


def _timestamp_of(header: str) -> int:
    parts = dict(part.split("=", 1) for part in header.split(",") if "=" in part)
    return int(parts["t"]) if parts.get("t", "").isdigit() else 0


def credit_notes_on(stripe_invoice: str) -> list[dict[str, Any]]:
    """All credit notes on an invoice, as Stripe has them now. Raises OutcomeUnknown, Busy, NotSent or Refused."""
    wanted: Any = {"invoice": stripe_invoice}
    client = client_of_app()
    return all_pages(lambda page: client.v1.credit_notes.list(wanted | page))


def page_of_invoices(since: datetime, until: datetime, after: str | None) -> tuple[list[dict[str, Any]], bool]:
    """One page of the invoices made in [since, until), newest first, with their customers; and whether more follow."""
    wanted: Any = {"created": _made_in(since, until), "expand": ["data.customer"]}
    return _page(lambda page: client_of_app().v1.invoices.list(wanted | page), after)


def page_of_customers(since: datetime, until: datetime, after: str | None) -> tuple[list[dict[str, Any]], bool]:
    """One page of the customers made in [since, until) and not deleted, newest first; and whether more follow."""
    wanted: Any = {"created": _made_in(since, until)}
    return _page(lambda page: client_of_app().v1.customers.list(wanted | page), after)


def page_of_undelivered_events(since: datetime, until: datetime) -> tuple[list[dict[str, Any]], bool]:
    """Up to 100 events of [since, until) that no webhook has brought, newest first; and whether more follow."""
    wanted: Any = {"created": _made_in(since, until), "delivery_success": False}
    return _page(lambda page: client_of_app().v1.events.list(wanted | page), None)


def find_invoice(stripe_id: str) -> dict[str, Any] | None:
    """An invoice with its customer, or None if Stripe has none with this id. Raises as `read_invoice` otherwise."""
    try:
        return _answer(lambda: client_of_app().v1.invoices.retrieve(stripe_id, {"expand": ["customer"]}))
    except Refused as refusal:
        if getattr(refusal.__cause__, "http_status", None) == 404:
            return None
        raise


def _page(read: Callable[[Any], Any], after: str | None) -> tuple[list[dict[str, Any]], bool]:
    cursor = {"starting_after": after} if after is not None else {}
    found = _answer(lambda: read({"limit": OBJECTS_PER_PAGE, **cursor}))
    return found["data"], found["has_more"]


def _made_in(since: datetime, until: datetime) -> dict[str, int]:
    return {"gte": int(since.timestamp()), "lt": int(until.timestamp())}
