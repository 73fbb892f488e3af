"""Who has used a key recently, shown before it is revoked, and whether it has been used at all."""

import datetime
from typing import Any

from django.contrib.auth.models import AnonymousUser
from django.db.models import Count, Max, Sum
from django.http import Http404, HttpRequest, JsonResponse
from django.utils import timezone
from django.views.decorators.http import require_safe

from keys.formatting.moments import format_time
from keys.models import ApiKey, User
from keys.rights.permissions import SEE_KEYS

DAY = datetime.timedelta(days=1)
MOST = 10


def of_last_day(key: ApiKey) -> dict[str, Any]:
    """The use in the last 24 hours, rounded to full hours: `calls` from the totals, and the most frequent `callers`
    (address, client, number of calls, last call) from the usage log."""
    since = (timezone.now() - DAY).replace(minute=0, second=0, microsecond=0)
    calls = key.calls.between(since, None).order_by()
    callers = calls.values("address", "client").annotate(times=Count("id"), last=Max("at")).order_by("-times")
    total = key.call_totals.by_hour().between(since, None).aggregate(calls=Sum("calls", default=0))
    return {"calls": total["calls"], "callers": list(callers[:MOST])}


@require_safe
def connection(request: HttpRequest, public_id: str) -> JsonResponse:
    """Whether the key's current secret has been used. The page that shows a new secret polls this.

    For the key's owner and for users who may see all keys; others get a 404.
    """
    user: User | AnonymousUser = request.user
    key = ApiKey.objects.filter(public_id=public_id).first()
    if key is None or not user.is_authenticated or not (key.owner_id == user.pk or may_see(user)):
        raise Http404
    used = {
        "at": format_time(key.last_used_at),
        "address": key.last_used_address,
        "client": key.last_used_client,
    }
    return JsonResponse({"connected": key.last_used_at is not None, **(used if key.last_used_at else {})})


def may_see(user: User | AnonymousUser) -> bool:
    is_staff = getattr(user, "is_staff", False)
    return is_staff and any(user.has_perm(name) for name in SEE_KEYS)
