"""Asking a Prometheus server: range queries over its HTTP API, with every digit of every sample.

Only what has an answer comes back; a server that is away, slow, or says no is a PullFailed with a sentence.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode
from urllib.request import Request, urlopen

from portal.core.errors import PortalError

TIMEOUT_SECONDS = 10
LARGEST_ANSWER = 64 * 1024 * 1024
_LONGEST_REASON = 300


class PullFailed(PortalError):
    """Usage could not be pulled; nothing was passed over."""

    code, status = "pull_failed", 502


@dataclass(frozen=True, slots=True)
class Series:
    """One series of an answer: its labels, and its samples by second of the epoch. None is NaN or infinity."""

    labels: Mapping[str, str]
    samples: Mapping[int, Decimal | None]


@dataclass(frozen=True, slots=True)
class Prometheus:
    """One server. `token` is sent as a bearer token if there is one."""

    url: str
    token: str | None = None

    def query_range(self, promql: str, *, start: int, end: int, step: int) -> tuple[list[Series], list[str]]:
        """The series of a range, both ends included, in seconds of the epoch, and the server's warnings.

        Raises PullFailed.
        """
        data, warnings = self._ask(
            "query_range", {"query": promql, "start": str(start), "end": str(end), "step": str(step)}
        )
        return _series_of(data, "matrix", "values"), warnings

    def query(self, promql: str, *, at: int) -> list[Series]:
        """The one sample of each series at a second of the epoch. Raises PullFailed."""
        data, _ = self._ask("query", {"query": promql, "time": str(at)})
        return _series_of(data, "vector", "value")

    def _ask(self, what: str, parameters: Mapping[str, str]) -> tuple[Any, list[str]]:
        form = urlencode({**parameters, "timeout": f"{TIMEOUT_SECONDS}s"}).encode()
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        request = Request(f"{self.url}/api/v1/{what}", data=form, headers=headers)
        try:
            with urlopen(request, timeout=TIMEOUT_SECONDS) as response:  # nosec B310
                body = response.read(LARGEST_ANSWER + 1)
        except HTTPError as error:
            raise PullFailed(f"Prometheus answered {error.code}: {_reason(error)}") from error
        except (URLError, HTTPException, OSError, ValueError) as error:
            raise PullFailed(f"Prometheus at {self.url} did not answer: {getattr(error, 'reason', error)}.") from error
        if len(body) > LARGEST_ANSWER:
            raise PullFailed(
                "Prometheus' answer is larger than 64 MB; ask for fewer series, or use a longer resolution."
            )
        return _data_of(body)


def _reason(error: HTTPError) -> str:
    """What the server says of its refusal, in one line."""
    try:
        said = json.loads(error.read(LARGEST_ANSWER)).get("error", "")
    except (ValueError, AttributeError, OSError, HTTPException):
        said = str(error.reason)
    return " ".join(str(said).split())[:_LONGEST_REASON]


def _data_of(body: bytes) -> tuple[Any, list[str]]:
    try:
        answer = json.loads(body, parse_float=Decimal)
        if answer["status"] != "success":
            raise PullFailed(f"Prometheus refused the query: {str(answer.get('error', ''))[:_LONGEST_REASON]}")
        return answer["data"], [str(warning) for warning in answer.get("warnings") or []]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise PullFailed("What answered is no Prometheus server: its answer cannot be read.") from error


def _series_of(data: Any, kind: str, field: str) -> list[Series]:
    try:
        if data["resultType"] != kind:
            raise PullFailed(f"The query gives a {data['resultType']}, not series; it may be a plain number or text.")
        return [
            Series(dict(each["metric"]), dict(map(_sample, each[field] if kind == "matrix" else [each[field]])))
            for each in data["result"]
        ]
    except (KeyError, TypeError, ValueError, InvalidOperation) as error:
        raise PullFailed("What answered is no Prometheus server: its answer cannot be read.") from error


def _sample(pair: Any) -> tuple[int, Decimal | None]:
    moment, written = pair
    value = Decimal(written)
    return int(moment), value if value.is_finite() else None
