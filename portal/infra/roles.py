"""The database roles of transactions: none of them can sign in, own a table, or pass row level security by."""

from sqlalchemy import Connection, text

from portal.infra.db import STAFF_ROLE, SYSTEM_ROLE, TENANT_ROLE

_ENSURE = """
    DO $$ BEGIN
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{role}') THEN
            CREATE ROLE {role} NOLOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOBYPASSRLS;
        END IF;
        IF current_setting('server_version_num')::int >= 160000 THEN
            -- Only to be taken, never had: what the owner of the tables reads without a role stays empty.
            EXECUTE 'GRANT {role} TO CURRENT_USER WITH INHERIT FALSE, SET TRUE';
        ELSIF NOT pg_has_role(current_user, '{role}', 'MEMBER') THEN
            GRANT {role} TO CURRENT_USER;
        END IF;
    EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;
    END $$
"""


def ensure_roles(connection: Connection) -> None:
    """Create the roles where they are missing and let the current user take them. Idempotent."""
    for role in (TENANT_ROLE, STAFF_ROLE, SYSTEM_ROLE):
        connection.execute(text(_ENSURE.format(role=role)))
