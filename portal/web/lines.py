"""Which line of an invoice a page explains, beside the lines as every page and file shows them."""

from flask import request

from portal.invoicing.shown import CSV_HEAD, ShownLine, csv_rows, lines_of_document, lines_of_draft

__all__ = ["CSV_HEAD", "ShownLine", "chosen_line", "csv_rows", "lines_of_document", "lines_of_draft"]


def chosen_line() -> int | None:
    """The line that the address wants explained (?explain=3)."""
    return request.args.get("explain", type=int)
