"""A key holder's own keys: list, view, rotate, end an old secret, revoke and, if SELF_SERVICE allows it, issue."""

import datetime

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.db.models import Q, QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.utils import timezone
from django.utils.translation import gettext

from keys import actions, limits
from keys.actions import self_service
from keys.lists.old_secret import read_old_secret_use
from keys.lists.states import with_leaks, with_unseen_secret
from keys.models import ApiKey, KeyRequest, Membership, PreparedKey, User
from keys.pages.frame import actor_of, posted_data, row_number
from keys.pages.key_forms import ConfirmForm, RevokeForm, RotateForm
from keys.pages.keys import possible_actions
from keys.pages.submission import Submission, submit_form
from portal.account import usage
from portal.account.forms import IssueForm, own_lives
from portal.account.frame import holder, page
from proxy.models import Call, CallTotal

SIZE = 25  # keys on a page
LATEST = 5  # calls and events on a key's page


@login_required
def overview(request: HttpRequest) -> HttpResponse:
    """The account page: the user's keys and a summary of the last 30 days."""
    user, before = holder(request), row_number(request.GET.get("before", ""))
    is_all = request.GET.get("show") == "all"
    keys = user.api_keys.with_owner().with_calls().order_by("-pk")
    if not is_all:
        keys = keys.exclude(revoked_at__isnull=False).exclude(expires_at__lte=timezone.now())
    if before is not None:
        keys = keys.filter(pk__lt=before)
    rows = list(with_leaks(keys)[: SIZE + 1])
    return page(
        request,
        "overview.html",
        keys=rows[:SIZE],
        more=rows[SIZE - 1].pk if len(rows) > SIZE else None,
        before=before,
        is_all=is_all,
        waiting=PreparedKey.objects.waiting().filter(owner=user),
        unseen=with_unseen_secret(user.api_keys.all()),
        requests=recent_requests(user),
        memberships=open_memberships(user),
        invitations=user.member_invitations.open().select_related("organisation"),
        summary=usage.summary(CallTotal.objects.filter(user=user)),
    )


def open_memberships(user: User) -> QuerySet[Membership]:
    return user.memberships.filter(organisation__closed_at=None).select_related("organisation")


def recent_requests(user: User) -> QuerySet[KeyRequest]:
    """The user's open requests, and those that were decided in the last two weeks."""
    since = timezone.now() - datetime.timedelta(days=14)
    rows = user.key_requests.filter(Q(decided_at=None) | Q(decided_at__gte=since))
    return rows.select_related("key")


def own_key(request: HttpRequest, public_id: str) -> ApiKey:
    """The key, if it belongs to the user; otherwise a 404."""
    return get_object_or_404(ApiKey.objects.with_owner(), public_id=public_id, owner=holder(request))


@login_required
def key(request: HttpRequest, public_id: str) -> HttpResponse:
    api_key = own_key(request, public_id)
    calls = Call.objects.filter(user=api_key.owner, key=api_key)
    has_old_secret = api_key.has_old_secret and not api_key.revoked_at
    return page(
        request,
        "key.html",
        key=api_key,
        pages=possible_actions(api_key) & {"rotate", "end_old_secret", "revoke"},
        requests=recent_requests(api_key.owner).filter(key=api_key),
        old_secret_use=read_old_secret_use(api_key) if has_old_secret else None,
        used=limits.read_key_use(api_key),
        events=api_key.events.select_related("actor")[:20],
        chart=usage.chart(CallTotal.objects.filter(user=api_key.owner, key=api_key), usage.PERIODS["30d"]),
        calls=calls.with_caller().page(size=LATEST),
    )


@login_required
def rotate(request: HttpRequest, public_id: str) -> HttpResponse:
    """Rotate a key: the form, and in the response to its POST the new secret, which is shown only once."""
    api_key = own_key(request, public_id)
    lives = own_lives() if self_service.can_extend(api_key) else []
    form, made = RotateForm(posted_data(request), key=api_key, lives=lives), Submission(request)

    def act() -> tuple[ApiKey, str | None]:
        overlap = form.cleaned_data["overlap"]
        return self_service.rotate(key=api_key, overlap=overlap, **form.expiry(), actor=actor_of(request))

    if "rotate" not in possible_actions(api_key):
        text = gettext("“%(name)s” is %(state)s and cannot be rotated.")
        messages.info(request, text % {"name": api_key.name, "state": gettext(api_key.state)})
        return redirect("account-key", api_key.public_id)
    if not submit_form(form, lambda: made.run(form, act)):
        return page(request, "rotate.html", key=api_key, form=form)
    title = gettext("New secret") if made.token else gettext("This key was rotated already")
    return page(request, "secret.html", title=title, key=made.key, token=made.token, is_rotated=True)


@login_required
def end_old_secret(request: HttpRequest, public_id: str) -> HttpResponse:
    """End a rotation's old secret before its overlap has passed. The page shows who still uses it."""
    api_key = own_key(request, public_id)
    form = ConfirmForm(posted_data(request))
    if "end_old_secret" not in possible_actions(api_key):
        text = gettext("“%(name)s” has no old secret that still works.")
        messages.info(request, text % {"name": api_key.name})
        return redirect("account-key", api_key.public_id)
    if not submit_form(form, lambda: actions.end_old_secret(key=api_key, actor=actor_of(request))):
        return page(request, "end_old_secret.html", key=api_key, form=form, use=read_old_secret_use(api_key))
    text = gettext("The old secret of “%(name)s” no longer works. The new one goes on.")
    messages.success(request, text % {"name": api_key.name})
    return redirect("account-key", api_key.public_id)


@login_required
def revoke(request: HttpRequest, public_id: str) -> HttpResponse:
    """Revoke a key, after a form that asks for the key's name."""
    api_key = own_key(request, public_id)
    if api_key.revoked_at:
        messages.info(request, gettext("“%(name)s” was already revoked.") % {"name": api_key.name})
        return redirect("account-key", api_key.public_id)
    form = RevokeForm(posted_data(request), key=api_key)

    def act() -> ApiKey:
        return actions.revoke(key=api_key, reason=form.cleaned_data["reason"], actor=actor_of(request))

    if not submit_form(form, act):
        since = timezone.now() - datetime.timedelta(hours=24)
        recent = (
            CallTotal.objects.filter(user=api_key.owner, key=api_key).by_hour().between(since, None).sums()
        )
        return page(request, "revoke.html", key=api_key, form=form, recent=recent["calls"])
    text = gettext("“%(name)s” is revoked. Calls with it are refused from now on.")
    messages.success(request, text % {"name": api_key.name})
    return redirect("account-key", api_key.public_id)


@login_required
def issue(request: HttpRequest) -> HttpResponse:
    """Issue a key to oneself, if the operator allows it, within the limits of `keys.actions.self_service`."""
    if not self_service.is_offered():
        raise Http404
    user = holder(request)
    form, made = IssueForm(posted_data(request), user=user), Submission(request)

    def act() -> tuple[ApiKey, str]:
        return self_service.issue(**form.rights(), actor=actor_of(request))

    if not submit_form(form, lambda: made.run(form, act)):
        return page(request, "issue.html", form=form, left=self_service.keys_left(user))
    title = gettext("Key issued") if made.token else gettext("This key was issued already")
    return page(request, "secret.html", title=title, key=made.key, token=made.token)
