"""The smoke run's browser reads a page as a person without JavaScript would."""

import pytest

from devkit.formbrowser import NotOnPage, Page

PAGE = """
<title>Pay</title><script>ignored()</script>
<main data-total-minor="3545"><p>Total  35.45</p><a href="/invoices/1">The <b>invoice</b></a>
<form method="post" action="/hosted/in_1/pay">
  <input type="hidden" name="csrf_token" value="t0k&amp;en">
  <input type="checkbox" name="off"><input type="checkbox" name="on" value="1" checked>
  <select name="kind"><option value="charge">Charge</option>
  <option value="credit" selected>Credit</option></select>
  <textarea name="reason">because</textarea>
  <button name="outcome" value="succeeds">Pay</button>
  <button name="outcome" value="declines">Pay with a bad card</button>
</form></main>
"""


@pytest.fixture
def page() -> Page:
    return Page("http://127.0.0.1/hosted/in_1", 200, PAGE)


def test_a_form_keeps_its_hidden_and_chosen_values(page):
    form = page.form(action="/pay")
    assert form.fields == {"csrf_token": "t0k&en", "on": "1", "kind": "credit", "reason": "because"}


def test_a_button_is_found_by_all_of_its_words(page):
    button = page.form(button="Pay").button("Pay")
    assert button is not None
    assert (button.name, button.value) == ("outcome", "succeeds")


def test_text_links_and_data_are_read(page):
    link = page.link(start="/invoices/")
    assert link is not None
    assert link.label == "The invoice"
    assert page.data["data-total-minor"] == "3545"
    assert "Total 35.45" in page.text
    assert "ignored" not in page.text


def test_what_is_missing_is_named_with_the_page(page):
    with pytest.raises(NotOnPage, match=r"/finalize.*on http://127.0.0.1/hosted/in_1"):
        page.form(action="/finalize")
