"""What the overview says is to be done: a payment method that is missing where one is needed."""

from tests.factories import acting, sql

NO_METHOD = "there is no payment method"


def test_a_missing_payment_method_is_said_only_where_one_is_needed(app, owner):
    assert NO_METHOD not in owner.get("/").text
    with acting(app):
        sql("UPDATE organizations SET collection_method = 'charge_automatically'")
    assert NO_METHOD in owner.get("/").text
    with acting(app):
        sql(
            "INSERT INTO payment_methods SELECT id, 'pm_' || id, 'card', 'visa', '4242', 12, 2030, now()"
            " FROM organizations"
        )
    assert NO_METHOD not in owner.get("/").text
