"""Django's settings, all from the environment. docs/settings.md describes each; a test compares the two.

On one machine, `manage.py up` keeps generated secrets in $DATA_DIR/secrets.json. While it runs, it keeps the addresses
of its PostgreSQL and MLflow in $DATA_DIR/portal.json, so that other `manage.py` commands work beside it.
"""

import json
import os
import secrets
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
from psycopg.conninfo import conninfo_to_dict

from keys.page_slots import MAX_EXPORTS, MAX_PAGES
from keys.pooled_connections import PooledConnection
from portal.admin_theme import UNFOLD as UNFOLD  # the theme of the admin pages
from portal.environment import (
    THIS_MACHINE,
    certificate_file,
    choice,
    endpoint,
    flag,
    http_url,
    invalid,
    items,
    log_format,
    networks,
    number,
    readable_file,
    redis_url,
    signing_key,
    size,
    smtp_url,
    text,
)
from portal.sign_in_settings import *  # noqa: F403

BASE_DIR = Path(__file__).resolve().parent.parent


def local(file: str) -> dict[str, str]:
    """A file that `manage.py up` wrote into DATA_DIR; {} if there is none."""
    try:
        content = json.loads((DATA_DIR / file).read_text())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def postgres_parts(name: str, url: str) -> dict[str, Any]:
    """libpq's parameters in a postgresql:// URL, the value of the setting `name`."""
    try:
        return conninfo_to_dict(url)
    except psycopg.ProgrammingError:  # its message repeats the URL with its password
        raise invalid(name, "it is not a PostgreSQL URL such as postgresql://user@host:5432/portal") from None


def database(name: str, url: str, **pool: int) -> dict[str, Any]:
    """Django's DATABASES entry for a postgresql:// URL, the value of the setting `name`; `pool`: of psycopg's pool."""
    parts = postgres_parts(name, url)
    entry = {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": str(parts.pop("dbname", "") or "portal"),
        "USER": str(parts.pop("user", "") or ""),
        "PASSWORD": str(parts.pop("password", "") or ""),
        "HOST": str(parts.pop("host", "") or ""),
        "PORT": str(parts.pop("port", "") or ""),
    }
    options = {
        "min_size": 0,
        "timeout": 2,  # seconds
        "connection_class": PooledConnection,
        **pool,
    }
    return {**entry, "OPTIONS": {"connect_timeout": 5, "tcp_user_timeout": 10_000, **parts, "pool": options}}


DATA_DIR = Path(text("DATA_DIR", str(BASE_DIR / ".data"))).expanduser().resolve()
# Commands that need no running portal; the last two only print help and completions.
_asks_help = sys.argv[1:2] == ["help"] or any(word in ("--help", "-h") for word in sys.argv[1:3])
# Django prints completions for the shell and exits. A server may have the variable by mistake, but it is not manage.py.
_completes = "DJANGO_AUTO_COMPLETE" in os.environ and Path(sys.argv[0]).name == "manage.py"
STARTS_UP = (
    sys.argv[1:2] in (["up"], ["makemigrations"], ["mlflow_table"], ["doctor"]) or _asks_help or _completes
)
_NOT_SET = (
    f"it is not set, and no portal runs on {DATA_DIR}. Set it, set DATA_DIR to that of the running portal, or start "
    "everything with `make run`"
)
_secrets, _running = local("secrets.json"), local("portal.json")

DEBUG = flag("DEBUG")
ENVIRONMENT_NAME = text("ENVIRONMENT_NAME")
HOST = text("HOST", "127.0.0.1")
PORT = number("PORT", 8000, least=1, most=65535)
WORKERS = number("WORKERS", 1, least=1, most=64)
THREADS = number("THREADS", 32, least=1, most=1000)
DRAIN_SECONDS = number("DRAIN_SECONDS", 30, most=3600)

