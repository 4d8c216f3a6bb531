"""The browser of tests/browser, for the pages of two organizations full of data."""

from tests.browser.conftest import browser, new_context  # noqa: F401 - fixtures
