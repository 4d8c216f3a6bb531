# The portal as a container image: one image for web, worker, clock and release; the command says which.
# Built with `docker build -t billing-portal .`; run with compose.yaml, which shows every setting that is needed.

FROM python:3.12-slim-bookworm AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN python -m venv /opt/venv
COPY requirements.lock /tmp/requirements.lock
RUN /opt/venv/bin/pip install --require-hashes --only-binary :all: -r /tmp/requirements.lock

FROM python:3.12-slim-bookworm
ENV PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 FLASK_APP=wsgi.py
RUN useradd --system --uid 10001 --user-group --no-create-home portal
COPY --from=build /opt/venv /opt/venv
WORKDIR /srv/portal
COPY wsgi.py ./
COPY portal portal
COPY templates templates
COPY static static
COPY translations translations
COPY migrations migrations
COPY deploy/gunicorn.conf.py deploy/gunicorn.conf.py
COPY docs/openapi.yaml docs/openapi.yaml
USER 10001:10001
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s \
  CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/healthz', timeout=4)"]
CMD ["gunicorn", "wsgi:app", "-c", "deploy/gunicorn.conf.py"]
