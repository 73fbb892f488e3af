"""A baseline: the smallest Django proxy with keys and a log. revproxy's view, a SELECT and an INSERT for each call."""

import os
from typing import Any

import psycopg.conninfo

TABLES = """
    CREATE TABLE plain_key (id serial PRIMARY KEY, secret text UNIQUE, owner text);
    CREATE TABLE plain_call (id bigserial PRIMARY KEY, at timestamptz DEFAULT now(), key_id int, method text,
        path text, status int, bytes int);
"""


def prepare(database_url: str, key: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(TABLES)
        connection.execute("INSERT INTO plain_key (secret, owner) VALUES (%s, 'alice')", [key])


def application() -> Any:
    """The WSGI application."""
    from django.conf import settings

    parameters = psycopg.conninfo.conninfo_to_dict(os.environ["DATABASE_URL"])
    database = {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": parameters["dbname"],
        "USER": parameters.get("user", ""),
        "PASSWORD": parameters.get("password", ""),
        "HOST": parameters.get("host", ""),
        "PORT": parameters.get("port", ""),
        "CONN_MAX_AGE": None,
    }
    settings.configure(
        SECRET_KEY="plain",
        ALLOWED_HOSTS=["*"],
        ROOT_URLCONF="benchmarks.plain_proxy_urls",
        DATABASES={"default": database},
        MIDDLEWARE=["django.middleware.common.CommonMiddleware"],
        INSTALLED_APPS=["revproxy"],
        REVPROXY={},
        LOGGING_CONFIG=None,
    )
    from django.core.wsgi import get_wsgi_application

    return get_wsgi_application()
