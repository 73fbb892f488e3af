"""Signed-in people, without the sign-in page."""

import json
import secrets
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.sessions.backends.db import SessionStore

from keys.models import User
from tests.portals import Portal, Reply

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
    """A session of the user's, who is made if missing. The portal's secrets are this process's too."""
    query = "select id, public_id, password from keys_user where username = %s"
    if not portal.sql(query, name):
        portal.manage("shell", "-c", f"from keys.models import User; User.objects.create_user({name!r})")
    [(pk, user_id, password)] = portal.sql(query, name)
    content = {
        SESSION_KEY: str(pk),
        BACKEND_SESSION_KEY: settings.AUTHENTICATION_BACKENDS[0],
        HASH_SESSION_KEY: User(password=password).get_session_auth_hash(),
    }
    session_id = secrets.token_hex(16)
    portal.sql(
        "insert into django_session (session_key, session_data, expire_date) "
        "values (%s, %s, now() + interval '12 hours')",
        session_id,
        SessionStore().encode(content),
    )
    return Browser(portal, name, f"{settings.SESSION_COOKIE_NAME}={session_id}", user_id)
