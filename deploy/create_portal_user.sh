#!/bin/sh
# Run once by the postgres container: a database user that owns the tables and may create the portal's roles, but is no
# superuser, because superusers pass row level security by.
set -eu
psql --set ON_ERROR_STOP=1 --set password="$POSTGRES_PASSWORD" --username "$POSTGRES_USER" <<'SQL'
CREATE ROLE portal LOGIN CREATEROLE NOSUPERUSER PASSWORD :'password';
CREATE DATABASE portal OWNER portal;
SQL
