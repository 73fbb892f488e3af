"""Signed-in people, without the sign-in page."""

import json
from dataclasses import dataclass
from typing import Any

from tests.portals import Portal, Reply

SIGN_IN = """
import json
from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.sessions.backends.db import SessionStore
from keys.models import User
user, _ = User.objects.get_or_create(username={name!r})
session = SessionStore()
session[SESSION_KEY], session[BACKEND_SESSION_KEY] = str(user.pk), settings.AUTHENTICATION_BACKENDS[0]
session[HASH_SESSION_KEY] = user.get_session_auth_hash()
session.create()
print(json.dumps([settings.SESSION_COOKIE_NAME, session.session_key, user.public_id]))
"""
OWN_PAGE = {"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty"}


@dataclass
class Browser:
    """A user's browser as far as the portal can tell: a cookie, and what browsers say of a request's source."""

    portal: Portal
    name: str
    cookie: str
    user_id: str

    def call(
        self, method: str, target: str, body: Any = None, *, key: str | None = None, **headers: str | None
    ) -> Reply:
        """As MLflow's pages would; `headers` (`Sec_Fetch_Site=None` leaves one out) say otherwise."""
        said: dict[str, str | None] = {**OWN_PAGE, "Cookie": self.cookie}
        said |= {name.replace("_", "-"): value for name, value in headers.items()}
        if isinstance(body, dict):
            said.setdefault("Content-Type", "application/json")
            body = json.dumps(body).encode()
        pairs = [(name, value) for name, value in said.items() if value is not None]
        return self.portal.request(method, target, key=key, headers=pairs, body=body)


def sign_in(portal: Portal, name: str) -> Browser:
    made = portal.manage("shell", "-c", SIGN_IN.format(name=name)).stdout
    cookie, value, user_id = json.loads(made.strip().splitlines()[-1])
    return Browser(portal, name, f"{cookie}={value}", user_id)
