"""The answer to somebody who has tried too often: how long to wait."""

from datetime import timedelta

from flask import Response, make_response, render_template

from portal.infra.formats import wait_words


def too_many_tries(wait: timedelta) -> Response:
    """429 with the time to wait, in words and for programs; the same whether or not there is such an account."""
    seconds = -(-wait // timedelta(seconds=1))
    response = make_response(render_template("web/session/too_many.html", wait=wait_words(seconds)), 429)
    response.headers["Retry-After"] = str(seconds)
    return response
