"""Keeps bodies small: a full bill run leaves hundreds of thousands of them behind."""

import base64
import zlib


def pack(body: bytes) -> str:
    """Compress to text, so that it fits into the state file."""
    return base64.b85encode(zlib.compress(body, 1)).decode()


def unpack(packed: str) -> bytes:
    """What `pack` was given."""
    return zlib.decompress(base64.b85decode(packed))