SECRET_KEY = text("SECRET_KEY", _secrets.get("SECRET_KEY", ""))
SECRET_KEY_FALLBACKS = items("SECRET_KEY_FALLBACKS")  # Django's own: signatures that are still accepted
KEY_PEPPERS = items("KEY_PEPPERS", _secrets.get("KEY_PEPPERS", ""))
if STARTS_UP and not (SECRET_KEY and KEY_PEPPERS):
    # Placeholders: `up` creates and keeps the real ones before anything is signed or stored.
    SECRET_KEY, KEY_PEPPERS = secrets.token_urlsafe(50), [secrets.token_urlsafe(32)]
if not SECRET_KEY:
    raise invalid("SECRET_KEY", f"{_NOT_SET}. Its value is a long random text")
if not KEY_PEPPERS:
    raise invalid(
        "KEY_PEPPERS", f"{_NOT_SET}. Its value is one or more long random texts, separated by commas"
    )
SIGNING_KEY = signing_key("SIGNING_KEY", DATA_DIR / "signing_key.pem")
if any(len(pepper) < 32 for pepper in KEY_PEPPERS):
    raise invalid("KEY_PEPPERS", "each pepper needs at least 32 characters")

DATABASE_URL = text("DATABASE_URL", _running.get("database_url", ""))
if not DATABASE_URL and not STARTS_UP:
    raise invalid("DATABASE_URL", _NOT_SET)
DATABASES = {
    "default": database("DATABASE_URL", DATABASE_URL, max_size=THREADS + 12)
    if DATABASE_URL
    else {"ENGINE": "django.db.backends.dummy"},
}
# A standby, for the lists of the usage log and the ledger and their exports: `proxy.lists.read_replica`.
DATABASE_READ_URL = text("DATABASE_READ_URL")
if DATABASE_READ_URL:
    # Two more connections for health checks. A failed attempt to connect is not repeated in the background.
    _most = MAX_PAGES + MAX_EXPORTS + 2
    DATABASES["read"] = database("DATABASE_READ_URL", DATABASE_READ_URL, max_size=_most, reconnect_timeout=0)
    DATABASE_ROUTERS = ["proxy.lists.read_replica.Router"]
# Where DATABASE_URL leads through a pooler in transaction mode: the address for LISTEN and for locks of a session.
DATABASE_LISTEN_URL = text("DATABASE_LISTEN_URL")
postgres_parts("DATABASE_LISTEN_URL", DATABASE_LISTEN_URL)

MLFLOW_URL = http_url("MLFLOW_URL", _running.get("mlflow_url", ""))
if not MLFLOW_URL and not STARTS_UP:
    raise invalid("MLFLOW_URL", _NOT_SET)
MLFLOW_TEST_URL = http_url("MLFLOW_TEST_URL")
MLFLOW_API = choice("MLFLOW_API", "api", "api", "ajax-api")
MLFLOW_STATIC_PREFIX = text("MLFLOW_STATIC_PREFIX").rstrip("/")
if MLFLOW_STATIC_PREFIX and not MLFLOW_STATIC_PREFIX.startswith("/"):
    raise invalid("MLFLOW_STATIC_PREFIX", "it must start with a slash, as MLflow's --static-prefix does")
MLFLOW_HOST_HEADER = text("MLFLOW_HOST_HEADER")
MLFLOW_AUTHORIZATION = text("MLFLOW_AUTHORIZATION")
MLFLOW_CA_BUNDLE = readable_file("MLFLOW_CA_BUNDLE")
MLFLOW_CLIENT_CERT = readable_file("MLFLOW_CLIENT_CERT")
MLFLOW_CLIENT_KEY = readable_file("MLFLOW_CLIENT_KEY")
DIRECT_ARTIFACTS = flag("DIRECT_ARTIFACTS")
MAX_JSON_BODY = number("MAX_JSON_BODY", 32 * 1024 * 1024)
MAX_ARTIFACT_BODY = number("MAX_ARTIFACT_BODY", 0)  # bytes; 0: unlimited

