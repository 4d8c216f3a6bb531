"""Empty books, and a context that acts as the system."""

from collections.abc import Iterator

import pytest
import redis
from flask import Flask

from tests.factories import acting


@pytest.fixture
def books(app: Flask, clean_database: None, clean_redis: redis.Redis) -> Iterator[None]:
    with acting(app):
        yield
