"""Style sheets, scripts and icons are sent packed to browsers that can unpack them."""

from flask import Flask, Response
from flask_compress import Compress

# Files only: a page has secrets beside what others may have written, and its packed length would tell of them (BREACH).
PACKED = ["text/css", "text/javascript", "image/svg+xml"]


def init_app(app: Flask) -> None:
    """Pack what is a file of the portal's own."""
    app.config["COMPRESS_MIMETYPES"] = PACKED
    Compress(app)
    # Runs before packing, which puts another stream into the file's place and leaves it open.
    app.after_request(_close_in_the_end)


def _close_in_the_end(response: Response) -> Response:
    close = getattr(response.response, "close", None)
    if response.direct_passthrough and close is not None:
        response.call_on_close(close)
    return response
