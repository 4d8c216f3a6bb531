"""Stripe in the portal's words. The only file that imports stripe, so that keys and retries are all here.

Nothing here retries: a call is made once, and what came of it is one of four things: an answer (returned),
refused, busy, or unknown. Unknown means just that: the call may have worked.
"""

import json
import logging
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cache, partial
from typing import TYPE_CHECKING, Any

from flask import current_app
from rq.timeouts import BaseTimeoutException

from portal.core.errors import InvalidInput

if TYPE_CHECKING:
    import stripe

CONNECT_TIMEOUT_SECONDS, READ_TIMEOUT_SECONDS = 5, 20
SIGNATURE_TOLERANCE_SECONDS = 300
LINES_PER_PAGE = 100
log = logging.getLogger(__name__)


class GatewayError(Exception):
    """Something other than an answer came of a call; the text is a sentence for an admin."""


class OutcomeUnknown(GatewayError):
    """No answer, or none that can be understood: the call may have worked. Same key, same parameters, later."""


class Busy(GatewayError):
    """Stripe asks to slow down, or another call holds the object: nothing is known of it; same key, later."""


class Refused(GatewayError):
    """Stripe understood and said no: trying again with the same parameters cannot help."""


def preload() -> None:
    """Import the library now (it takes a second or two), so that forked workers need not."""
    _client("sk_test_preload", None)


def write(step: str, target: str | None, parameters: Mapping[str, Any], *, idempotency_key: str) -> dict[str, Any]:
    """Make one changing call. `step` names it, `target` is the id of the object that it changes, if any.

    Returns Stripe's object as plain data. Raises OutcomeUnknown, Busy or Refused.
    """
    client = client_of_app()
    arguments = (target,) if target is not None else ()
    calls = {
        "customer": client.v1.customers.create,
        "create": client.v1.invoices.create,
        "add_lines": client.v1.invoices.add_lines,
        "finalize": client.v1.invoices.finalize_invoice,
        "void": client.v1.invoices.void_invoice,
        "delete": client.v1.invoices.delete,
    }
    call: Any = calls[step]
    options = None if step == "delete" else {"idempotency_key": idempotency_key}
    return _answer(lambda: call(*arguments, dict(parameters), options))


def read_invoice(stripe_id: str) -> dict[str, Any]:
    """An invoice as Stripe has it now. Raises OutcomeUnknown, Busy or Refused (there is none)."""
    return _answer(lambda: client_of_app().v1.invoices.retrieve(stripe_id))


def read_lines(stripe_id: str) -> list[dict[str, Any]]:
    """All lines of an invoice, by pages of 100."""
    lines: list[dict[str, Any]] = []
    more: Any = {"limit": LINES_PER_PAGE}
    while True:
        page = _answer(partial(client_of_app().v1.invoices.line_items.list, stripe_id, more))
        lines += page["data"]
        if not page["has_more"]:
            return lines
        more = {"limit": LINES_PER_PAGE, "starting_after": lines[-1]["id"]}


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
    import stripe

    addresses: Any = {"api": api_base} if api_base else {}
    timeout = (CONNECT_TIMEOUT_SECONDS, READ_TIMEOUT_SECONDS)
    return stripe.StripeClient(
        key,
        base_addresses=addresses,
        # The library's own retries would hide an unknown outcome from the journal.
        max_network_retries=0,
        http_client=stripe.RequestsClient(timeout=timeout),
    )


def _answer(call: Any) -> dict[str, Any]:
    import stripe

    try:
        found: dict[str, Any] = call().to_dict()
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
        if 400 <= status < 500:
            raise Refused(f"Stripe refused: {error.user_message or error}") from error
        raise OutcomeUnknown(f"Stripe answered {status or 'something that cannot be read'}.") from error
    if "id" not in found and "data" not in found:
        raise OutcomeUnknown("Stripe's answer has no id.")
    return found


def _timestamp_of(header: str) -> int:
    parts = dict(part.split("=", 1) for part in header.split(",") if "=" in part)
    return int(parts["t"]) if parts.get("t", "").isdigit() else 0
