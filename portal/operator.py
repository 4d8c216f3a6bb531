"""As whom a command acts: the system, audited under the operator's name."""

import os
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

import click
from flask import g
from flask.cli import with_appcontext
from sqlalchemy.exc import OperationalError

from portal.core.errors import PortalError
from portal.infra.audit import Actor
from portal.infra.db import SYSTEM, act_as

P = ParamSpec("P")
T = TypeVar("T")


def as_operator(function: Callable[P, T]) -> Callable[P, T]:
    """Run a command as the system, audited under the operator's login name; refusals are a sentence and exit code 1."""

    @wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        act_as(SYSTEM)
        g.actor = Actor("operator", os.environ.get("USER") or "command line")
        try:
            return function(*args, **kwargs)
        except PortalError as error:
            raise click.ClickException(error.sentence) from error
        except OperationalError as error:
            raise click.ClickException(f"The database did not answer: {error.orig}") from error

    return with_appcontext(run)
