"""How migrations run: on the application's database, each in a transaction of its own, never waiting long for a lock."""

from alembic import context
from flask import current_app
from sqlalchemy import text

from portal.infra.db import db

# A migration that cannot get its lock gives up instead of making every request wait behind it.
LOCK_TIMEOUT = "4s"


def run_migrations() -> None:
    """Bring the database of the running application to the wanted revision."""
    with db.engine.connect() as connection:
        connection.execute(text(f"SET lock_timeout = '{LOCK_TIMEOUT}'"))
        connection.commit()
        context.configure(
            connection=connection,
            target_metadata=db.metadata,
            transaction_per_migration=True,
            compare_server_default=True,
            **current_app.extensions["migrate"].configure_args,
        )
        with context.begin_transaction():
            context.run_migrations()


run_migrations()
