"""Who is signed in. Sessions survive a rotation of SECRET_KEY."""

from django.contrib.auth.middleware import AuthenticationMiddleware as DjangoMiddleware
from django.contrib.auth.middleware import get_user
from django.http import HttpRequest
from django.utils.functional import SimpleLazyObject


class AuthenticationMiddleware(DjangoMiddleware):
    """Django's, except that a session which one of SECRET_KEY_FALLBACKS verifies keeps its cookie.

    Django gives it another one. Of the requests that a page makes at once, the others would still have the old cookie,
    and their responses would delete the new one.
    """

    def process_request(self, request: HttpRequest) -> None:
        super().process_request(request)
        request.user = SimpleLazyObject(lambda: find_user(request))  # type: ignore[assignment]


def find_user(request: HttpRequest) -> object:
    session = request.session
    session.cycle_key = lambda: None  # type: ignore[method-assign]
    try:
        return get_user(request)
    finally:
        del session.cycle_key
