"""POST /webhooks/stripe: verify, store, answer. The work is done by a worker."""

from flask import Blueprint, current_app, g, request

from portal.core.errors import InvalidInput
from portal.infra import clock
from portal.infra.audit import Actor
from portal.infra.db import SYSTEM, act_as, transaction
from portal.infra.pages import csrf, policy
from portal.payments.gateway import read_event
from portal.payments.receiving import store_event

LARGEST_BODY_BYTES = 512 * 1024
bp = Blueprint("webhooks", __name__, url_prefix="/webhooks")


class BadWebhook(InvalidInput):
    """A body that Stripe did not sign, or not now; Stripe expects 400 for it."""

    code, status = "bad_webhook", 400


@bp.post("/stripe")
@policy("signature")
def stripe() -> tuple[str, int]:
    """Take a webhook event from Stripe. 2xx as soon as it is stored; 400 for a signature that does not fit."""
    request.max_content_length = LARGEST_BODY_BYTES
    secrets = current_app.config["SETTINGS"].stripe_webhook_secrets
    try:
        event = read_event(request.get_data(), request.headers.get("Stripe-Signature"), secrets, now=clock.now())
    except InvalidInput as error:
        raise BadWebhook(error.sentence) from error
    act_as(SYSTEM)
    g.actor = Actor("stripe", "Stripe")
    with transaction():
        store_event(event)
    return "", 204


# Stripe signs its requests; a form token is for browsers.
csrf.exempt(stripe)
