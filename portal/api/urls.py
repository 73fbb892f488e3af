"""The addresses of the management API, each without a slash at its end; one with a slash is the same."""

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, path, re_path
from django.views.decorators.csrf import csrf_exempt

from keys.api import admin_log, alerts, keys, people, prepared, requests, roles
from keys.formatting.problem_details import problem_response
from keys.organisations import api as organisations
from keys.organisations import group_rule_api, trust_api
from keys.refusals import Refusal
from portal.api import health, schema, settings, uncalled_requests
from proxy.api import calls, incidents, manifests, owners, publications, registrations, tries, usage

ADDRESSES: dict[str, Any] = {
    "me": people.Me,
    "introspect": people.Introspect,
    "keys": keys.Keys,
    "keys/<str:key_id>": keys.Key,
    "keys/<str:key_id>/events": keys.Events,
    "keys/<str:key_id>/pause": keys.Pause,
    "keys/<str:key_id>/resume": keys.Resume,
    "keys/<str:key_id>/revoke": keys.Revoke,
    "keys/<str:key_id>/rotate": keys.Rotate,
    "keys/<str:key_id>/old-secret": keys.OldSecret,
    "keys/<str:key_id>/end-old-secret": keys.EndOldSecret,
    "keys/<str:key_id>/try": tries.Try,
    "keys/<str:key_id>/touched": incidents.Touched,
    "keys/<str:key_id>/files": incidents.Files,
    "keys/<str:key_id>/files/export": incidents.FilesExport,
    "keys/<str:key_id>/quarantine": incidents.Quarantine,
    "quarantine/lift": incidents.LiftQuarantine,
    "prepared-keys": prepared.PreparedKeys,
    "prepared-keys/<str:prepared_id>/withdraw": prepared.Withdraw,
    "key-requests": requests.KeyRequests,
    "key-requests/<str:key_request_id>/approve": requests.Approve,
    "key-requests/<str:key_request_id>/decline": requests.Decline,
    "key-requests/<str:key_request_id>/withdraw": requests.Withdraw,
    "events": keys.Activity,
    "alerts": alerts.Alerts,
    "alerts/test": alerts.TestAlert,
    "alerts/<str:alert_id>/settle": alerts.SettleAlert,
    "admin-log": admin_log.AdminLog,
    "organisations": organisations.Organisations,
    "organisations/<str:slug>": organisations.OneOrganisation,
    "organisations/<str:slug>/close": organisations.Close,
    "organisations/<str:slug>/add-member": organisations.AddMember,
    "organisations/<str:slug>/invite": organisations.InviteMember,
    "organisations/<str:slug>/service-users": organisations.AddServiceUser,
    "organisations/<str:slug>/members/<str:user_id>/role": organisations.SetMemberRole,
    "organisations/<str:slug>/members/<str:user_id>/remove": organisations.RemoveMember,
    "organisations/<str:slug>/hand-over": owners.HandOverWithin,
    "organisations/<str:slug>/publications": publications.Publications,
    "organisations/<str:slug>/publications/<str:publication_id>/withdraw": publications.Withdraw,
    "organisations/<str:slug>/publication-rule": publications.SetPublicationRule,
    "organisations/<str:slug>/publish": publications.Publish,
    "organisations/<str:slug>/readable": publications.Readable,
    "organisations/<str:slug>/trusts": trust_api.Trusts,
    "organisations/<str:slug>/trusts/try": trust_api.TryToken,
    "organisations/<str:slug>/trusts/<str:key_id>": trust_api.OneTrust,
    "trusts": trust_api.AllTrusts,
    "group-rules": group_rule_api.GroupRules,
    "group-rules/<str:group_rule_id>/remove": group_rule_api.RemoveGroupRule,
    "users": people.Users,
    "users/<str:user_id>": people.OneUser,
    "users/<str:user_id>/invite": people.Invite,
    "users/<str:user_id>/withdraw-invitation": people.Withdraw,
    "users/<str:user_id>/deactivate": people.Deactivate,
    "users/<str:user_id>/reactivate": people.Reactivate,
    "users/<str:user_id>/role": roles.SetRole,
    "users/<str:user_id>/hand-over": owners.HandOver,
    "owners": owners.Owners,
    "experiments/share": owners.Share,
    "calls": calls.Calls,
    "calls/export": calls.CallExport,
    "calls/<str:request_id>": calls.OneCall,
    "uncalled-requests/<str:request_id>": uncalled_requests.OneUncalledRequest,
    "usage": usage.Usage,
    "registrations": registrations.Registrations,
    "registrations/export": registrations.RegistrationExport,
    "registrations/<str:request_id>": registrations.OneRegistration,
    "manifests": manifests.VersionManifest,
    "manifests/export": manifests.ManifestExport,
    "manifests/signature": manifests.VersionSignature,
    "ledger": registrations.Ledger,
    "ledger/verify": registrations.Verification,
    "health": health.Health,
    "settings": settings.Settings,
    "schema": schema.Schema,
    "docs": schema.Docs,
}


@csrf_exempt
def not_found(request: HttpRequest) -> HttpResponse:
    return problem_response(
        request,
        Refusal(
            status=404,
            error_code="ENDPOINT_NOT_FOUND",
            reason="not_found",
            message="The management API has no such address; /api/v1/docs/ lists what it has.",
        ),
    )


def name_of(address: str) -> str:
    """The URL's name, which is the operation's in the usage log too: `portal.keys.rotate`."""
    return ".".join(["portal", *(part for part in address.split("/") if "<" not in part)]) + (
        ".one" if address.endswith(">") else ""
    )


def patterns() -> list[URLPattern]:
    urls = []
    for address, view in ADDRESSES.items():
        for ending in ("", "/"):
            urls.append(path(f"{address}{ending}", view.as_view(), name=name_of(address)))
    return [*urls, re_path("", not_found)]


urlpatterns = patterns()
