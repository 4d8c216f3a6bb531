"""Invoices as files: PDF, CSV, JSON, and all of a year as one ZIP.

Owns: what is printed and how files are named, made and sent.  Does not own: a figure; all come from the frozen
document or the live draft, through the view that pages use (shown.py, sums.py).
Invariants: the same document gives the same bytes in every process; a file is whole or it is an error.
"""
