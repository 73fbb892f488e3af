"""Writes that may be sent again: `Idempotency-Key` (the IETF's draft of that name), for 24 hours."""

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
    description="Any text of yours. The same again within 24 hours does nothing, and says what was done.",
)
KEPT = datetime.timedelta(hours=24)
LOCK_TIMEOUT = "10s"  # for which the second of two concurrent requests waits for the first
HEADERS = ("ETag", "Cache-Control")  # that belong to the answer
SECRETS = ("key", "link")  # the fields that hold one
SHOWN_ALREADY = (
    "This was done already, and its secret was shown then, once. If it is lost, rotate the key with the "
    "overlap “now”, or invite again."
)


def once(request: Request, act: Callable[[], Response]) -> Response:
    """What `act` answers; if the caller sent this Idempotency-Key before, what it answered then, but for the
    secret. Only what was done is remembered: a refusal may be sent again and be judged anew.

    `act` checks what was sent, too: by now it may be what is no longer possible, such as an expiry that has passed.
    """
    name = request.headers.get(HEADER)
    if name is None:
        return act()
    if not re.fullmatch(r"[!-~]{1,255}", name):
        raise bad_value(f"{HEADER}: 1 to 255 visible ASCII characters", {HEADER: ["1 to 255 of ASCII's."]})
    try:
        return remembered(request, name, act)
    except OperationalError as error:
        if not isinstance(error.__cause__, LockNotAvailable):
            raise
        raise conflict(
            "in_progress", "Another request is at work on this just now. Send it again in a few seconds."
        ) from error


@transaction.atomic
def remembered(request: Request, name: str, act: Callable[[], Response]) -> Response:
    with connection.cursor() as cursor:
        cursor.execute(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'")
    forget_old()
    row, is_new = IdempotentRequest.objects.get_or_create(
        caller=caller_of(request), name=name, defaults={"fingerprint": fingerprint(request)}
    )
    if not is_new:
        return again(row, fingerprint(request))
    response = act()
    row.status, row.answer = response.status_code, without_secret(response.data)
    row.headers = {header: response[header] for header in HEADERS if header in response}
    row.save(update_fields=["status", "answer", "headers"])
    return response


def again(row: IdempotentRequest, sent: str) -> Response:
    if row.fingerprint != sent:
        raise Refusal(
            status=422,
            error_code="UNPROCESSABLE_CONTENT",
            reason="idempotency_key_reused",
            message=f"This {HEADER} came with another request before. Take a new one for a new request.",
        )
    return Response(row.answer, status=row.status, headers={**row.headers, "Idempotent-Replayed": "true"})


def caller_of(request: Request) -> str:
    key = key_of(request)
    return f"key:{key.pk}" if key else f"user:{user_of(request).pk}"


def fingerprint(request: Request) -> str:
    sent = [request.method, request.path.rstrip("/"), request.data]
    return hashlib.sha256(json.dumps(sent, sort_keys=True).encode()).hexdigest()


def without_secret(answer: Any) -> Any:
    """The answer as the encoder of the database takes it, and as it may be kept."""
    kept = dict(answer)
    for name in SECRETS:
        if kept.get(name):
            kept |= {name: None, "notice": SHOWN_ALREADY}
    return kept


def forget_old() -> None:
    old = IdempotentRequest.objects.filter(at__lt=timezone.now() - KEPT).select_for_update(skip_locked=True)
    if numbers := list(old.values_list("pk", flat=True)[:100]):
        IdempotentRequest.objects.filter(pk__in=numbers).delete()
