"""What Stripe knows of money: how small a charge may be, how large, and which amounts it refuses."""

from .errors import StripeError

LARGEST_AMOUNT = 99_999_999

MINIMUM_CHARGE = {
    "usd": 50, "eur": 50, "gbp": 30, "jpy": 50, "aud": 50, "cad": 50, "chf": 50, "nzd": 50, "sgd": 50,
    "brl": 50, "dkk": 250, "sek": 300, "nok": 300, "hkd": 400, "mxn": 1000, "pln": 200, "czk": 1500,
    "huf": 17500, "ron": 200, "aed": 200, "inr": 50, "thb": 1000, "myr": 200,
}  # fmt: skip
_OTHER_MINIMUM = 50

_THREE_DECIMALS = {"bhd", "jod", "kwd", "omr", "tnd"}
# Written without decimals, yet sent with two.
_WHOLE_UNITS_ONLY = {"isk", "ugx"}


def minimum_charge(currency: str) -> int:
    """The smallest amount that Stripe collects, in minor units."""
    return MINIMUM_CHARGE.get(currency, _OTHER_MINIMUM)


def check_currency(currency: str) -> str:
    """Return the currency in Stripe's lower case.

    :raise StripeError: not a three-letter code
    """
    if len(currency) != 3 or not currency.isascii() or not currency.isalpha():
        raise StripeError(f"Invalid currency: {currency}.", param="currency")
    return currency.lower()


def check_amount(amount: int, currency: str, param: str) -> int:
    """Return the amount if Stripe takes it in this currency.

    :raise StripeError: too large, or finer than the currency's smallest unit
    """
    if abs(amount) > LARGEST_AMOUNT:
        raise StripeError(
            f"Amount must be no more than {LARGEST_AMOUNT} in {currency}.",
            code="amount_too_large",
            param=param,
        )
    if currency in _THREE_DECIMALS and amount % 10:
        raise StripeError(f"Invalid amount: in {currency} the last digit must be 0.", param=param)
    if currency in _WHOLE_UNITS_ONLY and amount % 100:
        raise StripeError(f"Invalid amount: in {currency} the last two digits must be 00.", param=param)
    return amount
