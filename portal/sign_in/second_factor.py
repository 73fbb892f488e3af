"""REQUIRE_MFA_FOR_STAFF: staff without a second factor can open only the pages where they set one up."""

from collections.abc import Callable

from allauth.mfa.utils import is_mfa_enabled
from django.conf import settings
from django.core.exceptions import MiddlewareNotUsed
from django.http import HttpRequest, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.urls import reverse
from django.utils.http import urlencode

from keys.refusals import forbidden
from proxy.answers import refuse
from proxy.request.headers import is_browser

# What is needed to set it up, or that anybody may see. Whatever is added to the portal is closed until it is here.
OPEN = (
    "/account/2fa/",
    "/account/login/",
    "/account/logout/",
    "/account/reauthenticate/",
    "/account/password/",
    "/account/invitation/",
    "/account/language/",
    "/static/",
    "/health",
    "/docs/",
)

Answer = Callable[[HttpRequest], HttpResponseBase]


def second_factor(get_response: Answer) -> Answer:
    if not settings.REQUIRE_MFA_FOR_STAFF:
        raise MiddlewareNotUsed

    def middleware(request: HttpRequest) -> HttpResponseBase:
        return to_set_up(request) if lacks_one(request) else get_response(request)

    return middleware


def lacks_one(request: HttpRequest) -> bool:
    """Whether a staff session without a second factor requests a page other than those that set one up. A call with a
    key has no session and needs no query."""
    if settings.SESSION_COOKIE_NAME not in request.COOKIES or request.path_info.startswith(OPEN):
        return False
    user = request.user
    return user.is_authenticated and user.is_staff and not is_mfa_enabled(user)


def to_set_up(request: HttpRequest) -> HttpResponseBase:
    if request.method == "GET" and is_browser(request.META):
        return HttpResponseRedirect(f"{reverse('mfa_index')}?{urlencode({'next': request.get_full_path()})}")
    message = (
        f"Staff need a second factor here. Set one up in a browser at {reverse('mfa_index')}, then try again."
    )
    return refuse(request, forbidden("second_factor_needed", message))
