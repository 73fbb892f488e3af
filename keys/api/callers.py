"""Who calls the management API, and what they may do there.

A session counts with CSRF, a key with its scopes: `portal:read` sees and `portal:admin` does what the key's user
may see and do in the portal, and no more, so that a key is worth nothing more than its user, at any time.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar, cast

from django.conf import settings
from django.db.models import Q, QuerySet
from django.utils.functional import SimpleLazyObject
from rest_framework import authentication as framework
from rest_framework.metadata import BaseMetadata
from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from keys import limits, page_slots
from keys.actions.actor import Actor, Via
from keys.credentials import authentication
from keys.credentials.addresses import client_address
from keys.credentials.caller import Caller
from keys.models import ApiKey, User
from keys.refusals import Refusal, forbidden, unauthenticated
from keys.rights.scopes import Scope

if TYPE_CHECKING:  # the framework reads this file while it makes the class
    from rest_framework.views import APIView

Rows = TypeVar("Rows", bound="QuerySet[Any]")
Permission = str | tuple[str, ...]  # one, or several of which one is enough
CREDENTIALS = ("HTTP_AUTHORIZATION", "HTTP_X_API_KEY")


@dataclass(frozen=True, kw_only=True)
class Rule:
    """Who may do something.

    `scopes`: a key needs one of them; none: any key will do. `permissions`: what staff need for everybody's
    rows, as the pages have it. `own`: others may for their own, which the view sees to (`within`). `by_session`:
    people may too.
    """

    scopes: tuple[Scope, ...] = ()
    permissions: tuple[Permission, ...] = ()
    own: bool = False
    by_session: bool = True


def sees(*permissions: Permission, own: bool = True) -> Rule:
    return Rule(scopes=(Scope.PORTAL_READ, Scope.PORTAL_ADMIN), permissions=permissions, own=own)


def does(*permissions: Permission, own: bool = False) -> Rule:
    return Rule(scopes=(Scope.PORTAL_ADMIN,), permissions=permissions, own=own)


class KeyAuthentication(framework.BaseAuthentication):
    """An API key, in any of the forms that MLflow's paths take."""

    def authenticate(self, request: Request) -> tuple[User, Caller] | None:
        meta = request.META
        authentication.refuse_key_in_query(meta.get("QUERY_STRING", ""))
        if not any(meta.get(name) for name in CREDENTIALS):
            return None
        caller = authentication.authenticate(meta)
        request._request.api_caller = caller  # type: ignore[attr-defined]  # for the usage log
        if caller.in_grace:
            raise unauthenticated(
                "expired_key", f"{caller} has expired. Ask your administrator for a new one."
            )
        authentication.check_network(caller, address_of(request) or "")
        # Not the owner that is remembered with the key: staff who are no longer staff are not at once.
        owner = SimpleLazyObject(lambda: User.objects.get(pk=caller.user.pk))
        return cast(User, owner), caller


class Methods(BaseMetadata):
    """What an address takes, for anybody, as its schema is: the header `Allow` says the same."""

    def determine_metadata(self, request: Request, view: "APIView") -> dict[str, list[str]]:
        return {"methods": view.allowed_methods}


class Allowed(BasePermission):
    """What the view's `rules` say for the method; without a rule it is refused."""

    def has_permission(self, request: Request, view: "APIView") -> bool:
        rule: Rule | None = getattr(view, "rules", {}).get(
            "GET" if request.method == "HEAD" else request.method
        )
        if request.method == "OPTIONS":
            return True
        if rule is None:
            return request.method not in view.allowed_methods  # which is answered with 405
        if request.auth is None and not request.user.is_authenticated:
            raise unauthenticated(
                "no_key",
                f"This needs a key with the scope {needed(rule)}. {authentication.HOW_TO_SEND_A_KEY}.",
            )
        admit(request)
        if key := key_of(request):
            check_scope(key, rule)
        elif not rule.by_session:
            raise forbidden("scope", f"This is for programs: send a key with the scope {needed(rule)}.")
        if rule.permissions and not rule.own and not is_over_all(request, rule):
            raise not_permitted(rule)
        return True


def not_permitted(rule: Rule) -> Refusal:
    names = " and ".join(" or ".join(either(permission)) for permission in rule.permissions)
    return forbidden("permission", f"This needs staff with the permission {names}.")


def either(permission: Permission) -> tuple[str, ...]:
    return (permission,) if isinstance(permission, str) else permission


def admit(request: Request) -> None:
    """Count the call against its caller's limits, which hold here as at MLflow's paths, and occupy a slot, which
    `portal.http.page_slots` releases. Raises Refusal."""
    caller = request.auth if isinstance(request.auth, Caller) else Caller.by_session(user_of(request))
    request._request.api_caller = caller  # type: ignore[attr-defined]
    request._request.api_counted_call = limits.count_call(caller, is_transfer=False)  # type: ignore[attr-defined]
    if not hasattr(request._request, "page_slot"):
        request._request.page_slot = page_slots.take_page_slot(caller.user.public_id)  # type: ignore[attr-defined]


def check_scope(key: ApiKey, rule: Rule) -> None:
    if rule.scopes and not set(rule.scopes) & set(key.scopes):
        raise forbidden(
            "scope",
            f"This needs the scope {needed(rule)}; the API key “{key.name}” has {', '.join(key.scopes)}. "
            "Ask your administrator for a key that may do this.",
        )


def needed(rule: Rule) -> str:
    return " or ".join(rule.scopes) or "(any)"


def key_of(request: Request) -> ApiKey | None:
    """The key that the request came with."""
    return request.auth.key if isinstance(request.auth, Caller) else None


def user_of(request: Request) -> User:
    return cast(User, request.user)


def address_of(request: Request) -> str | None:
    return client_address(request.META, trusted_proxies=settings.TRUSTED_PROXIES) or None


def actor_of(request: Request) -> Actor:
    key = key_of(request)
    return Actor(
        user=user_of(request), address=address_of(request), via=Via.API if key else Via.SESSION, key=key
    )


def is_over_all(request: Request, rule: Rule) -> bool:
    """Whether the rule lets the caller at everybody's rows. Django's permissions count for staff only, as in
    the admin pages."""
    user = user_of(request)
    return user.is_staff and all(
        any(user.has_perm(name) for name in either(permission)) for permission in rule.permissions
    )


def within(view: "APIView", rows: Rows, own: Callable[[User], Q]) -> Rows:
    """The rows that the caller may see: all, or its own. What is not there is a 404."""
    rule: Rule = view.rules["GET" if view.request.method == "HEAD" else view.request.method]  # type: ignore[attr-defined]
    if is_over_all(view.request, rule):
        return rows
    return rows.filter(own(user_of(view.request)))
