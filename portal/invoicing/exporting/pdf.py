"""An invoice as PDF/UA by typst: A4, tagged, paginated, and byte for byte the same for the same invoice."""

import json
import logging
import re
import threading
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from portal.core.errors import PortalError
from portal.core.keys import canonical_json
from portal.invoicing.exporting.factur_x import as_factur_x
from portal.invoicing.exporting.fonts import characters_of

FOLDER = Path(__file__).resolve().parents[3] / "templates" / "documents"
FONTS = FOLDER / "fonts"
UNKNOWN = "\u25a1"
_MISSING = f"A character that the fonts of this document do not have is shown as {UNKNOWN}; the JSON file has all."
_UNSEEN = {"Cc", "Cf", "Cs", "Co", "Cn"}
_log = logging.getLogger(__name__)
# One document at a time: threads gain nothing, and the compiler is not made for them.
_one_at_a_time = threading.Lock()


class CannotPrint(PortalError):
    """The library or the template cannot be used; nothing was made."""

    code, status = "cannot_print", 500


@dataclass(frozen=True, slots=True)
class Pages:
    """What is to be printed, with the moment that the file says it was made at; `id` changes when the bytes would."""

    printed: dict[str, Any]
    made_at: datetime
    id: str
    electronic: str = ""


def pages_of(printed: Mapping[str, Any], *, made_at: datetime, electronic: bytes | None = None) -> Pages:
    """Make a printed view ready: only characters that can be shown, none that turn the direction of a text.

    `electronic` is the XML that the file carries, if any.
    """
    shown = _shown(dict(printed))
    if UNKNOWN in canonical_json(shown):
        shown["notes"] = [*shown["notes"], _MISSING]
    carried = (electronic or b"").decode()
    content = sha256(f"{canonical_json(shown)} {made_at.isoformat()} {_version()} {carried}".encode()).hexdigest()
    return Pages(shown, made_at, content, carried)


def render(pages: Pages) -> bytes:
    """The file, whole. Raises CannotPrint if typst is not installed or the template does not compile."""
    try:
        import typst
    except ImportError as error:
        _log.error("cannot print: %s", error)
        raise CannotPrint("PDF files cannot be made here: typst is not installed. CSV and JSON work.") from error
    try:
        with _one_at_a_time:
            pdf = _compiler(FOLDER).compile(
                format="pdf",
                # JSON, so that no text can be taken for markup.
                sys_inputs={
                    "invoice": json.dumps(pages.printed, ensure_ascii=False),
                    "electronic": pages.electronic,
                },
                # Only PDF/A-3 may carry a file of another kind.
                pdf_standards=["ua-1", "a-3a"] if pages.electronic else ["ua-1"],
                timestamp=pages.made_at,
            )
    except (typst.TypstError, OSError, RuntimeError) as error:
        _log.error("cannot print: %s", error)
        raise CannotPrint(
            "The PDF could not be made; this is our fault and has been logged. No figure is affected, and the CSV and"
            " JSON files have them all."
        ) from error
    assert isinstance(pdf, bytes)
    return as_factur_x(pdf) if pages.electronic else pdf


@cache
def _compiler(folder: Path) -> Any:
    import typst

    # By its path: a template given as bytes would be read without its folder. Only our own fonts: those of the
    # machine would change the pages from server to server.
    fonts = typst.Fonts(include_system_fonts=False, include_embedded_fonts=False, font_paths=[str(folder / "fonts")])
    return typst.Compiler(str(folder / "invoice.typ"), root=str(folder), font_paths=fonts)


@cache
def _version() -> str:
    """What besides the invoice decides the bytes: template, fonts and library."""
    from importlib.metadata import PackageNotFoundError, version

    files = [path for path in sorted(FOLDER.rglob("*")) if path.is_file()]
    digest = sha256(b"".join(sha256(path.read_bytes()).digest() for path in files)).hexdigest()
    try:
        return f"{digest} {version('typst')}"
    except PackageNotFoundError:
        return digest


def _shown(value: Any) -> Any:
    """The same value with all its texts made fit to be shown."""
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, dict):
        return {name: _shown(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_shown(each) for each in value]
    return value


def _text(text: str) -> str:
    if text.isascii() and text.isprintable():
        return text
    known = characters_of(FONTS)
    text = re.sub(r"\s", lambda space: space[0] if space[0] == "\u00a0" else " ", unicodedata.normalize("NFC", text))
    seen = (character for character in text if unicodedata.category(character) not in _UNSEEN)
    return "".join(character if ord(character) in known else UNKNOWN for character in seen)
