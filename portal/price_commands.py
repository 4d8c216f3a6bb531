"""`flask price`: what a price comes to, without a database."""

import json
import sys
from pathlib import Path
from typing import Any

import click
from flask.cli import AppGroup
from rich.console import Console
from rich.table import Table
from rich.text import Text

from portal.core.errors import InvalidInput
from portal.core.estimating import estimate
from portal.infra.json_text import MalformedBody, read_json
from portal.infra.yaml_text import read_yaml

WIDE = 180
console = Console()

price_group = AppGroup("price", help="Prices: what they come to.")


@price_group.command("evaluate", with_appcontext=False)
@click.argument("file")
@click.option("--json", "as_json", is_flag=True, help="Print the whole answer as JSON.")
def evaluate_price(file: str, as_json: bool) -> None:
    """Say what the price and quantity in FILE come to, and how (JSON or YAML; - is standard input).

    FILE says what POST /api/v1/estimates takes: currency, price and quantity, or currency and items. Needs no
    database. Exits with 1 and one sentence if the file does not fit.
    """
    try:
        answer = estimate(_document(_text(file)))
    except InvalidInput as error:
        raise click.ClickException(f"{error.field}: {error.sentence}" if error.field else error.sentence) from error
    if as_json:
        click.echo(json.dumps(answer, indent=2, ensure_ascii=False))
        return
    items = answer.get("items")
    for number, each in enumerate(items or [answer], 1):
        _say(each, answer["currency"], f"Item {number}: " if items else "")
    if items:
        _print(f"{len(items)} items together: {_money(answer['amount']['major'], answer['currency'])}")


def _text(file: str) -> str:
    try:
        data = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
        return data.decode("utf-8-sig")
    except OSError as error:
        raise click.ClickException(f"{file} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise click.ClickException(f"{file} is not text in UTF-8.") from error


def _document(text: str) -> Any:
    """JSON if it can be read as such, else YAML, whose refusals name the line."""
    try:
        return read_json(text.encode())
    except MalformedBody:
        return read_yaml(text)


def _say(answer: dict[str, Any], currency: str, title: str) -> None:
    """The sentence, the unrounded steps and the one rounding."""
    _print(f"{title}{answer['sentence']}")
    table = Table("Step")
    for name in ("Quantity", "Unit amount", "Flat amount", "Amount, unrounded"):
        table.add_column(name, justify="right", overflow="fold")
    for step in answer["derivation"]["steps"]:
        name = step["kind"].replace("_", " ").capitalize()
        table.add_row(name, *(Text(step[key]) for key in ("quantity", "unit_amount", "flat_amount", "amount")))
    # A file or pipe has room for every figure.
    (console if console.is_terminal else Console(width=WIDE)).print(table)
    amount = _money(answer["amount"]["major"], currency)
    _print(f"{_money(answer['unrounded'], currency)}, rounded once, is {amount}")


def _money(amount: str, currency: str) -> str:
    return f"{currency} {amount}"


def _print(sentence: str) -> None:
    console.print(sentence, markup=False, highlight=False, soft_wrap=True)
