"""POST /api/v1/token/: exchange a signed token for a key that works for up to an hour (RFC 8693).

For jobs that outlive their token and cannot fetch another one. Form-encoded, as the standard has it; errors are problem
details with the standard's `error` and `error_description`.
"""

import datetime
import json

from django.conf import settings
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils import timezone
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.debug import sensitive_post_parameters, sensitive_variables

from keys import limits
from keys.credentials import authentication, tokens
from keys.credentials.addresses import client_address
from keys.credentials.caller import Caller
from keys.credentials.signed_tokens import is_signed_token
from keys.database import DATABASE_ERRORS
from keys.formatting.problem_details import CONTENT_TYPE, problem_response
from keys.models import ApiKey, ExchangedKey
from keys.refusals import Refusal, bad_method, invalid, unauthenticated, unavailable

GRANT = "urn:ietf:params:oauth:grant-type:token-exchange"
TYPES = {f"urn:ietf:params:oauth:token-type:{name}" for name in ("jwt", "id_token", "access_token")}
ISSUED_TYPE = "urn:ietf:params:oauth:token-type:access_token"
SHORTEST, LONGEST = 300, 3600  # seconds for which such a key works
CLEANED = 100  # ended keys that one exchange deletes


@csrf_exempt
@sensitive_post_parameters()
@sensitive_variables()
def exchange(request: HttpRequest) -> HttpResponse:
    try:
        if request.method != "POST":
            raise bad_method("Exchange a token by POST.", "POST")
        lifetime = read_lifetime(request)
        caller = identify(request)
        secret, key = issue(caller, lifetime)
    except Refusal as refusal:
        request.api_reason = refusal.reason  # type: ignore[attr-defined]
        return error(request, refusal)
    except DATABASE_ERRORS:
        return error(
            request,
            unavailable(
                "database_unavailable", "PostgreSQL does not answer just now. Try again in a few seconds."
            ),
        )
    content = {
        "access_token": secret,
        "issued_token_type": ISSUED_TYPE,
        "token_type": "Bearer",
        "expires_in": lifetime,
        "scope": " ".join(key.scopes),
    }
    return JsonResponse(content, headers={"Cache-Control": "no-store"})


def read_lifetime(request: HttpRequest) -> int:
    """The seconds that the key is to work (`expires_in`, the portal's own parameter). Raises Refusal (400)."""
    sent = request.POST
    if sent.get("grant_type") != GRANT:
        raise invalid("bad_exchange", f"grant_type must be {GRANT}, in a form-encoded body.")
    if sent.get("subject_token_type") not in TYPES:
        raise invalid("bad_exchange", f"subject_token_type must be one of {', '.join(sorted(TYPES))}.")
    if sent.get("requested_token_type", ISSUED_TYPE) != ISSUED_TYPE or "actor_token" in sent:
        raise invalid("bad_exchange", f"The portal issues {ISSUED_TYPE} only, and takes no actor_token.")
    text = sent.get("expires_in", str(LONGEST))
    if not text.isascii() or not text.isdecimal() or not SHORTEST <= int(text[:9]) <= LONGEST:
        raise invalid("bad_exchange", f"expires_in must be from {SHORTEST} to {LONGEST} seconds.")
    return int(text)


def identify(request: HttpRequest) -> Caller:
    """The caller whose token this is, counted against the trust's limits. Raises Refusal."""
    token = request.POST.get("subject_token", "")
    if not is_signed_token(token):
        raise invalid("bad_exchange", "subject_token must be the signed token (JWT) of your platform.")
    caller = authentication.authenticate({"HTTP_AUTHORIZATION": f"Bearer {token}"})
    request.api_caller = caller  # type: ignore[attr-defined]  # for the usage log
    address = client_address(request.META, trusted_proxies=settings.TRUSTED_PROXIES)
    authentication.check_network(caller, address)
    if caller.in_grace:
        raise unauthenticated("expired_key", f"{caller} has expired. Ask your administrator for a new one.")
    request.api_counted_call = limits.count_call(caller, is_transfer=False)  # type: ignore[attr-defined]
    return caller


def issue(caller: Caller, lifetime: int) -> tuple[str, ApiKey]:
    """A new key for the caller's trust, and the trust's own. Deletes ended keys, a few at a time."""
    key = caller.key
    assert key is not None  # noqa: S101  for the type checker: a token acts as a key
    delete_ended()
    token = tokens.generate(key.environment)
    ExchangedKey.objects.create(
        trust_id=key.trust.pk,
        digest=tokens.digest(token, settings.KEY_PEPPERS[0]),
        subject=caller.subject,
        expires_at=timezone.now() + datetime.timedelta(seconds=lifetime),
    )
    return token.secret, key


def delete_ended() -> None:
    """The log names trust and subject, so nothing refers to these rows."""
    ended = ExchangedKey.objects.filter(expires_at__lt=timezone.now()).select_for_update(skip_locked=True)
    ExchangedKey.objects.filter(pk__in=ended.values("pk")[:CLEANED]).delete()


def error(request: HttpRequest, refusal: Refusal) -> HttpResponse:
    """A refused token is 400 `invalid_request` by the standard (2.2.2)."""
    if refusal.status == 401:
        refusal.status, refusal.headers = 400, {}
    response = problem_response(request, refusal)
    name = "invalid_request" if response.status_code < 429 else "temporarily_unavailable"
    content = {**json.loads(response.content), "error": name, "error_description": refusal.message}
    return JsonResponse(
        content,
        status=response.status_code,
        content_type=CONTENT_TYPE,
        headers={**refusal.headers, "Cache-Control": "no-store"},
    )
