"""The WSGI application: `gunicorn wsgi:app`, `flask run`. Settings come from the environment."""

import os

from portal import create_app
from portal.config import settings_from_env

app = create_app(settings_from_env(os.environ))
