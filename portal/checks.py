"""What `manage.py check` says of settings that are valid and may still not be meant."""

from collections.abc import Sequence
from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.core import checks
from django.core.checks import CheckMessage, register


@register()
def limits_are_shared(app_configs: Sequence[AppConfig] | None, **options: Any) -> list[CheckMessage]:
    """Several processes that count for themselves let through as many times a key's limit."""
    if settings.WORKERS > 1 and not settings.REDIS_URL:
        return [
            checks.Warning(
                f"WORKERS is {settings.WORKERS} and REDIS_URL is not set: each process counts each key's calls "
                "for itself.",
                hint="Set REDIS_URL to a Redis or Valkey that all of them reach, or WORKERS=1.",
                id="portal.W001",
            )
        ]
    return []


@register()
def pages_have_threads(app_configs: Sequence[AppConfig] | None, **options: Any) -> list[CheckMessage]:
    """Pages and health need threads that no transfer can take."""
    if settings.THREADS > 1 and settings.MAX_IN_FLIGHT >= settings.THREADS:
        return [
            checks.Warning(
                f"MAX_IN_FLIGHT is {settings.MAX_IN_FLIGHT} of {settings.THREADS} THREADS: slow transfers can "
                "take them all, and then neither health nor pages answer.",
                hint="Set MAX_IN_FLIGHT to a few less than THREADS.",
                id="portal.W002",
            )
        ]
    return []
