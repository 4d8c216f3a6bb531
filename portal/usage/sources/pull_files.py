"""The file that says what is pulled from Prometheus. The reference is docs/usage_sources.md."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from typing import Any

from portal.core.errors import InvalidInput
from portal.infra.yaml_text import read_yaml
from portal.usage.sources.prometheus import Prometheus, PullFailed
from portal.usage.sources.written import names_of, number_of, text_at, texts_of

DEFAULT_LAG = 120
# Prometheus gives at most 11,000 points a series and answer.
MOST_POINTS = 1_000
_LONGEST_NAME = 100
_DURATION = re.compile(r"([1-9][0-9]{0,6})([smhd])")
_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
_FILE = ("url", "token_file", "lag", "queries")
_QUERY = (
    *("name", "promql", "kind", "step", "resolution", "meter", "organization", "properties", "multiply"),
    "start",
)


class Kind(StrEnum):
    """What a query's samples are, and so what a step of them comes to."""

    COUNTER = "counter"
    GAUGE_AVERAGE = "gauge_average"
    GAUGE_INTEGRAL = "gauge_integral"


@dataclass(frozen=True, slots=True)
class Payer:
    """Whose usage a series is: one organization's, or that of the organization which a label names."""

    fixed: str | None = None
    label: str = ""
    values: Mapping[str, str] | None = None

    def of(self, labels: Mapping[str, str]) -> str:
        """The organization's slug. Raises PullFailed."""
        if self.fixed is not None:
            return self.fixed
        named = labels.get(self.label, "")
        slug = named if self.values is None else self.values.get(named, "")
        if not slug:
            raise PullFailed(f"The label {self.label} of the series {written(labels)} names no organization.")
        return slug


@dataclass(frozen=True, slots=True)
class PullQuery:
    """One query: what is asked, and what becomes of it. Durations in seconds."""

    name: str
    promql: str
    kind: Kind
    step: int
    resolution: int
    meter: str
    payer: Payer
    properties: Mapping[str, str]
    factor: Decimal
    start: datetime | None


@dataclass(frozen=True, slots=True)
class PullFile:
    """The whole file, checked. `lag` is how many seconds behind now a pull ends, so that late scrapes are in."""

    server: Prometheus
    lag: int
    queries: tuple[PullQuery, ...]


def written(labels: Mapping[str, str]) -> str:
    """Labels as Prometheus writes them, for people."""
    return "{" + ", ".join(f'{name}="{value}"' for name, value in sorted(labels.items())) + "}"


def read_pull_file(path: str) -> PullFile:
    """The file at a path. Raises InvalidInput with what does not fit."""
    try:
        document = read_yaml(Path(path).read_text(encoding="utf-8-sig"))
        found = names_of(document, "The file", _FILE, ("url", "queries"))
        queries = found["queries"]
        if not isinstance(queries, list) or not queries:
            raise InvalidInput("queries is a list of at least one query.")
        read = tuple(_query(each, f"query {number}") for number, each in enumerate(queries, start=1))
        names = [query.name for query in read]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise InvalidInput(f"Two queries have the name {twice[0]}.")
        lag = _seconds(found["lag"], "lag") if "lag" in found else DEFAULT_LAG
        return PullFile(Prometheus(_url(found), _token(found)), lag, read)
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error.filename} {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{path} is not UTF-8 text.") from error
    except InvalidInput as error:
        raise InvalidInput(f"{path}: {error.sentence}") from error


def _url(document: Mapping[str, Any]) -> str:
    url = text_at(document, "url", "The file").rstrip("/")
    if not url.startswith(("http://", "https://")):
        raise InvalidInput("url starts with http:// or https://.")
    return url


def _token(document: Mapping[str, Any]) -> str | None:
    if "token_file" not in document:
        return None
    return Path(text_at(document, "token_file", "The file")).read_text(encoding="utf-8").strip()


def _query(value: Any, where: str) -> PullQuery:
    found = names_of(value, where, _QUERY, ("name", "promql", "kind", "step", "meter", "organization"))
    name = text_at(found, "name", where)
    where = f"query {name[:60]}"
    if len(name) > _LONGEST_NAME:
        raise InvalidInput(f"{where}: name has at most {_LONGEST_NAME} characters.")
    kind = text_at(found, "kind", where)
    if kind not in list(Kind):
        raise InvalidInput(f"{where}: kind is {', '.join(Kind)}.")
    step = _seconds(found["step"], f"{where}: step")
    resolution = _seconds(found["resolution"], f"{where}: resolution") if "resolution" in found else step
    if step % resolution or step // resolution > MOST_POINTS or _SECONDS["d"] % step:
        raise InvalidInput(
            f"{where}: step is a part of a day, and resolution a part of step, at most {MOST_POINTS:,} to a step."
        )
    return PullQuery(
        name=name,
        promql=text_at(found, "promql", where),
        kind=Kind(kind),
        step=step,
        resolution=resolution,
        meter=text_at(found, "meter", where),
        payer=_payer(found["organization"], f"{where}: organization"),
        properties=_properties(found.get("properties") or [], f"{where}: properties"),
        factor=number_of(found.get("multiply", "1"), f"{where}: multiply"),
        start=_moment(found["start"], f"{where}: start") if "start" in found else None,
    )


def _payer(value: Any, where: str) -> Payer:
    if not isinstance(value, dict):
        return Payer(fixed=text_at({"organization": value}, "organization", where))
    found = names_of(value, where, ("label", "values"), ("label",))
    values = texts_of(found["values"], f"{where}: values") if "values" in found else None
    return Payer(label=text_at(found, "label", where), values=values)


def _properties(value: Any, where: str) -> Mapping[str, str]:
    """Label by property's name."""
    if isinstance(value, list) and all(isinstance(label, str) and label for label in value):
        return {label: label for label in value}
    if isinstance(value, dict):
        return texts_of(value, where)
    raise InvalidInput(f"{where} is a list of labels, or a mapping of properties' names to labels.")


def _seconds(value: Any, where: str) -> int:
    found = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        raise InvalidInput(f"{where} is a duration such as 30s, 5m, 1h or 1d.")
    return int(found[1]) * _SECONDS[found[2]]


def _moment(value: Any, where: str) -> datetime:
    try:
        moment = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        raise InvalidInput(f"{where} is a time like 2026-11-01T00:00:00Z.") from None
    if moment.tzinfo is None:
        raise InvalidInput(f"{where} needs its zone; end it with Z for UTC.")
    return moment.astimezone(UTC)


def seconds_of(moment: datetime) -> int:
    """Whole seconds of the epoch."""
    return (moment - _EPOCH) // timedelta(seconds=1)


def moment_of(seconds: int) -> datetime:
    """The moment of a second of the epoch."""
    return _EPOCH + timedelta(seconds=seconds)


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
