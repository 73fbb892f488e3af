"""A version's page for key holders: its files as registered, and their state now."""

from django.conf import settings
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse

from keys.models import ApiKey
from keys.models.organisations import SHARED
from keys.pages.frame import query_value
from portal.account.frame import holder, page
from portal.account.own_registrations import own_namespace
from proxy.models import Manifest, Owner
from proxy.provenance import presentation


@login_required
def version(request: HttpRequest) -> HttpResponse:
    """The files of a version that the user registered, or whose model the user owns."""
    name, number = query_value(request, "name")[:500], query_value(request, "version")[:20]
    environment = query_value(request, "environment", "live")
    if not name or not number or environment not in ApiKey.Environment.values:
        raise Http404
    user = holder(request)
    organisation = query_value(request, "organisation", SHARED)
    namespace = own_namespace(user, environment, organisation)
    manifest = Manifest.objects.of_version(namespace, name, number)
    is_owner = Owner.objects.of(namespace, "registered_model", name).filter(user=user).exists()
    if manifest is None or not (is_owner or manifest.registration.user_id == user.pk):
        raise Http404
    provenance = presentation.present(manifest, public_url=settings.PUBLIC_URL)
    return page(
        request,
        "version.html",
        name=name,
        environment=environment,
        organisation=organisation,
        provenance=provenance,
    )
