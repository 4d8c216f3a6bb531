"""x"""


def blueprints() -> tuple:
    return ()
