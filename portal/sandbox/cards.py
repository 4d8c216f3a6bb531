"""How a customer's card behaves, and Stripe's test payment methods that stand for it."""

from .errors import no_such

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


def card_of_payment_method(method: str) -> str:
    """The behaviour that a test payment method stands for.

    :raise StripeError: not one of the test payment methods
    """
    if method not in _PAYMENT_METHODS:
        raise no_such("PaymentMethod", method, param="payment_method")
    return _PAYMENT_METHODS[method]
