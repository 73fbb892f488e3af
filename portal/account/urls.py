"""The URLs of the account pages. They contain the public ids of keys and calls."""

from django.urls import path, re_path

from portal.account import (
    collecting,
    own_calls,
    own_keys,
    own_registrations,
    own_requests,
    own_versions,
    palette,
    usage,
)
from portal.account.organisations import keys, members, overview, publications, records, trusts

FORM = r"(?P<form>csv|jsonl)"
LOG_FORM = r"csv|jsonl|parquet"

urlpatterns = [
    path("", own_keys.overview, name="account"),
    path("keys/issue/", own_keys.issue, name="account-issue"),
    path("keys/request/", own_requests.request_new, name="account-request-new"),
    path(
        "keys/requests/<str:request_id>/withdraw/",
        own_requests.withdraw_request,
        name="account-request-withdraw",
    ),
    re_path(
        r"^keys/(?P<public_id>key_\w+)/request/(?P<kind>renewal|scope)/\Z",
        own_requests.request_change,
        name="account-request",
    ),
    path("collect/link/<str:secret>/", collecting.link, name="account-collect-link"),
    path("collect/<str:public_id>/", collecting.collect, name="account-collect"),
    path("keys/<str:public_id>/", own_keys.key, name="account-key"),
    path("keys/<str:public_id>/rotate/", own_keys.rotate, name="account-rotate"),
    path("keys/<str:public_id>/end-old-secret/", own_keys.end_old_secret, name="account-end-old-secret"),
    path("keys/<str:public_id>/revoke/", own_keys.revoke, name="account-revoke"),
    path("organisation/", overview.choose, name="choose-organisation"),
    re_path(
        r"^organisations/invitations/(?P<pk>\d{1,18})/(?P<verb>accept|decline)/\Z",
        members.answer,
        name="account-organisation-answer",
    ),
    path("organisations/<str:slug>/", overview.organisation, name="account-organisation"),
    path("organisations/<str:slug>/invite/", members.invite, name="account-organisation-invite"),
    re_path(
        r"^organisations/(?P<slug>[a-z0-9-]+)/invitations/(?P<pk>\d{1,18})/withdraw/\Z",
        members.withdraw,
        name="account-organisation-withdraw",
    ),
    path(
        "organisations/<str:slug>/members/<str:public_id>/",
        members.member,
        name="account-organisation-member",
    ),
    path(
        "organisations/<str:slug>/members/<str:public_id>/remove/",
        members.remove,
        name="account-organisation-remove",
    ),
    path(
        "organisations/<str:slug>/service-users/",
        members.add_service,
        name="account-organisation-service",
    ),
    path(
        "organisations/<str:slug>/hand-over/",
        records.hand_over,
        name="account-organisation-hand-over",
    ),
    re_path(
        rf"^organisations/(?P<slug>[a-z0-9-]+)/(?P<what>calls|registrations|usage)/download\.(?P<file_form>{LOG_FORM})\Z",
        records.download,
        name="account-organisation-download",
    ),
    path(
        "organisations/<str:slug>/publications/",
        publications.publications,
        name="account-organisation-publications",
    ),
    path(
        "organisations/<str:slug>/publications/publish/",
        publications.publish,
        name="account-organisation-publish",
    ),
    re_path(
        r"^organisations/(?P<slug>[a-z0-9-]+)/publications/(?P<pk>\d{1,18})/withdraw/\Z",
        publications.withdraw,
        name="account-organisation-publication-withdraw",
    ),
    path(
        "organisations/<str:slug>/publications/rule/",
        publications.set_rule,
        name="account-organisation-publication-rule",
    ),
    path("organisations/<str:slug>/keys/issue/", keys.issue, name="account-organisation-issue"),
    re_path(
        r"^organisations/(?P<slug>[a-z0-9-]+)/keys/(?P<public_id>key_\w+)/(?P<verb>pause|resume|revoke)/\Z",
        keys.act_on_key,
        name="account-organisation-key",
    ),
    path("organisations/<str:slug>/trusts/", trusts.overview, name="account-trusts"),
    path("organisations/<str:slug>/trusts/add/", trusts.add, name="account-trust-add"),
    path("organisations/<str:slug>/trusts/try/", trusts.trial, name="account-trust-try"),
    path("organisations/<str:slug>/trusts/<str:public_id>/", trusts.change, name="account-trust"),
    path("usage/", usage.usage, name="account-usage"),
    path("usage/report/", usage.report, name="account-usage-report"),
    re_path(rf"^usage/download\.(?P<file_form>{LOG_FORM})\Z", usage.download, name="account-usage-download"),
    path("calls/", own_calls.log, name="account-calls"),
    re_path(rf"^calls/download\.(?P<form>{LOG_FORM})\Z", own_calls.download, name="account-calls-download"),
    path("calls/find/", own_calls.find, name="account-find"),
    path("calls/<str:request_id>/", own_calls.call, name="account-call"),
    path("palette/", palette.palette, name="holder-palette"),
    path("registrations/", own_registrations.ledger, name="account-registrations"),
    re_path(
        rf"^registrations/download\.{FORM}\Z",
        own_registrations.download,
        name="account-registrations-download",
    ),
    path("registrations/version/", own_versions.version, name="account-version"),
    path("registrations/model/", own_registrations.model, name="account-model"),
]
