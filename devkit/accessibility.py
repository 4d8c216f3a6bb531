"""What axe-core finds wrong with a page that is open in a browser, in words."""

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

_EXAMPLES = 3


def violations(page: Page) -> list[str]:
    """The rules that the page breaks, each with the first places where; empty if there are none."""
    found = Axe().run(page).response["violations"]
    return [
        f"{rule['id']} ({rule['help']}) at " + ", ".join(str(node["target"][0]) for node in rule["nodes"][:_EXAMPLES])
        for rule in found
    ]
