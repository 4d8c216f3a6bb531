"""The documents: none is missing, and no link, picture or heading that they lead to is."""

import re
import subprocess
import sys

import pytest

from portal import ROOT

OUTSIDE = ("README.md", "CONTRIBUTING.md")
LINK = re.compile(r"\]\((?!https?:)([^)#]+)(?:#[^)]*)?\)")


def test_they_become_a_site_without_a_warning(tmp_path):
    words = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")]
    built = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    assert built.returncode == 0, built.stdout + built.stderr
    assert (tmp_path / "site" / "tutorial" / "index.html").exists()


@pytest.mark.parametrize("name", OUTSIDE)
def test_what_stands_at_the_top_leads_somewhere(name):
    links = LINK.findall((ROOT / name).read_text())
    assert len(links) > 1
    assert [link for link in links if not (ROOT / link).exists()] == []
