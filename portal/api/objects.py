"""Reading a body that is one JSON object."""

from typing import Any

from flask import request

from portal.api.bodies import UnsupportedContent
from portal.core.errors import InvalidInput
from portal.infra.json_text import read_json


def read_object(wanted: str, *, most_bytes: int) -> dict[str, Any]:
    """The request's body; `wanted` says in refusals what it is.

    Raises UnsupportedContent (415), RequestEntityTooLarge (413), MalformedBody (400) or InvalidInput (422).
    """
    request.max_content_length = most_bytes
    if request.mimetype != "application/json":
        raise UnsupportedContent(f"Send application/json: {wanted}.")
    document = read_json(request.get_data())
    if not isinstance(document, dict):
        raise InvalidInput(f"The body is {wanted}.")
    return document
