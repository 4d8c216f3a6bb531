"""The mail that an endpoint of webhooks was disabled because it took nothing."""

from portal.infra import clock, outbox
from portal.infra.db import db
from portal.infra.formats import moment
from portal.infra.languages import _, speaking
from portal.infra.outbox import Lease
from portal.mailing.models import MailKind
from portal.mailing.writing import settings_now, write_about
from portal.webhooks.models import WebhookEndpoint
from portal.webhooks.sending import MAIL_DISABLED


@outbox.handles(MAIL_DISABLED)
def write_disabled(lease: Lease, *, endpoint_id: int) -> None:
    """Write that an endpoint was disabled, once each time. Idempotent; nothing if it is enabled again or removed."""
    with lease.transaction():
        endpoint = db.session.get_one(WebhookEndpoint, endpoint_id, with_for_update=True, populate_existing=True)
        if endpoint.disabled_at is None or endpoint.removed_at is not None:
            return
        with speaking(endpoint.organization.language):
            write_about(
                MailKind.WEBHOOK,
                endpoint.organization,
                _("a webhook endpoint was disabled"),
                key=f"webhook:{endpoint.id}:{endpoint.disabled_at.isoformat()}",
                now=clock.now(),
                organization=endpoint.organization.name,
                url=endpoint.url,
                because=endpoint.disabled_because,
                disabled_at=moment(endpoint.disabled_at),
                page_url=f"{settings_now().portal_url}/webhooks",
            )
