"""The currencies that one can bill in, and how many decimals each of them has.

Source: ISO 4217, list one, as published by its maintenance agency on 2026-01-01 (with amendment 180). Its codes
without a minor unit (metals, bond units, XDR, XSU, XUA, and XTS and XXX, which stand for no currency) cannot be
billed in and are left out.
"""

from portal.core.errors import InvalidInput

_CODES_BY_EXPONENT = {
    0: "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF",
    2: """
        AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BMD BND BOB BOV BRL BSD BTN BWP BYN BZD CAD CDF CHE CHF CHW
        CNY COP COU CRC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL HTG HUF
        IDR ILS INR IRR JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK
        MXN MXV MYR MZN NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP
        SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TOP TRY TTD TWD TZS UAH USD USN UYU UZS VED VES WST XAD XCD XCG
        YER ZAR ZMW ZWG
    """,
    3: "BHD IQD JOD KWD LYD OMR TND",
    4: "CLF UYW",
}
EXPONENTS = {code: exponent for exponent, codes in _CODES_BY_EXPONENT.items() for code in codes.split()}


def exponent_of(currency: str) -> int:
    """How many decimals the currency's major unit has: USD 2, JPY 0. Raises InvalidInput for any other text."""
    if currency not in EXPONENTS:
        raise InvalidInput(
            f"“{currency}” is not a currency that can be billed in; write its ISO 4217 code, such as USD.",
            field="currency",
        )
    return EXPONENTS[currency]


def require_currency(code: str) -> str:
    """The code itself, if it is one of a currency; for whoever takes one as input. Raises InvalidInput."""
    exponent_of(code)
    return code
