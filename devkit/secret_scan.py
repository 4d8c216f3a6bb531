"""Looks for secrets in the files that are kept: keys of the kinds that this portal handles, and private keys."""

import re
import subprocess

from devkit.portal import ROOT
from devkit.words import say, speaking

# Enough of the secret part that no example in a text looks like one.
KINDS = {
    "a live Stripe key": re.compile(rb"\b[sr]k_live_[A-Za-z0-9]{16,}"),
    "a webhook secret": re.compile(rb"\bwhsec_[A-Za-z0-9+/]{24,}"),
    "an API key of this portal": re.compile(rb"\bblk_(?:live|test)_[A-Za-z0-9_-]{51,}"),
    "a private key": re.compile(rb"-----BEGIN (?:[A-Z]+ )?PRIVATE KEY-----\s+[A-Za-z0-9+/]"),
    "an access key of a cloud": re.compile(rb"\bAKIA[0-9A-Z]{16}\b"),
    "a token of a code host": re.compile(rb"\bgh[pousr]_[A-Za-z0-9]{36,}"),
    "a password in an address": re.compile(
        rb"\b(?:postgres(?:ql)?|rediss?|smtps?)://[^\s:@/{}<>$]+:[^\s:@/{}<>$*\xe2]{12,}@"
    ),
}


def secrets_in(content: bytes) -> list[str]:
    """What kinds of secrets a file holds, each with its line: "a private key in line 3"."""
    return [
        f"{kind} in line {_line(content, found.start())}"
        for kind, pattern in KINDS.items()
        for found in pattern.finditer(content)
    ]


def _line(content: bytes, position: int) -> int:
    return content.count(b"\n", 0, position) + 1


def main(words: list[str]) -> int:
    """Scan every file that git tracks, or would; the exit code says whether a secret was found."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True
    )
    if listed.returncode:
        say("This is no checkout of git; no file was scanned for secrets.")
        return 0
    paths = [ROOT / name.decode() for name in listed.stdout.split(b"\0") if name]
    found = [
        f"{path.relative_to(ROOT)}: {each}"
        for path in paths
        if path.is_file()
        for each in secrets_in(path.read_bytes())
    ]
    for line in found:
        say(line)
    say(f"{len(paths)} files scanned for secrets, {len(found)} found.")
    return 1 if found else 0


if __name__ == "__main__":
    raise SystemExit(speaking(main))