REDIS_URL = redis_url("REDIS_URL")
DEFAULT_REQUESTS_PER_MINUTE = number("DEFAULT_REQUESTS_PER_MINUTE", 6000, least=1, most=2**31 - 1)
DEFAULT_MONTHLY_BYTES = size("DEFAULT_MONTHLY_BYTES")  # 0: unlimited
# Forwarded calls at a time in each process. The other threads serve pages.
MAX_IN_FLIGHT = number("MAX_IN_FLIGHT", max(1, THREADS - max(2, THREADS // 8)), least=1, most=1000)
# JSON calls that a process sends to MLflow at once; the others wait in turn, fairly between users.
MLFLOW_CONCURRENCY = number("MLFLOW_CONCURRENCY", max(2, THREADS // 4), least=1, most=1000)
MAX_IN_FLIGHT_PER_KEY = number("MAX_IN_FLIGHT_PER_KEY", max(1, MAX_IN_FLIGHT // 2), least=1, most=1000)

# An RFC 3161 authority that stamps the ledger's head, and the certificates that its time-stamps must follow from.
TIMESTAMP_URL = http_url("TIMESTAMP_URL")
TIMESTAMP_CERTIFICATES = certificate_file("TIMESTAMP_CERTIFICATES")
TIMESTAMP_HOURS = number("TIMESTAMP_HOURS", 24, least=1, most=8760)

RECONCILE_SECONDS = number("RECONCILE_SECONDS", 5, most=3600)
USAGE_RETENTION_DAYS = number("USAGE_RETENTION_DAYS", 400, least=1, most=36_500)
EXPIRY_GRACE = number(
    "EXPIRY_GRACE", 3600
)  # seconds in which an expired key can still finish its runs; 0: none
ISOLATION = choice("ISOLATION", "required", "required", "off")
OWNERSHIP = choice("OWNERSHIP", "enforce", "enforce", "log", "off")
ALLOWED_ARTIFACT_SCHEMES = [scheme.lower().rstrip(":/") for scheme in items("ALLOWED_ARTIFACT_SCHEMES")]

SELF_SERVICE = flag("SELF_SERVICE")
SELF_SERVICE_KEYS = number("SELF_SERVICE_KEYS", 5, least=1, most=1000)
SELF_SERVICE_DAYS = number("SELF_SERVICE_DAYS", 90, least=1, most=3650)
SELF_SERVICE_PRESET = choice("SELF_SERVICE_PRESET", "contributor", "reader", "contributor", "full")

_own_url = f"http://{f'[{HOST}]' if ':' in HOST else HOST}:{PORT}"
# A command beside `make run` prints the URLs of that portal, although it does not have its PORT.
_running_url = "" if sys.argv[1:2] == ["up"] else _running.get("public_url") or _running.get("url", "")
PUBLIC_URL = http_url("PUBLIC_URL", _running_url or _own_url)
_public = urlsplit(PUBLIC_URL)
for _name, _url in (("MLFLOW_URL", MLFLOW_URL), ("MLFLOW_TEST_URL", MLFLOW_TEST_URL)):
    if _url and endpoint(_url) in (endpoint(PUBLIC_URL), endpoint(_own_url)):
        raise invalid(_name, f"“{_url}” is the portal itself; set it to the address of MLflow")

ALLOWED_HOSTS = items("ALLOWED_HOSTS", ",".join({_public.hostname or "", "127.0.0.1", "localhost", "[::1]"}))
TRUSTED_PROXIES = number("TRUSTED_PROXIES", 0, most=10)
METRICS_ALLOW = networks("METRICS_ALLOW", "127.0.0.0/8,::1/128")
LOG_FORMAT = choice("LOG_FORMAT", "auto", "auto", "text", "json")
if DEBUG and any(endpoint(f"//{host}")[0] != THIS_MACHINE for host in ALLOWED_HOSTS):
    raise invalid(
        "DEBUG",
        "it is only allowed if PUBLIC_URL and ALLOWED_HOSTS name this machine alone: error pages then show settings",
    )

SMTP_URL = smtp_url("SMTP_URL")
ALERT_EMAILS = items("ALERT_EMAILS")
ALERT_WEBHOOK_URL = http_url("ALERT_WEBHOOK_URL")
ALERT_WEBHOOK_SECRET = text("ALERT_WEBHOOK_SECRET")
ALERT_WEBHOOK_ALLOW_PRIVATE = flag("ALERT_WEBHOOK_ALLOW_PRIVATE")
if ALERT_WEBHOOK_URL and len(ALERT_WEBHOOK_SECRET) < 16:
    raise invalid(
        "ALERT_WEBHOOK_SECRET", "it needs at least 16 characters, so that receivers can trust signatures"
    )
MAIL_FROM = text("MAIL_FROM", f"registry@{_public.hostname}")

INSTALLED_APPS = [
    "unfold.apps.BasicAppConfig",
    "unfold.contrib.filters",
    "portal.apps.AdminConfig",  # `portal.urls` loads the admin's pages
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.postgres",
    "django.contrib.staticfiles",
    "django_filters",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "pgtrigger",
    "rest_framework",
    "procrastinate.contrib.django",
    "allauth",
    "allauth.account",
    "allauth.mfa",
    "portal.sign_in.apps.SocialAccounts",  # allauth.socialaccount
    "allauth.socialaccount.providers.openid_connect",
    "portal",
    "proxy",
    "keys",
]
MIDDLEWARE = [
    "portal.http.middleware.request_id",
    "portal.http.middleware.private_responses",
    "portal.pages.languages.page_language",
    "django.middleware.security.SecurityMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "portal.http.content_security.ContentSecurityPolicy",
    "portal.http.small_bodies.SmallBodies",
    "proxy.api.call_log.record_calls",
    "portal.http.page_slots.SlotsOfPages",
    "portal.http.middleware.no_key_in_address",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "portal.http.middleware.HostCheck",
    "django.middleware.csrf.CsrfViewMiddleware",
    "portal.sign_in.sessions.AuthenticationMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "portal.sign_in.second_factor.second_factor",
    "django.contrib.messages.middleware.MessageMiddleware",
]
if DATABASE_READ_URL:
    MIDDLEWARE.append("proxy.lists.read_replica.note_actions")
ROOT_URLCONF = "portal.urls"
WSGI_APPLICATION = "portal.wsgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]
CACHES: dict[str, Any] = {
    "default": {
        "BACKEND": "portal.sign_in.shared_cache.SharedCache",
        "LOCATION": REDIS_URL,
        "KEY_PREFIX": "hokusai",
        "OPTIONS": {"socket_connect_timeout": 0.2, "socket_timeout": 0.2},
    }
    if REDIS_URL
    else {"BACKEND": "django.core.cache.backends.locmem.LocMemCache", "OPTIONS": {"MAX_ENTRIES": 100_000}},
}
EMAIL_BACKEND = f"django.core.mail.backends.{'smtp' if SMTP_URL else 'dummy'}.EmailBackend"
EMAIL_TIMEOUT = 10  # seconds
DEFAULT_FROM_EMAIL = MAIL_FROM
globals().update(SMTP_URL)
LANGUAGE_CODE = "en-us"
TIME_ZONE = "UTC"
LANGUAGES = [("en", "English"), ("de", "Deutsch"), ("ja", "日本語")]
LOCALE_PATHS = [BASE_DIR / "portal" / "locale"]  # before the apps' own: our texts win
LANGUAGE_COOKIE_AGE = 365 * 24 * 3600  # seconds
LANGUAGE_COOKIE_HTTPONLY, LANGUAGE_COOKIE_SAMESITE = True, "Lax"
USE_TZ = True
FORMAT_MODULE_PATH = "portal.formats"
APPEND_SLASH = False  # MLflow's client drops the request body at a redirect
STATIC_URL = "/static/"  # portal.admin_theme repeats it
WHITENOISE_USE_FINDERS = True
WHITENOISE_AUTOREFRESH = False

REST_FRAMEWORK: dict[str, Any] = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "keys.api.callers.KeyAuthentication",
        "rest_framework.authentication.SessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["keys.api.callers.RulePermission"],
    "DEFAULT_METADATA_CLASS": "keys.api.callers.MethodsMetadata",
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["keys.api.bodies.Json"],
    "DEFAULT_CONTENT_NEGOTIATION_CLASS": "keys.api.bodies.JsonAlways",
    "DEFAULT_FILTER_BACKENDS": ["keys.api.lists.KnownFilters"],
    "DEFAULT_PAGINATION_CLASS": "keys.api.lists.Pages",
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "EXCEPTION_HANDLER": "keys.api.problems.handle_exception",
}
PROCRASTINATE_AUTODISCOVER_MODULE_NAME = "alerts.outbox"  # where each app keeps its tasks
PROCRASTINATE_IMPORT_PATHS = ["proxy.provenance.tasks"]  # imported by the process that runs the tasks

SPECTACULAR_SETTINGS: dict[str, Any] = {
    "TITLE": "Hokusai Registry Portal",
    "DESCRIPTION": "Keys, users, calls and registrations, for programs. docs/api.md shows how it is used.",
    "VERSION": "1",
    "SCHEMA_PATH_PREFIX": "/api/v1",
    "COMPONENT_SPLIT_REQUEST": True,
    "SERVE_INCLUDE_SCHEMA": False,
    "SERVERS": [{"url": PUBLIC_URL}],
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": f"{STATIC_URL}portal/icon.svg",
    "SWAGGER_UI_SETTINGS": {"deepLinking": True, "persistAuthorization": False, "validatorUrl": None},
    "PREPROCESSING_HOOKS": ["portal.api.schema.without_slashes"],
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "portal.api.schema.with_problems",
    ],
}

SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
_is_https = _public.scheme == "https"
ACCOUNT_DEFAULT_HTTP_PROTOCOL = _public.scheme
MFA_WEBAUTHN_ALLOW_INSECURE_ORIGIN = not _is_https
SECURE_HSTS_SECONDS = (
    365 * 24 * 3600 if _is_https else 0
)  # for this host alone: other hosts of the domain may not support https
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = LANGUAGE_COOKIE_SECURE = _is_https
# The prefix makes browsers refuse the cookie from other hosts of the domain and over plain http.
SESSION_COOKIE_NAME = "__Host-sessionid" if _is_https else "sessionid"
CSRF_COOKIE_NAME = "__Host-csrftoken" if _is_https else "csrftoken"
SESSION_COOKIE_HTTPONLY = CSRF_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = CSRF_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_AGE = 12 * 3600  # seconds since sign-in; a working day
CSRF_FAILURE_VIEW = "portal.pages.home.csrf_failure"
CSRF_TRUSTED_ORIGINS = [f"https://{_public.netloc}"] if _is_https else []
if TRUSTED_PROXIES:
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"json": {"()": "portal.http.logs.Json"}, "text": {"()": "portal.http.logs.Text"}},
    "filters": {"no_keys": {"()": "portal.http.logs.WithoutKeys"}},
    "handlers": {
        "console": {
            "class": "logging.StreamHandler",
            "formatter": log_format(LOG_FORMAT),
            "filters": ["no_keys"],
        },
    },
    "root": {"handlers": ["console"], "level": "DEBUG" if DEBUG else "INFO"},
    "loggers": {
        # They print headers at DEBUG, including Authorization.
        **{
            name: {"level": "WARNING"}
            for name in ("procrastinate", "revproxy", "urllib3", "django.db.backends", "psycopg")
        },
        # It logs the path of each 4xx; the access log has more.
        "django.request": {"level": "ERROR"},
        # It logs a traceback for each foreign Host header; portal.pages.home logs one line.
        "django.security.DisallowedHost": {"level": "CRITICAL"},
    },
}
