"""One-off items from a CSV file: every row is shown with its fate, and nothing is stored before Confirm."""

from flask import Response, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from portal.admin.staff import staff_blueprint
from portal.core.errors import InvalidInput, InvalidTransition
from portal.infra.db import transaction
from portal.infra.pages import csv_response, policy
from portal.invoicing.item_uploads import EXAMPLE, HEAD, MOST_CHARACTERS, MOST_ROWS, add_rows, rows_of, sums_of
from portal.signed_in import me

bp = staff_blueprint("admin_item_uploads")


@bp.get("/item-uploads")
@policy("manage one-off items")
def index() -> str:
    """The form for a file."""
    return _page()


@bp.get("/item-uploads/example.csv")
@policy("manage one-off items")
def example() -> Response:
    """A file to begin with."""
    return csv_response("one-off-items", HEAD, EXAMPLE)


@bp.post("/item-uploads")
@policy("manage one-off items")
def upload() -> ResponseReturnValue:
    """Preview a file; with the button of the preview, add its good rows."""
    try:
        text = _sent_text()
        if request.form.get("step") != "confirm":
            rows = rows_of(text)
            return render_template("admin/items/preview.html", rows=rows, sums=sums_of(rows), text=text)
        with transaction():
            rows = add_rows(text, created_by_id=me().user_id)
    except (InvalidInput, InvalidTransition) as refusal:
        return _page(refusal.sentence), refusal.status
    added, known = sum(row.planned is not None for row in rows), sum(row.already for row in rows)
    rejected = len(rows) - added - known
    words = f"{added} added, {known} were added before, {rejected} rejected."
    flash(words if added else f"Nothing was added: {words}", "success" if added else "info")
    return redirect(url_for(".index"), 303)


@bp.post("/item-uploads/rejected.csv")
@policy("manage one-off items")
def rejected() -> ResponseReturnValue:
    """The rows of a file that cannot be added, each with its sentence, to be mended and sent again."""
    try:
        rows = rows_of(_sent_text())
    except InvalidInput as refusal:
        return _page(refusal.sentence), refusal.status
    bad = [(*(row.cells[name] for name in HEAD), row.line, row.problem) for row in rows if row.problem]
    return csv_response("rejected-items", (*HEAD, "line", "problem"), bad)


def _sent_text() -> str:
    """The file, or its text as the preview has kept it. Raises InvalidInput."""
    file = request.files.get("file")
    if file is None:
        return request.form.get("text", "")
    try:
        body: bytes = file.read()
        return body.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InvalidInput("The file is not text in UTF-8.", field="file") from None


def _page(problem: str | None = None) -> str:
    return render_template(
        "admin/items/upload.html", problem=problem, head=HEAD, most_rows=MOST_ROWS, most_characters=MOST_CHARACTERS
    )
