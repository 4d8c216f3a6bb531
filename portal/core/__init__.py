"""The pure core: money, quantities, periods, prices, subscriptions, discounts, taxes and statements.

Owns: every rule by which an amount comes about.  Does not own: where figures are kept or shown.
Standard library only; no Flask, no database, no clock, no randomness, no environment.
The same inputs give the same result, byte for byte, in every process.
"""
