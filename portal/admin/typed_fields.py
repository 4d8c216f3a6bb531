"""Form fields for what people type beside plain text: whole numbers, days, months and YAML."""

from collections.abc import Mapping
from datetime import date
from typing import Any

from wtforms import Form, StringField, TextAreaField
from wtforms.validators import StopValidation
from wtforms.widgets import DateInput

from portal.core.errors import InvalidInput
from portal.infra.yaml_text import read_yaml

MOST_DIGITS = 9
MOST_CHARACTERS = 20_000


class WholeNumberField(StringField):
    """A whole number of zero or more, in `number` once validated; None for an empty text if that is allowed."""

    number: int | None = None

    def __init__(self, *args: Any, optional: bool = False, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.optional = optional

    def pre_validate(self, form: Form) -> None:
        """Read the text. Raises StopValidation in words."""
        text = (self.data or "").strip().replace(",", "")
        if not text and self.optional:
            return
        if not (text.isascii() and text.isdigit() and len(text) <= MOST_DIGITS):
            raise StopValidation("Enter a whole number, for example 2.")
        self.number = int(text)


class DayField(StringField):
    """A day: `day`, once it has been validated, None for an empty text if that is allowed."""

    widget = DateInput()
    day: date | None = None

    def __init__(self, *args: Any, optional: bool = False, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.optional = optional

    def pre_validate(self, form: Form) -> None:
        """Read the text. Raises StopValidation in words."""
        text = (self.data or "").strip()
        if not text and self.optional:
            return
        try:
            self.day = date.fromisoformat(text)
        except ValueError:
            raise StopValidation("Enter a day, for example 2026-12-01.") from None


class YamlField(TextAreaField):
    """Names and values as YAML or JSON; `document` once it has been validated, empty for an empty text."""

    document: Mapping[str, Any]

    def pre_validate(self, form: Form) -> None:
        """Read the text. Raises StopValidation in words, with line and column where it is not YAML."""
        text = self.data or ""
        if len(text) > MOST_CHARACTERS:
            raise StopValidation(f"At most {MOST_CHARACTERS:,} characters.")
        try:
            document = read_yaml(text.replace("\r\n", "\n"))
        except InvalidInput as refusal:
            raise StopValidation(refusal.sentence) from None
        if document is not None and not isinstance(document, Mapping):
            raise StopValidation("Names and values belong here, one on each line, for example “model: per_unit”.")
        self.document = document or {}
