"""Checks of settings that must fit together; `portal.settings` checks each setting by itself.

Errors stop `manage.py` and the server; warnings are printed or logged. Each is one line that names the settings
and the remedy.
"""

import ipaddress
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core import checks
from django.core.checks import CheckMessage, Error

from proxy.usage import tracing

SHORT_SECRET = 32  # characters


@checks.register()
def check_settings(app_configs: Sequence[Any] | None = None, **options: Any) -> list[CheckMessage]:
    """All errors and warnings. Needs neither the database nor MLflow."""
    return [*addresses(), *behind_proxies(), *mlflow(), *secrets(), *processes(), *traces()]


def addresses() -> Iterator[CheckMessage]:
    public = urlsplit(settings.PUBLIC_URL)
    host = public.hostname or ""
    if settings.DEBUG and not (is_local(host) and is_local(settings.HOST)):
        yield Error(
            f"DEBUG shows settings and code to anyone who can reach {host if not is_local(host) else settings.HOST}: "
            "unset it, or keep HOST and PUBLIC_URL on this machine.",
            id="portal.E001",
        )
    if not is_allowed(host):
        yield Error(
            f"ALLOWED_HOSTS lacks {host}, the host of PUBLIC_URL: every request to it would get 400. Add it.",
            id="portal.E002",
        )
    if "*" in settings.ALLOWED_HOSTS:
        yield checks.Warning(
            "ALLOWED_HOSTS contains *: links in pages then use any host that a Host header names. List the hosts.",
            id="portal.W001",
        )
    if public.scheme == "http" and not is_local(host):
        yield checks.Warning(
            f"PUBLIC_URL is http, so API keys are sent to {host} unencrypted: put TLS in front and use https.",
            id="portal.W002",
        )


def behind_proxies() -> Iterator[CheckMessage]:
    if settings.PUBLIC_URL.startswith("https:") and not settings.TRUSTED_PROXIES:
        yield checks.Warning(
            "PUBLIC_URL is https, so there must be a proxy in front, but TRUSTED_PROXIES is 0: every client would "
            "appear with the proxy's address. Set it to the number of your proxies.",
            id="portal.W003",
        )
    everywhere = [str(network) for network in settings.METRICS_ALLOW if network.prefixlen == 0]
    if everywhere:
        yield checks.Warning(
            f"METRICS_ALLOW contains {everywhere[0]}: anyone can read /metrics. List the networks of Prometheus.",
            id="portal.W004",
        )


def mlflow() -> Iterator[CheckMessage]:
    upstream = urlsplit(settings.MLFLOW_URL)
    if settings.MLFLOW_TEST_URL and settings.MLFLOW_TEST_URL == settings.MLFLOW_URL:
        yield Error(
            "MLFLOW_TEST_URL is MLFLOW_URL: test keys would write to the live registry. Set it to another MLflow, "
            "or unset it.",
            id="portal.E003",
        )
    if settings.MLFLOW_CLIENT_KEY and not settings.MLFLOW_CLIENT_CERT:
        yield Error("MLFLOW_CLIENT_KEY is set without MLFLOW_CLIENT_CERT: set both.", id="portal.E004")
    if upstream.scheme == "http":
        unused = ("MLFLOW_CA_BUNDLE", "MLFLOW_CLIENT_CERT")
        for name in [name for name in unused if getattr(settings, name)]:
            yield checks.Warning(f"{name} has no effect: MLFLOW_URL is http. Use https.", id="portal.W005")
        if settings.MLFLOW_AUTHORIZATION and not is_local(upstream.hostname or ""):
            yield checks.Warning(
                "MLFLOW_AUTHORIZATION is sent unencrypted: MLFLOW_URL is http. Use https.",
                id="portal.W006",
            )


def secrets() -> Iterator[CheckMessage]:
    if len(settings.SECRET_KEY) < SHORT_SECRET:
        yield checks.Warning(
            f"SECRET_KEY has fewer than {SHORT_SECRET} characters: anyone who guesses it can sign in as any user. "
            "Generate a longer one.",
            id="portal.W007",
        )
    if len(set(settings.KEY_PEPPERS)) < len(settings.KEY_PEPPERS):
        yield checks.Warning("KEY_PEPPERS contains the same pepper twice: remove one.", id="portal.W008")
    if settings.SECRET_KEY in settings.KEY_PEPPERS:
        yield checks.Warning(
            "SECRET_KEY is one of KEY_PEPPERS: a leak of one is a leak of both. Generate another.",
            id="portal.W009",
        )


def processes() -> Iterator[CheckMessage]:
    if settings.WORKERS > 1 and not settings.REDIS_URL:
        yield checks.Warning(
            f"WORKERS is {settings.WORKERS} without REDIS_URL: each process counts by itself, so a key's limits are up "
            f"to {settings.WORKERS} times higher. Set REDIS_URL, or WORKERS=1.",
            id="portal.W010",
        )
    if settings.THREADS > 1 and settings.MAX_IN_FLIGHT >= settings.THREADS:
        yield checks.Warning(
            f"MAX_IN_FLIGHT is {settings.MAX_IN_FLIGHT} of {settings.THREADS} THREADS: slow transfers can occupy "
            "all threads, and then health checks and pages do not respond. Set it to a few less than THREADS.",
            id="portal.W011",
        )


def traces() -> Iterator[CheckMessage]:
    if tracing.is_wanted() and not tracing.is_installed():
        yield Error(
            "OTEL_EXPORTER_OTLP_ENDPOINT is set, but OpenTelemetry is not installed: install the extra "
            "“telemetry”, or unset it.",
            id="portal.E005",
        )


def is_local(host: str) -> bool:
    """Whether the host is this machine; a wildcard address is not."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def is_allowed(host: str) -> bool:
    """Whether Django's ALLOWED_HOSTS accepts the host: a leading dot stands for all subdomains."""
    written = f"[{host}]" if ":" in host else host
    return any(
        pattern in ("*", written) or (pattern.startswith(".") and f".{written}".endswith(pattern))
        for pattern in (name.lower() for name in settings.ALLOWED_HOSTS)
    )
