"""Reading the body of a batch of events: JSON, one JSON object a line, or CloudEvents, as they are or packed by gzip.

A body that cannot be read as a whole is refused as a whole. An item that cannot be read is that item's rejection.
"""

import io
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from flask import g, request
from werkzeug.exceptions import RequestEntityTooLarge

from portal.core.errors import InvalidInput
from portal.infra.json_text import MalformedBody, read_documents
from portal.usage.batches import PlainItems, Unreadable, id_of
from portal.usage.fields import text_of
from portal.usage.plain_events import sent_as_json

MOST_EVENTS = 5_000
LARGEST_BODY_BYTES = 5 * 1024 * 1024
# What a body may come to when it is unpacked: reports of usage shrink to a tenth or a fortieth, a bomb to a thousandth.
MOST_TIMES_LARGER, ALWAYS_ALLOWED_BYTES = 200, 256 * 1024
Items = list[Any] | PlainItems
_CHUNK_BYTES = 64 * 1024
_GZIP = zlib.MAX_WBITS | 16
_DATA_FIELDS = {"organization", "meter", "quantity", "properties", "correction", "amends", "cancels"}


class UnsupportedContent(InvalidInput):
    """The body is of a kind that this address does not take."""

    code, status = "unsupported_content", 415


def read_batch(*, from_platform: bool) -> Items:
    """The items of the request's body: event documents as the reader of usage takes them, or Unreadable ones.

    Of a JSON body that has nothing unusual, PlainItems. `from_platform`: whether the subject of a CloudEvent names an
    organization. Raises UnsupportedContent (415), RequestEntityTooLarge (413), MalformedBody (400) or InvalidInput
    (422).
    """
    if request.mimetype not in _READERS:
        raise UnsupportedContent(
            "Send application/json (one event or a list), application/x-ndjson, application/cloudevents+json or"
            " application/cloudevents-batch+json."
        )
    _, read = _READERS[request.mimetype]
    items = read(_body(), from_platform)
    if not items:
        raise InvalidInput("The body is one event or a list of at least one.")
    return items


def format_of_request() -> str:
    """The short name of the format that the request says it has."""
    name, _ = _READERS.get(request.mimetype, ("unknown", None))
    return f"{name}, gzip" if request.content_encoding else name


def _body() -> bytes:
    encoding = (request.content_encoding or "identity").strip().lower()
    if encoding in ("gzip", "x-gzip"):
        return _unpacked()
    if encoding != "identity":
        raise UnsupportedContent("Send the body as it is, or with Content-Encoding: gzip.")
    return b"".join(_chunks())


def _chunks() -> Iterator[bytes]:
    """The body as it comes in. It is never cut in silence: more than the limit is 413, less than was announced 400.

    The framework's own limit ends a body that came without a length (chunked) where it is reached, so it lies one
    byte behind ours.
    """
    g.body_bytes, announced = 0, request.content_length
    if announced is not None and announced > LARGEST_BODY_BYTES:
        raise RequestEntityTooLarge
    request.max_content_length = LARGEST_BODY_BYTES + 1
    while chunk := request.stream.read(_CHUNK_BYTES):
        g.body_bytes += len(chunk)
        if g.body_bytes > LARGEST_BODY_BYTES:
            raise RequestEntityTooLarge
        yield chunk
    if announced is not None and g.body_bytes < announced:
        raise MalformedBody("The body is shorter than its Content-Length says; a part of it is missing.")


def _unpacked() -> bytes:
    """Unpack while reading, so that no more than the limit is ever in memory."""
    unpacker = zlib.decompressobj(wbits=_GZIP)
    body = bytearray()
    for chunk in _chunks():
        most = min(LARGEST_BODY_BYTES, max(MOST_TIMES_LARGER * g.body_bytes, ALWAYS_ALLOWED_BYTES))
        try:
            body += unpacker.decompress(chunk, most - len(body) + 1)
        except zlib.error:
            raise MalformedBody("The body is not what its Content-Encoding says: it cannot be unpacked.") from None
        if len(body) > most:
            raise RequestEntityTooLarge
        if unpacker.unused_data:
            raise MalformedBody("After the end of the packed body there is more; pack all of it as one.")
    if not unpacker.eof:
        raise MalformedBody("The packed body ends too early; a part of it is missing.")
    return bytes(body)


