"""The admin's pages to try a call, share an experiment and hand over a user's objects."""

from django.contrib import messages
from django.contrib.auth.decorators import permission_required
from django.core.exceptions import PermissionDenied
from django.db.models import Count
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse

from keys.actions.grants import is_owner_allowed
from keys.models import ApiKey, Namespace, Organisation, User
from keys.pages.frame import actor_of, posted_data, render_page
from keys.pages.keys import can_see_keys, key_or_404
from keys.pages.progress import Progress
from keys.pages.submission import new_form_id, submit_form
from keys.rights.permissions import CHANGE_OWNER
from proxy.admin.forms import HandOverForm, ShareForm, TryForm
from proxy.answers import ERROR_CODES
from proxy.models import Owner
from proxy.policy import owner_actions
from proxy.policy.simulator import Verdict, simulate
from proxy.routes.objects import KIND_LABELS


def try_call(request: HttpRequest, pk: int) -> HttpResponse:
    """Simulate a call with this key. Nothing is sent to MLflow or recorded. The form uses POST, because a URL with the
    call's names and values would end up in logs."""
    if not can_see_keys(request):
        raise PermissionDenied
    key = key_or_404(pk)
    form = TryForm(posted_data(request))
    verdict = simulate_call(key, form) if form.is_bound and form.is_valid() else None
    code = ERROR_CODES.get(verdict.status) if verdict else None
    return render_page(
        request,
        "admin/proxy/try.html",
        title="Try a call",
        key=key,
        form=form,
        verdict=verdict,
        error_code=code,
    )


def simulate_call(key: ApiKey, form: TryForm) -> Verdict:
    call = form.cleaned_data
    return simulate(
        key,
        method=call["method"],
        target=call["path"],
        body=call["body"].encode(),
        address=call["address"],
    )


@permission_required(CHANGE_OWNER, raise_exception=True)
def share(request: HttpRequest) -> HttpResponse:
    """Share an experiment, so that anyone may create runs in it, or end the sharing."""
    known = {name: request.GET[name] for name in ShareForm.base_fields if name in request.GET}
    form = ShareForm(posted_data(request), initial=known)
    owners: list[Owner] = []

    def act() -> None:
        answers = form.cleaned_data
        owner = owner_actions.mark_shared(
            namespace=Namespace.of(
                answers["environment"], answers["organisation"] or Organisation.objects.shared()
            ),
            experiment_id=answers["experiment_id"],
            is_shared=answers["is_shared"] == "yes",
            actor=actor_of(request),
        )
        owners.append(owner)

    if not submit_form(form, act):
        return render_page(
            request, "admin/proxy/share.html", model=Owner, title="Share an experiment", form=form
        )
    who = "Anyone may create runs in it" if owners[0].is_shared else "Only its owner may create runs in it"
    messages.success(request, f"{who} from now on.")
    return redirect("admin:proxy_owner_change", owners[0].pk)


@permission_required(CHANGE_OWNER, raise_exception=True)
def hand_over(request: HttpRequest) -> HttpResponse:
    """Hand over all objects of one user to another: the form, the number of objects to confirm, then the change."""
    title = "Hand over what a user owns"
    form = HandOverForm(posted_data(request), initial={"giver": request.GET.get("giver")})
    if not form.is_bound or not form.is_valid():
        return render_page(request, "admin/proxy/hand_over.html", model=Owner, title=title, form=form)
    giver, taker = form.cleaned_data["giver"], form.cleaned_data["taker"]
    if not is_owner_allowed(giver.pk, actor_of(request).user):
        form.add_error("giver", "Only a superuser may hand over what a superuser owns.")
        return render_page(request, "admin/proxy/hand_over.html", model=Owner, title=title, form=form)
    if not form.cleaned_data["confirmed"]:
        owned = objects_of(giver)
        context = {"giver": giver, "taker": taker, "owned": owned, "total": sum(count for _, count in owned)}
        context["progress_id"] = new_form_id()
        return render_page(
            request, "admin/proxy/hand_over_confirm.html", model=Owner, title=title, form=form, **context
        )
    count = owner_actions.hand_over(
        giver=giver, taker=taker, actor=actor_of(request), on_progress=Progress(request)
    )
    messages.success(
        request,
        f"{owner_actions.format_count(count)} of {giver.username} now {verb(count)} to {taker.username}.",
    )
    return redirect(f"{reverse('admin:proxy_owner_changelist')}?user__id__exact={taker.pk}")


def objects_of(user: User) -> list[tuple[str, int]]:
    """The kinds of objects that the user owns, each with its number."""
    kinds = Owner.objects.filter(user=user).values_list("kind").annotate(Count("pk")).order_by("kind")
    return [(KIND_LABELS.get(kind, kind), count) for kind, count in kinds]


def verb(count: int) -> str:
    return "belongs" if count == 1 else "belong"
