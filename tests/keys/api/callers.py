"""Programs that call the management API, with a key of their user's."""

from dataclasses import dataclass
from typing import Any

from django.test import Client

from keys import actions
from keys.models import ApiKey, User

API = "/api/v1"


@dataclass
class Program:
    key: ApiKey
    secret: str

    def __call__(self, method: str, path: str, body: Any = None, **headers: str):
        """The answer to `GET /keys` and the like; headers as Idempotency_Key=…"""
        sent = {"Authorization": f"Bearer {self.secret}"}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        options = {} if body is None else {"data": body, "content_type": "application/json"}
        return getattr(Client(headers=sent), method.lower())(f"{API}{path}", **options)

    def get(self, path: str, **headers: str):
        return self("GET", path, **headers)

    def post(self, path: str, body: Any = None, **headers: str):
        return self("POST", path, {} if body is None else body, **headers)

    def patch(self, path: str, body: Any, **headers: str):
        return self("PATCH", path, body, **headers)


def program(owner: User, *scopes: str, **rights: Any) -> Program:
    key, secret = actions.issue(owner=owner, name="a program", scopes=scopes or ["tracking:read"], **rights)
    return Program(key, secret)


def refused(response, status: int, reason: str) -> dict:
    """The problem that the answer has to be."""
    problem = response.json()
    assert (response.status_code, problem["reason"]) == (status, reason), problem
    assert response["Content-Type"] == "application/problem+json"
    assert problem["status"] == status
    assert problem["request_id"] == response["X-Request-ID"]
    assert problem["detail"].endswith((".", ")"))
    return problem
