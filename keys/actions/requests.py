"""Requests of holders for a new key, a later expiry or more rights, and what administrators decide about them."""

import datetime
from collections.abc import Sequence

from django.db import transaction
from django.utils import timezone

from keys.actions import grants
from keys.actions.actor import COMMAND, Actor
from keys.actions.changing import change
from keys.actions.collecting import prepare
from keys.actions.errors import ActionError, NotAllowed
from keys.actions.history import log, record_event
from keys.actions.organisations import organisation_for
from keys.actions.rights import validate_text
from keys.models import ApiKey, KeyEvent, KeyRequest, Organisation, PreparedKey, User
from keys.models.key_requests import MOST_DAYS, REQUESTABLE
from keys.rights.scopes import parse_scopes


@transaction.atomic
def request(
    *,
    kind: str,
    key: ApiKey | None = None,
    organisation: Organisation | None = None,
    name: str = "",
    scopes: Sequence[str] = (),
    days: int | None = None,
    note: str = "",
    actor: Actor,
) -> KeyRequest:
    """Request a new key (`name`, `scopes`, `days`, and the `organisation` of a user of several), a later expiry of
    one's own key (`days`), or more rights for it (`scopes`, which are added to those that it has).

    Raises NotAllowed for anybody else's key, and ActionError for a request that is open already or changes nothing.
    """
    if actor.user is None:
        raise NotAllowed("only the holder requests something for a key")
    user = User.objects.select_for_update().get(pk=actor.user.pk)
    if key is not None:
        if key.owner_id != user.pk:
            raise NotAllowed("only the holder requests something for a key")
        key = grants.lock_key(key, actor)
    validate_text("name", name)
    validate_text("purpose", note)
    if not set(scopes) <= set(REQUESTABLE):
        raise ActionError("scopes for the portal itself cannot be requested; ask a superuser")
    if days is not None and not 1 <= days <= MOST_DAYS:
        raise ActionError(f"days: a whole number from 1 to {MOST_DAYS}")
    if open_request(user, kind, key):
        raise ActionError("this was already requested; wait for the answer")
    made = KeyRequest.objects.create(
        user=user,
        organisation=key.organisation if key else organisation_for(user, organisation),
        kind=kind,
        key=key,
        note=note,
        address=actor.address,
        **requested_columns(kind, key, name, scopes, days),
    )
    if key:
        record_event(key, KeyEvent.Kind.REQUESTED, actor=actor, request=kind, **requested_change(made))
    return made


def open_request(user: User, kind: str, key: ApiKey | None) -> KeyRequest | None:
    return user.key_requests.filter(state=KeyRequest.State.OPEN, kind=kind, key=key).first()


def requested_columns(
    kind: str, key: ApiKey | None, name: str, scopes: Sequence[str], days: int | None
) -> dict[str, object]:
    """The columns of a request that depend on its kind. Raises ActionError for a request that changes nothing."""
    match kind:
        case KeyRequest.Kind.RENEWAL if key and days:
            if key.expires_at is None:
                raise ActionError("the key does not expire")
            if later_expiry(days) <= key.expires_at:
                raise ActionError(f"the key works until {key.expires_at:%Y-%m-%d %H:%M} UTC anyway")
            return {"days": days}
        case KeyRequest.Kind.SCOPE if key and scopes:
            if set(scopes) <= set(key.scopes):
                raise ActionError("the key has these rights already")
            return {"scopes": [scope.value for scope in parse_scopes(scopes)]}
        case KeyRequest.Kind.NEW if not key and name.strip() and scopes and days:
            return {
                "name": name.strip(),
                "scopes": [scope.value for scope in parse_scopes(scopes)],
                "days": days,
            }
    raise ActionError(
        "a later expiry takes a key and days, more rights a key and scopes, a new key a name, scopes and days"
    )


def requested_change(made: KeyRequest) -> dict[str, object]:
    """What is requested, as the event stores it."""
    return {"scopes": made.scopes} if made.scopes else {"days": made.days}


def later_expiry(days: int) -> datetime.datetime:
    return timezone.now() + datetime.timedelta(days=days)


@transaction.atomic
def approve(
    *, request: KeyRequest, actor: Actor = COMMAND
) -> tuple[KeyRequest, tuple[PreparedKey, str] | None]:
    """Do what was requested, as the actor: change the key, or prepare a new one, which the holder collects. Returns the
    request and, for a new key, what `prepare` returns.

    Raises NotAllowed if the actor may not do it, and ActionError if it is decided already or no longer possible.
    """
    request = lock_request(request, actor)
    made = None
    if request.kind == KeyRequest.Kind.NEW:
        expires_at = later_expiry(request.days or MOST_DAYS)
        made = prepare(
            owner=request.user,
            name=request.name,
            organisation=request.organisation,
            scopes=request.scopes,
            expires_at=expires_at,
            actor=actor,
        )
        request.prepared = made[0]
    elif request.key is not None and request.kind == KeyRequest.Kind.RENEWAL:
        expires_at = later_expiry(request.days or MOST_DAYS)
        if request.key.expires_at is None or expires_at <= request.key.expires_at:
            raise ActionError("the key works that long anyway; decline the request")
        change(key=request.key, expires_at=expires_at, actor=actor)
    elif request.key is not None:
        change(key=request.key, scopes=[*request.key.scopes, *request.scopes], actor=actor)
    decide(request, KeyRequest.State.APPROVED, actor)
    return request, made


@transaction.atomic
def decline(*, request: KeyRequest, reason: str, actor: Actor = COMMAND) -> KeyRequest:
    """Decline a request; the holder is told the reason. Raises ActionError without one, or if it is decided already."""
    if not reason.strip():
        raise ActionError("give a reason: the holder reads it")
    validate_text("purpose", reason)
    request = lock_request(request, actor)
    request.reason = reason.strip()
    decide(request, KeyRequest.State.DECLINED, actor)
    if request.key:
        record_event(request.key, KeyEvent.Kind.REQUEST_DECLINED, actor=actor, reason=request.reason)
    return request


@transaction.atomic
def withdraw(*, request: KeyRequest, actor: Actor) -> KeyRequest:
    """Withdraw one's own request. Raises NotAllowed for anybody else's, and ActionError if it is decided already."""
    if actor.user is None or actor.user.pk != request.user_id:
        raise NotAllowed("only the holder withdraws a request")
    request = lock_request(request, actor)
    decide(request, KeyRequest.State.WITHDRAWN, actor)
    if request.key:
        record_event(request.key, KeyEvent.Kind.REQUEST_WITHDRAWN, actor=actor)
    return request


def lock_request(request: KeyRequest, actor: Actor) -> KeyRequest:
    """The row as it is now, locked. Raises ActionError if it is decided already."""
    grants.check_owner(request.user_id, actor)
    request = KeyRequest.objects.select_for_update(of=("self",)).with_people().get(pk=request.pk)
    if request.decided_at:
        raise ActionError(f"the request was {request.state} on {request.decided_at:%Y-%m-%d %H:%M} UTC")
    return request


def decide(request: KeyRequest, state: str, actor: Actor) -> None:
    request.state, request.decided_at, request.decided_by = state, timezone.now(), actor.user
    request.save(update_fields=["state", "decided_at", "decided_by", "reason", "prepared"])
    log(
        request.user,
        f"Request {request.public_id} ({request.get_kind_display().lower()}) {state}.",
        actor=actor,
    )
