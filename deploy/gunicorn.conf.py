"""How gunicorn serves the portal, by `gunicorn wsgi:app -c deploy/gunicorn.conf.py`; WEB_CONCURRENCY is processes."""

import os

bind = f"0.0.0.0:{os.environ.get('PORT', '8000')}"
worker_class = "gthread"
workers = int(os.environ.get("WEB_CONCURRENCY", "2"))
threads = 4
# A page is answered in milliseconds; what takes longer than a statement's own limit is stuck.
timeout = 30
# SIGTERM lets every request that has begun come to its end.
graceful_timeout = 30
keepalive = 5
# A process starts anew now and then, at different times, so that memory that libraries keep cannot add up.
max_requests = 50_000
max_requests_jitter = 10_000
# Requests are logged by the portal itself, as JSON.
accesslog = None
control_socket_disable = True
