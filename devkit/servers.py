"""The two servers the portal needs: the user's own if their addresses are set, else ours."""

import os
from dataclasses import dataclass

from devkit.folder import DataFolder
from devkit.postgres import start_postgres
from devkit.redis import start_redis


@dataclass(frozen=True)
class Servers:
    """Where they are."""

    database_url: str
    redis_url: str
    superuser_url: str | None  # known only of a PostgreSQL that was started here
    redis_is_ours: bool

    @property
    def dropping_url(self) -> str:
        """By whom test databases are dropped: only a superuser may end the server's own workers in them."""
        return self.superuser_url or self.database_url


def start_servers(folder: DataFolder, *, throw_away: bool = False) -> Servers:
    """Start what DATABASE_URL and REDIS_URL do not already name, on the last start's ports if free."""
    database_url, superuser_url = os.environ.get("DATABASE_URL"), None
    if not database_url:
        postgres = start_postgres(
            folder.path,
            folder.processes,
            folder.passwords,
            throw_away=throw_away,
            preferred_port=folder.port("postgres"),
        )
        folder.remember_port("postgres", postgres.port)
        database_url, superuser_url = postgres.database_url, postgres.superuser_url
    redis_url = os.environ.get("REDIS_URL")
    redis_is_ours = not redis_url
    if not redis_url:
        redis = start_redis(folder.path, folder.processes, throw_away=throw_away, preferred_port=folder.port("redis"))
        folder.remember_port("redis", redis.port)
        redis_url = redis.url
    return Servers(database_url, redis_url, superuser_url, redis_is_ours)
