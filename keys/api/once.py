"""Writes that are safe to repeat for 24 hours: `Idempotency-Key` (the IETF draft of that name)."""

import datetime
import hashlib
import json
import re
from collections.abc import Callable
from typing import Any

from django.db import OperationalError, connection, transaction
from django.utils import timezone
from drf_spectacular.utils import OpenApiParameter
from psycopg.errors import LockNotAvailable
from rest_framework.request import Request
from rest_framework.response import Response

from keys.api.callers import key_of, user_of
from keys.models import IdempotentRequest
from keys.refusals import Refusal, bad_value, conflict

HEADER = "Idempotency-Key"
IDEMPOTENCY = OpenApiParameter(
    HEADER,
    str,
    OpenApiParameter.HEADER,
    description="Any unique text. A repetition within 24 hours does nothing and gets the first response again.",
)
KEPT = datetime.timedelta(hours=24)
LOCK_TIMEOUT = "10s"  # for which the second of two concurrent requests waits for the first
HEADERS = ("ETag", "Cache-Control")  # stored and repeated with the response
SECRETS = ("key", "link", "message")  # fields that contain a secret
SHOWN_ALREADY = (
    "This request was already carried out, and its response showed the secret once. If the secret is lost, rotate the "
    "key with the overlap “now”, invite the user again, or prepare the key again."
)


def once(request: Request, act: Callable[[], Response]) -> Response:
    """The response of `act`; or, if the caller has sent this Idempotency-Key before, the response of that time without
    its secret. Refusals are not stored: the same request may be sent again and is checked again.

    `act` validates the request as well: a repeated one may no longer be valid, for instance if its expiry has passed.
    """
    name = request.headers.get(HEADER)
    if name is None:
        return act()
    if not re.fullmatch(r"[!-~]{1,255}", name):
        wrong = {HEADER: ["Send 1 to 255 visible ASCII characters."]}
        raise bad_value(f"{HEADER}: send 1 to 255 visible ASCII characters", wrong)
    try:
        return run_once(request, name, act)
    except OperationalError as error:
        if not isinstance(error.__cause__, LockNotAvailable):
            raise
        raise conflict(
            "in_progress", f"A request with this {HEADER} is in progress. Send it again in a few seconds."
        ) from error


@transaction.atomic
def run_once(request: Request, name: str, act: Callable[[], Response]) -> Response:
    with connection.cursor() as cursor:
        cursor.execute(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'")
    delete_expired()
    row, is_new = IdempotentRequest.objects.get_or_create(
        caller=caller_of(request), name=name, defaults={"fingerprint": fingerprint(request)}
    )
    if not is_new:
        return replay(row, fingerprint(request))
    response = act()
    row.status, row.answer = response.status_code, without_secret(response.data)
    row.headers = {header: response[header] for header in HEADERS if header in response}
    row.save(update_fields=["status", "answer", "headers"])
    return response


def replay(row: IdempotentRequest, sent: str) -> Response:
    if row.fingerprint != sent:
        raise Refusal(
            status=422,
            error_code="UNPROCESSABLE_CONTENT",
            reason="idempotency_key_reused",
            message=f"This {HEADER} was used for a different request. Use a new one for each new request.",
        )
    return Response(row.answer, status=row.status, headers={**row.headers, "Idempotent-Replayed": "true"})


def caller_of(request: Request) -> str:
    key = key_of(request)
    return f"key:{key.pk}" if key else f"user:{user_of(request).pk}"


def fingerprint(request: Request) -> str:
    sent = [request.method, request.path.rstrip("/"), request.data]
    return hashlib.sha256(json.dumps(sent, sort_keys=True).encode()).hexdigest()


def without_secret(answer: Any) -> Any:
    """The response's data in a form that the database can store, without the secret."""
    stored = dict(answer)
    for name in SECRETS:
        if stored.get(name):
            stored |= {name: None, "notice": SHOWN_ALREADY}
    return stored


def delete_expired() -> None:
    old = IdempotentRequest.objects.filter(at__lt=timezone.now() - KEPT).select_for_update(skip_locked=True)
    if numbers := list(old.values_list("pk", flat=True)[:100]):
        IdempotentRequest.objects.filter(pk__in=numbers).delete()
