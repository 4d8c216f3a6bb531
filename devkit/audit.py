"""`dev.py audit`: known vulnerabilities of what the portal runs on, and a list of it in CycloneDX.

Without the advisories' database (offline, a mirror without it) it says what was not looked up and goes on.
"""

import json
import re
import subprocess
import sys
import tomllib
from typing import Any

from devkit.portal import ROOT
from devkit.words import say, speaking

LOCK = ROOT / "requirements.lock"
BOM = ROOT / "build" / "sbom.cdx.json"
PATIENCE_SECONDS = 45
_PINNED = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)==([^\s;\\]+)", re.MULTILINE)
_HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")


def main(words: list[str]) -> int:
    """Write the list, ask for advisories, and fail only if there is one."""
    BOM.parent.mkdir(exist_ok=True)
    BOM.write_text(json.dumps(bill_of_materials(LOCK.read_text(), _version()), indent=2) + "\n")
    say(f"{BOM.relative_to(ROOT)} lists {len(_PINNED.findall(LOCK.read_text()))} packages.")
    return _report(_advisories())


def bill_of_materials(lock: str, version: str) -> dict[str, Any]:
    """The packages of a lock file as CycloneDX 1.6: name, version, address of the package, hashes of its files.

    The same lock file gives the same document, so it holds neither a moment nor a random number.
    """
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": {"type": "application", "name": "billing-portal", "version": version}},
        "components": [_component(name, pinned, hashes) for name, pinned, hashes in _packages(lock)],
    }


def _packages(lock: str) -> list[tuple[str, str, list[str]]]:
    starts = list(_PINNED.finditer(lock))
    ends = [each.start() for each in starts[1:]] + [len(lock)]
    return [
        (found[1], found[2], _HASH.findall(lock[found.end() : end])) for found, end in zip(starts, ends, strict=True)
    ]


def _component(name: str, version: str, hashes: list[str]) -> dict[str, Any]:
    address = f"pkg:pypi/{re.sub(r'[-_.]+', '-', name).lower()}@{version}"
    files = [
        {"type": "distribution", "url": address, "hashes": [{"alg": "SHA-256", "content": each}]} for each in hashes
    ]
    return {
        **{"type": "library", "bom-ref": address, "name": name, "version": version, "purl": address},
        "externalReferences": files,
    }


def _version() -> str:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return str(project["version"])


def _advisories() -> list[dict[str, Any]] | None:
    """What pip-audit says of each package; None if it could not ask."""
    words = ["--requirement", str(LOCK), "--disable-pip", "--no-deps", "--format", "json", "--progress-spinner", "off"]
    try:
        answer = subprocess.run(
            [sys.executable, "-m", "pip_audit", *words], cwd=ROOT, capture_output=True, timeout=PATIENCE_SECONDS
        )
        found: list[dict[str, Any]] = json.loads(answer.stdout)["dependencies"]
    except (subprocess.TimeoutExpired, ValueError, KeyError):
        return None
    return found


def _report(packages: list[dict[str, Any]] | None) -> int:
    """Say what is known; the exit code says whether a package has an advisory."""
    if packages is None:
        say("The database of advisories cannot be had from here: nothing was looked up.")
        return 0
    unknown = [each["name"] for each in packages if "skip_reason" in each]
    bad = [(each["name"], each["version"], advisory) for each in packages for advisory in each.get("vulns", ())]
    for name, version, advisory in bad:
        mended = ", ".join(advisory["fix_versions"]) or "no version yet"
        say(f"{name} {version}: {advisory['id']}, mended in {mended}")
    if unknown:
        say(f"{len(unknown)} of {len(packages)} packages could not be looked up: {', '.join(unknown[:5])} …")
    say(f"{len(packages) - len(unknown)} packages looked up, {len(bad)} advisories.")
    return 1 if bad else 0


if __name__ == "__main__":
    raise SystemExit(speaking(main))