def _read_events(body: bytes, _from_platform: bool) -> Items:
    sent = sent_as_json(body)
    if sent is not None and len(sent.ids) <= MOST_EVENTS:
        return PlainItems(sent, partial(_documents, body))
    return _documents(body)


def _documents(body: bytes) -> list[Any]:
    documents = read_documents(body)
    if isinstance(documents, dict):
        return [documents]
    return _limited(documents, "The body is one event or a list of at least one.")


def _read_lines(body: bytes, _from_platform: bool) -> list[Any]:
    """One event a line; empty lines do not count. A line that is no JSON is one rejection among the others."""
    items: list[Any] = []
    for line in io.BytesIO(body):
        if not line.strip():
            continue
        if len(items) == MOST_EVENTS:
            raise _too_many("more")
        try:
            items.append(read_documents(line))
        except MalformedBody as error:
            sentence = error.sentence.replace("The body", "This line").replace("the body", "this line")
            items.append(Unreadable(None, InvalidInput(sentence)))
    return items


def _read_cloudevent(body: bytes, from_platform: bool) -> list[Any]:
    document = read_documents(body)
    if not isinstance(document, dict):
        raise InvalidInput("The body is one CloudEvent; a list of them is application/cloudevents-batch+json.")
    return [_event_of(document, from_platform)]


def _read_cloudevents(body: bytes, from_platform: bool) -> list[Any]:
    documents = _limited(read_documents(body), "The body is a list; one CloudEvent is application/cloudevents+json.")
    return [_event_of(document, from_platform) for document in documents]


_READERS: dict[str, tuple[str, Callable[[bytes, bool], Items]]] = {
    "application/json": ("JSON", _read_events),
    "application/x-ndjson": ("NDJSON", _read_lines),
    "application/cloudevents+json": ("CloudEvent", _read_cloudevent),
    "application/cloudevents-batch+json": ("CloudEvents", _read_cloudevents),
}


def _limited(documents: Any, sentence: str) -> list[Any]:
    if not isinstance(documents, list):
        raise InvalidInput(sentence)
    if len(documents) > MOST_EVENTS:
        raise _too_many(str(len(documents)))
    return documents


def _too_many(how_many: str) -> InvalidInput:
    return InvalidInput(f"A batch holds at most {MOST_EVENTS} events; this one has {how_many}.")


def _event_of(document: Any, from_platform: bool) -> Any:
    try:
        return _event_of_cloudevent(document, from_platform)
    except InvalidInput as error:
        return Unreadable(id_of(document), error)


def _event_of_cloudevent(document: Any, from_platform: bool) -> dict[str, Any]:
    """A CloudEvent as an event document. Attributes that CloudEvents knows and usage does not are left out."""
    if not isinstance(document, dict):
        raise InvalidInput("A CloudEvent is a JSON object.")
    if document.get("specversion") != "1.0":
        raise InvalidInput("specversion is “1.0”.", field="specversion")
    data = document.get("data")
    if not isinstance(data, dict):
        raise InvalidInput("data is an object with a quantity.", field="data")
    unknown = set(data) - _DATA_FIELDS
    if unknown:
        name = min(unknown)
        raise InvalidInput(
            f"data has no field “{name[:60]}”. Put what you want to keep into data.properties.", field=f"data.{name}"
        )
    event = {"id": document.get("id"), "source": text_of(document, "source"), **data}
    if "cancels" not in data:
        event = {"meter": text_of(document, "type"), "time": document.get("time"), **event}
    if from_platform and document.get("subject") is not None:
        event.setdefault("organization", document["subject"])
    return event
