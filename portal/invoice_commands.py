"""`flask invoice`: checking an invoice's JSON file.

It needs neither settings nor a database, so whoever got the file can do it: `python -m portal.invoice_commands verify
FILE` works from a bare checkout.
"""

import sys
from pathlib import Path

import click
from flask.cli import AppGroup
from rich.console import Console

from portal.core.errors import InvalidInput
from portal.core.money import major_text
from portal.invoicing.verifying import verify

console = Console()

invoice_group = AppGroup("invoice", help="Invoices as files.")


@invoice_group.command("verify", with_appcontext=False)
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
def verify_file(file: Path) -> None:
    """Compute every line and sum of an invoice's JSON file again; exits with 1 if anything does not agree."""
    try:
        found = verify(file.read_bytes())
    except InvalidInput as error:
        raise click.ClickException(error.sentence) from error
    except OSError as error:
        raise click.ClickException(f"The file cannot be read: {error.strerror}.") from error
    for sentence in found.findings:
        console.print(sentence, markup=False, soft_wrap=True)
    what = f"Invoice {found.number}, {found.lines} lines, {found.currency} {major_text(found.total, found.currency)}"
    if found.findings:
        console.print(f"{what}: {len(found.findings)} things do not agree.", markup=False, soft_wrap=True)
        sys.exit(1)
    console.print(f"{what}: the hash, every line and every sum agree.", markup=False, soft_wrap=True)


if __name__ == "__main__":
    invoice_group()
