"""The settings in effect, for superusers: each setting of docs/settings.md, its value and its source. Of secrets it
shows only whether they are set."""

import os
import re
from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import urlsplit

from django.conf import settings
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_safe

from keys.models import User
from keys.pages.frame import render_page
from portal.admin_theme import environment
from portal.pages.documents import inline

ROW = re.compile(r"^\| `(?P<name>[A-Z_]+)` \| (?P<default>.*?) \| (?P<meaning>.+) \|$", re.MULTILINE)
# Names of what is never shown. Of any other value, what has a user and a password in it is not shown either.
SECRET = re.compile(
    r"SECRET|OIDC_PROVIDERS|SIGNING_KEY|PEPPER|PASSWORD|AUTHORIZATION|TOKEN|DATABASE_URL|DATABASE_LISTEN_URL|DATABASE_READ_URL|REDIS_URL|SMTP_URL"
    r"|WEBHOOK_URL"
)
CREDENTIALS = re.compile(r"://[^/\s]*@")
SOURCES = ("set by make run", "environment", "running instance", "default")
BY_MAKE_RUN, ENVIRONMENT, INSTANCE, DEFAULT = SOURCES  # where a value comes from
FROM_FILES = (
    "SECRET_KEY",
    "KEY_PEPPERS",
    "SIGNING_KEY",
    "DATABASE_URL",
    "MLFLOW_URL",
)  # `make run` stores these in DATA_DIR


@dataclass(frozen=True, kw_only=True)
class InForce:
    name: str
    value: str
    source: str
    default: str
    meaning: str
    is_secret: bool = False


def read_documented() -> list[dict[str, str]]:
    text = (settings.BASE_DIR / "docs" / "settings.md").read_text(encoding="utf-8")
    return [match.groupdict() for match in ROW.finditer(text)]


def all_in_force() -> list[InForce]:
    return [one(**row) for row in read_documented()]


def one(*, name: str, default: str, meaning: str) -> InForce:
    value = getattr(settings, name, os.environ.get(name, "")) or otherwise(name)
    text = format_value(value)
    is_secret = bool(SECRET.search(name) or CREDENTIALS.search(text))
    if is_secret:
        text = "set" if value else "not set"
    known = {"default": inline(default), "meaning": inline(meaning)}
    return InForce(name=name, value=text, source=source(name, value), is_secret=is_secret, **known)


def otherwise(name: str) -> Any:
    """The value in effect if a setting is empty and its value derives from another setting."""
    if name == "MLFLOW_HOST_HEADER":
        return urlsplit(settings.MLFLOW_URL).netloc
    return environment(None)[0] if name == "ENVIRONMENT_NAME" else getattr(settings, name, "")


def source(name: str, value: Any) -> str:
    if name in os.environ.get("SET_BY_MAKE_RUN", "").split(","):  # by `portal.one_machine.run`
        return BY_MAKE_RUN
    if os.environ.get(name, "").strip():
        return ENVIRONMENT
    return INSTANCE if name in FROM_FILES and value else DEFAULT


def format_value(value: Any) -> str:
    """The value in the format of the environment; a dash if it is empty."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple | set | frozenset):
        return ", ".join(map(str, value)) or "-"
    return "-" if value is None else str(value) or "-"


@require_safe
def in_force(request: HttpRequest) -> HttpResponse:
    if not cast(User, request.user).is_superuser:
        raise PermissionDenied
    return render_page(
        request, "admin/audit/settings.html", opts=None, title="Settings in force", settings=all_in_force()
    )
