"""Templates hold to what the content security policy, htmx without eval, and forms without JavaScript need."""

import re
from pathlib import Path

import pytest

TEMPLATES = Path(__file__).parents[2] / "templates"
FILES = sorted(path for path in TEMPLATES.rglob("*") if path.suffix in (".html", ".svg", ".txt"))
BANNED = {
    "an inline style, which the policy blocks": r"\sstyle\s*=",
    "an inline handler, which the policy blocks": r"\son[a-z]+\s*=",
    "hx-on, which needs eval": r"\b(data-)?hx-on\b",
    "a js: value, which needs eval": r"[\"'\s]js:",
    "a javascript: address": r"javascript:",
    "a trigger filter, which needs eval": r"hx-trigger\s*=\s*\"[^\"]*\[",
    "a filter that switches escaping off": r"\|\s*safe\b",
    "escaping switched off": r"autoescape\s+false",
    "an inline script": r"<script(?![^>]*\bsrc=)[^>]*>",
}
FORM = re.compile(r"<form\b[^>]*>.*?</form>", re.DOTALL | re.IGNORECASE)
POSTS = re.compile(r"<form\b[^>]*\bmethod\s*=\s*[\"']?post", re.IGNORECASE)
TABLE = re.compile(r"<table\b.*?</table>", re.DOTALL | re.IGNORECASE)
COMMENT = re.compile(r"\{#.*?#\}", re.DOTALL)


def problems(source: str) -> list[str]:
    source = COMMENT.sub("", source)
    found = [what for what, pattern in BANNED.items() if re.search(pattern, source, re.IGNORECASE)]
    found += [
        "a form that posts without csrf_token"
        for form in FORM.findall(source)
        if POSTS.search(form) and "csrf" not in form
    ]
    found += ["a table without a caption" for table in TABLE.findall(source) if "<caption" not in table]
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(TEMPLATES)))
def test_a_template_holds_to_the_rules(path):
    assert problems(path.read_text()) == []


@pytest.mark.parametrize(
    ("source", "count"),
    [
        ('<p style="color:red">', 1),
        ('<a onclick="x()">', 1),
        ('<a hx-on::after-request="x()">', 1),
        ("<a hx-vals='js:{a: 1}'>", 1),
        ('<div hx-trigger="click[ctrlKey]">', 1),
        ("{{ name|safe }}", 1),
        ("<script>alert(1)</script>", 1),
        ('<script src="/static/app.js"></script>', 0),
        ('<form method="post"><button>Pay</button></form>', 1),
        ('<form method="post"><input name="csrf_token"></form>', 0),
        ('<form method="get"><input name="q"></form>', 0),
        ("<table><tr></tr></table>", 1),
        ("<table><caption>Lines</caption></table>", 0),
        ('<div data-condition="on" class="once=more">{# style="x" #}</div>', 0),
    ],
)
def test_the_lint_itself_sees_what_is_banned(source, count):
    assert len(problems(source)) == count
