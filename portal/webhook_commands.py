"""`flask webhooks`: sending deliveries of webhooks again."""

from uuid import UUID

import click
from flask.cli import AppGroup

from portal.core.errors import InvalidTransition
from portal.infra import clock
from portal.infra.db import transaction
from portal.operator import as_operator
from portal.webhooks.endpoints import failed_deliveries, replay

webhooks_group = AppGroup("webhooks", help="Webhooks that the portal sends to organizations.")


@webhooks_group.command("replay")
@click.argument("delivery", type=click.UUID, required=False)
@click.option("--endpoint", type=click.UUID, help="Instead of one delivery, all that have failed of this endpoint.")
@as_operator
def replay_deliveries(delivery: UUID | None, endpoint: UUID | None) -> None:
    """Send a delivery again under its old id, or all that have failed of an endpoint; workers send them.

    Each is a transaction of its own: what is queued stays queued if a later one is refused.
    """
    if (delivery is None) == (endpoint is None):
        raise click.UsageError("Name a delivery, or an endpoint with --endpoint.")
    if endpoint is not None:
        with transaction():
            wanted = failed_deliveries(endpoint)
    else:
        assert delivery is not None
        wanted = [delivery]
    queued = 0
    for each in wanted:
        try:
            with transaction():
                replay(None, each, now=clock.now())
        except InvalidTransition as refusal:
            raise click.ClickException(f"{queued} queued; then: {refusal.sentence}") from refusal
        queued += 1
    click.echo(f"{queued} queued.")
