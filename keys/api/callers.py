"""Authentication and permissions of the management API.

A session needs a CSRF token; a key needs scopes: `portal:read` to read and `portal:admin` to write. A key never allows
more than its user's own permissions at the time of the call.
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
from keys.credentials.headers import HOW_TO_SEND_A_KEY, carries_own_key
from keys.models import SHARED_ID, ApiKey, Organisation, User
from keys.refusals import Refusal, forbidden, unauthenticated
from keys.rights.scopes import Scope

if TYPE_CHECKING:  # the framework imports this file while it defines APIView
    from rest_framework.views import APIView

Rows = TypeVar("Rows", bound="QuerySet[Any]")
Permission = str | tuple[str, ...]  # one name, or alternatives of which one is enough
CREDENTIALS = ("HTTP_AUTHORIZATION", "HTTP_X_API_KEY")


@dataclass(frozen=True, kw_only=True)
class Rule:
    """Who may use a method of a view.

    `scopes`: a key needs one of them; if empty, any key will do. `permissions`: staff need all of them for everybody's
    rows, as in the pages. `own`: other users may use it for their own rows (`visible_rows`). `by_session`: sessions may
    use it too, not only keys.
    """

    scopes: tuple[Scope, ...] = ()
    permissions: tuple[Permission, ...] = ()
    own: bool = False
    by_session: bool = True


def read_rule(*permissions: Permission, own: bool = True) -> Rule:
    return Rule(scopes=(Scope.PORTAL_READ, Scope.PORTAL_ADMIN), permissions=permissions, own=own)


def write_rule(*permissions: Permission, own: bool = False) -> Rule:
    return Rule(scopes=(Scope.PORTAL_ADMIN,), permissions=permissions, own=own)


class KeyAuthentication(framework.BaseAuthentication):
    """An API key, in any of the forms that the MLflow paths accept."""

    def authenticate(self, request: Request) -> tuple[User, Caller] | None:
        meta = request.META
        authentication.refuse_key_in_query(meta.get("QUERY_STRING", ""))
        if not any(meta.get(name) for name in CREDENTIALS):
            return None
        if settings.SESSION_COOKIE_NAME in request.COOKIES and not carries_own_key(meta):
            return None  # a gateway's credential beside a session
        caller = authentication.authenticate(meta)
        request._request.api_caller = caller  # type: ignore[attr-defined]  # for the usage log
        if caller.in_grace:
            raise unauthenticated(
                "expired_key", f"{caller} has expired. Ask your administrator for a new one."
            )
        authentication.check_network(caller, address_of(request) or "")
        # Not the owner in the key cache: a user who is no longer staff loses those rights at once.
        owner = SimpleLazyObject(lambda: User.objects.get(pk=caller.user.pk))
        return cast(User, owner), caller


class MethodsMetadata(BaseMetadata):
    """The response to OPTIONS: the methods of the URL, as in the `Allow` header. Public, as the schema is."""

    def determine_metadata(self, request: Request, view: "APIView") -> dict[str, list[str]]:
        return {"methods": view.allowed_methods}


class RulePermission(BasePermission):
    """Applies the view's `rules` for the method. A method without a rule is refused."""

    def has_permission(self, request: Request, view: "APIView") -> bool:
        rule: Rule | None = getattr(view, "rules", {}).get(
            "GET" if request.method == "HEAD" else request.method
        )
        if request.method == "OPTIONS":
            return True
        if rule is None:
            return request.method not in view.allowed_methods  # the framework then responds with 405
        if request.auth is None and not request.user.is_authenticated:
            raise unauthenticated(
                "no_key",
                f"This needs a key with the scope {needed_scopes(rule)}. {HOW_TO_SEND_A_KEY}.",
            )
        count_call(request)
        if key := key_of(request):
            check_scope(key, rule)
        elif not rule.by_session:
            raise forbidden(
                "scope", f"Sessions cannot use this: send a key with the scope {needed_scopes(rule)}."
            )
        if rule.permissions and not rule.own and not is_over_all(request, rule):
            raise not_permitted(rule)
        return True


def not_permitted(rule: Rule) -> Refusal:
    names = " and ".join(" or ".join(alternatives(permission)) for permission in rule.permissions)
    return forbidden("permission", f"This needs staff with the permission {names}.")


def alternatives(permission: Permission) -> tuple[str, ...]:
    return (permission,) if isinstance(permission, str) else permission


def count_call(request: Request) -> None:
    """Count the call against the caller's limits, which it shares with the MLflow paths, and take a slot, which
    `portal.http.page_slots` releases. Raises Refusal."""
    caller = request.auth if isinstance(request.auth, Caller) else session_caller(user_of(request))
    request._request.api_caller = caller  # type: ignore[attr-defined]
    request._request.api_counted_call = limits.count_call(caller, is_transfer=False)  # type: ignore[attr-defined]
    if not hasattr(request._request, "page_slot"):
        request._request.page_slot = page_slots.take_page_slot(caller.user.public_id)  # type: ignore[attr-defined]


def session_caller(user: User) -> Caller:
    """A signed-in user of the API, whose calls do not reach MLflow."""
    return Caller.by_session(user, organisation=Organisation(pk=SHARED_ID))


def check_scope(key: ApiKey, rule: Rule) -> None:
    if rule.scopes and not set(rule.scopes) & set(key.scopes):
        raise forbidden(
            "scope",
            f"This needs the scope {needed_scopes(rule)}; the API key “{key.name}” has {', '.join(key.scopes)}. "
            "Ask your administrator for a key with this scope.",
        )


def needed_scopes(rule: Rule) -> str:
    return " or ".join(rule.scopes) or "(any)"


def key_of(request: Request) -> ApiKey | None:
    """The key that authenticated the request; None for a session."""
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
    """Whether the caller may access everybody's rows under this rule. Django's permissions count for staff only, as
    in the admin pages."""
    user = user_of(request)
    return user.is_staff and all(
        any(user.has_perm(name) for name in alternatives(permission)) for permission in rule.permissions
    )


def visible_rows(view: "APIView", rows: Rows, own: Callable[[User], Q]) -> Rows:
    """The rows that the caller may see: all, or only the caller's own, selected by `own`. Other rows are a 404."""
    rule: Rule = view.rules["GET" if view.request.method == "HEAD" else view.request.method]  # type: ignore[attr-defined]
    if is_over_all(view.request, rule):
        return rows
    return rows.filter(own(user_of(view.request)))
