"""How far an action has got that may take more than a second. The form of the action carries an id, and its page asks
for the progress of this id while it waits for the response (portal/static/portal/busy.js)."""

import re
import time

from django.core.cache import cache
from django.http import HttpRequest, JsonResponse
from django.views.decorators.http import require_safe

from keys.models import User

FIELD = "progress"
ID = re.compile(r"[A-Za-z0-9_-]{1,40}")
KEPT_SECONDS = 600
PAUSE_SECONDS = 0.2  # between two reports


class Progress:
    """Reports how many of how many are done, for the form that the request sent. Without an id it reports nothing."""

    def __init__(self, request: HttpRequest) -> None:
        self.name = cache_name(request, request.POST.get(FIELD, ""))
        self.reported_at = 0.0

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        if self.name and (done == total or now - self.reported_at >= PAUSE_SECONDS):
            self.reported_at = now
            cache.set(self.name, {"done": done, "total": total}, KEPT_SECONDS)


@require_safe
def progress(request: HttpRequest, progress_id: str) -> JsonResponse:
    """`done` and `total` of the user's own form with this id; neither before the first report."""
    name = cache_name(request, progress_id)
    return JsonResponse(cache.get(name, {}) if name else {})


def cache_name(request: HttpRequest, progress_id: str) -> str:
    """The name in the cache, where only the same user finds it; "" for what is no id."""
    if not isinstance(request.user, User) or not ID.fullmatch(progress_id):
        return ""
    return f"progress:{request.user.pk}:{progress_id}"
