"""Stripe's errors: the status, the JSON shape and the words of each."""

import json
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Answer:
    """What goes back over the wire."""

    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)
    content_type: str = "application/json"

    @classmethod
    def of(cls, payload: dict[str, Any], status: int = 200, headers: dict[str, str] | None = None) -> "Answer":
        """Encode a JSON payload, indented by two as Stripe does."""
        return cls(status, json.dumps(payload, indent=2).encode(), headers or {})


class StripeError(Exception):
    """A refusal in Stripe's own shape."""

    def __init__(
        self,
        message: str,
        *,
        status: int = 400,
        type: str = "invalid_request_error",
        code: str | None = None,
        param: str | None = None,
        headers: dict[str, str] | None = None,
        **extra: Any,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.headers = headers or {}
        details = {"message": message, "type": type, "code": code, "param": param, **extra}
        self.error = {name: value for name, value in details.items() if value is not None}

    def answer(self) -> Answer:
        """The HTTP answer that carries this error."""
        return Answer.of({"error": self.error}, self.status, self.headers)


def unknown_parameter(name: str) -> StripeError:
    """A parameter that Stripe does not have."""
    return StripeError(f"Received unknown parameter: {name}", code="parameter_unknown", param=name)


def missing_parameter(name: str) -> StripeError:
    """A required parameter was left out."""
    return StripeError(f"Missing required param: {name}.", code="parameter_missing", param=name)


def no_such(kind: str, id: str, *, param: str | None = None) -> StripeError:
    """An object that does not exist: 404 when named by the URL, 400 when named by a parameter."""
    status = 404 if param is None else 400
    return StripeError(f"No such {kind}: '{id}'", status=status, code="resource_missing", param=param or "id")


def not_editable(message: str) -> StripeError:
    """The invoice's state does not allow this change."""
    return StripeError(message, code="invoice_not_editable")


def unauthorized(message: str) -> StripeError:
    """No key, or not one for this server."""
    return StripeError(message, status=401)


def rate_limited() -> StripeError:
    """Too many requests."""
    return StripeError(
        "Request rate limit exceeded. You can learn more about rate limits here https://stripe.com/docs/rate-limits.",
        status=429,
        code="rate_limit",
        headers={"Stripe-Rate-Limited-Reason": "endpoint-rate"},
    )


def lock_timeout() -> StripeError:
    """Another request holds the object; unlike a plain 429, Stripe asks the client to retry this one."""
    return StripeError(
        "This object cannot be accessed right now because another API request or Stripe process is "
        "currently accessing it.",
        status=429,
        code="lock_timeout",
        headers={"Stripe-Should-Retry": "true"},
    )


def server_error() -> StripeError:
    """Stripe's own failure. The client must not retry by itself: the key would only replay it."""
    return StripeError(
        "An unknown error occurred. (This is the sandbox speaking: the fault was asked for.)",
        status=500,
        type="api_error",
        headers={"Stripe-Should-Retry": "false"},
    )


def card_error(message: str, code: str, decline_code: str | None = None) -> StripeError:
    """The customer's card said no."""
    return StripeError(message, status=402, type="card_error", code=code, decline_code=decline_code)
