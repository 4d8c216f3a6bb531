"""How a customer's card behaves, and Stripe's test cards and payment methods that stand for it."""

from dataclasses import dataclass

from .errors import no_such
from .store import Store

CARDS = ("succeeds", "declines", "requires_action", "none")

_PAYMENT_METHODS = {
    "pm_card_visa": "succeeds",
    "pm_card_mastercard": "succeeds",
    "pm_card_amex": "succeeds",
    "pm_card_chargeCustomerFail": "declines",
    "pm_card_chargeDeclined": "declines",
    "pm_card_visa_chargeDeclined": "declines",
    "pm_card_authenticationRequired": "requires_action",
    "pm_card_threeDSecure2Required": "requires_action",
}


@dataclass(frozen=True)
class TestCard:
    """A number that one types on the sandbox's pages, as on Stripe's in test mode."""

    brand: str
    behaviour: str
    words: str
    refused_at_once: bool = False


CARD_NUMBERS = {
    "4242424242424242": TestCard("visa", "succeeds", "every payment succeeds"),
    "5555555555554444": TestCard("mastercard", "succeeds", "every payment succeeds"),
    "4000000000000341": TestCard("visa", "declines", "it is kept, but every payment is declined"),
    "4000002760003184": TestCard("visa", "requires_action", "it is kept, but every payment must be confirmed"),
    "4000000000000002": TestCard("visa", "declines", "it is declined at once", refused_at_once=True),
}
_BEHAVIOUR_OF_LAST4 = {number[-4:]: card.behaviour for number, card in CARD_NUMBERS.items()}


def card_of_payment_method(store: Store, method: str) -> str:
    """The behaviour that a payment method stands for: one of Stripe's test ones, or one that was set up here.

    :raise StripeError: neither
    """
    if method in store.payment_methods:
        return _BEHAVIOUR_OF_LAST4[store.payment_methods[method]["card"]["last4"]]
    if method not in _PAYMENT_METHODS:
        raise no_such("PaymentMethod", method, param="payment_method")
    return _PAYMENT_METHODS[method]
