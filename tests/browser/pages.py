"""The pages of the portal, as test_every_page.py looks at them."""

ORGANISATION_KEY = "account/^organisations/(?P<slug>[a-z0-9-]+)/"
ORGANISATION_KEY += r"keys/(?P<public_id>key_\w+)/(?P<verb>pause|resume|revoke)/\Z"

# By address in the portal's table: where to go, as whom ("": nobody).
PAGES: dict[str, tuple[str, str]] = {
    "": ("/", ""),
    "docs/": ("/docs/", ""),
    "docs/<slug:slug>/": ("/docs/quickstart/", ""),
    "docs/operations/": ("/docs/operations/", ""),
    "leaks": ("/leaks", ""),
    "api/v1/docs/": ("/api/v1/docs/", "alice"),
    "account/login/": ("/account/login/", ""),
    "account/password/reset/": ("/account/password/reset/", ""),
    "account/invitation/": ("{invitation}", ""),
    "account/2fa/": ("/account/2fa/", "alice"),
    "account/": ("/account/", "alice"),
    "account/keys/issue/": ("/account/keys/issue/", "bob"),
    "account/keys/request/": ("/account/keys/request/", "bob"),
    r"account/^keys/(?P<public_id>key_\w+)/request/(?P<kind>renewal|scope)/\Z": (
        "/account/keys/{key_id}/request/scope/",
        "alice",
    ),
    "account/collect/<str:public_id>/": ("/account/collect/{prepared_id}/", "alice"),
    "account/keys/<str:public_id>/": ("/account/keys/{key_id}/", "alice"),
    "account/keys/<str:public_id>/rotate/": ("/account/keys/{key_id}/rotate/", "alice"),
    "account/keys/<str:public_id>/end-old-secret/": ("/account/keys/{rotated_id}/end-old-secret/", "alice"),
    "account/keys/<str:public_id>/revoke/": ("/account/keys/{key_id}/revoke/", "alice"),
    "account/organisations/<str:slug>/": ("/account/organisations/lab/", "alice"),
    **{
        f"account/organisations/<str:slug>/{end}/": (f"/account/organisations/lab/{end}/", "alice")
        for end in (
            *("hand-over", "invite", "service-users", "keys/issue", "publications", "publications/publish"),
            *("trusts", "trusts/add", "trusts/try"),
        )
    },
    **{
        f"account/organisations/<str:slug>/members/<str:public_id>/{end}": (
            f"/account/organisations/lab/members/{{member}}/{end}",
            "alice",
        )
        for end in ("", "remove/")
    },
    "account/organisations/<str:slug>/trusts/<str:public_id>/": (
        "/account/organisations/lab/trusts/{lab_trust}/",
        "alice",
    ),
    ORGANISATION_KEY: ("/account/organisations/lab/keys/{lab_key}/revoke/", "alice"),
    "account/usage/": ("/account/usage/", "alice"),
    "account/calls/": ("/account/calls/", "alice"),
    "account/calls/<str:request_id>/": ("/account/calls/{request_id}/", "alice"),
    "account/registrations/": ("/account/registrations/", "alice"),
    "account/registrations/version/": (
        "/account/registrations/version/?name={model}&version=1",
        "alice",
    ),
    "account/registrations/model/": ("/account/registrations/model/?name={model}", "alice"),
    "account/usage/report/": ("/account/usage/report/?each=day", "alice"),
    "admin/publications/": ("/admin/publications/", "alice"),
    "admin/ledger/": ("/admin/ledger/", "alice"),
    "admin/usage/": ("/admin/usage/", "alice"),
    "admin/": ("/admin/", "alice"),
    "admin/settings/": ("/admin/settings/", "alice"),
    "admin/admin/logentry/": ("/admin/admin/logentry/", "alice"),
    "admin/try/<int:pk>/": ("/admin/try/{key}/", "alice"),
    "admin/incident/<int:pk>/": ("/admin/incident/{key}/", "alice"),
    "admin/alerts/": ("/admin/alerts/?state=all", "alice"),
    "admin/group-rules/": ("/admin/group-rules/", "alice"),
    "admin/quarantine/<int:pk>/lift/": ("/admin/quarantine/{registration}/lift/", "alice"),
    "admin/proxy/owner/": ("/admin/proxy/owner/", "alice"),
    "admin/proxy/owner/hand-over/": ("/admin/proxy/owner/hand-over/", "alice"),
    "admin/proxy/owner/share/": ("/admin/proxy/owner/share/", "alice"),
    "admin/proxy/owner/<path:object_id>/change/": ("/admin/proxy/owner/{owner}/change/", "alice"),
    "admin/proxy/registration/": ("/admin/proxy/registration/", "alice"),
    "admin/proxy/registration/model/": ("/admin/proxy/registration/model/?name={model}", "alice"),
    "admin/proxy/registration/<path:object_id>/change/": (
        "/admin/proxy/registration/{registration}/change/",
        "alice",
    ),
    "admin/proxy/call/": ("/admin/proxy/call/", "alice"),
    "admin/proxy/call/<path:object_id>/change/": ("/admin/proxy/call/{call}/change/", "alice"),
    "admin/keys/keyevent/": ("/admin/keys/keyevent/", "alice"),
    "admin/keys/user/": ("/admin/keys/user/", "alice"),
    "admin/keys/user/add/": ("/admin/keys/user/add/", "alice"),
    "admin/keys/user/<path:object_id>/change/": ("/admin/keys/user/{user}/change/", "alice"),
    "admin/keys/user/<id>/password/": ("/admin/keys/user/{user}/password/", "alice"),
    "admin/keys/user/<int:pk>/invite/": ("/admin/keys/user/{user}/invite/", "alice"),
    "admin/keys/user/<int:pk>/withdraw/": ("/admin/keys/user/{invited}/withdraw/", "alice"),
    "admin/keys/user/<int:pk>/remove_factors/": ("/admin/keys/user/{user}/remove_factors/", "alice"),
    "admin/keys/user/<int:pk>/deactivate/": ("/admin/keys/user/{user}/deactivate/", "alice"),
    "admin/keys/user/<int:pk>/reactivate/": ("/admin/keys/user/{user}/reactivate/", "alice"),
    "admin/keys/trust/": ("/admin/keys/trust/", "alice"),
    "admin/keys/organisation/": ("/admin/keys/organisation/", "alice"),
    "admin/keys/organisation/add/": ("/admin/keys/organisation/add/", "alice"),
    "admin/keys/organisation/<path:object_id>/change/": (
        "/admin/keys/organisation/{lab}/change/",
        "alice",
    ),
    **{
        f"admin/keys/organisation/<int:pk>/{act}/": (f"/admin/keys/organisation/{{lab}}/{act}/", "alice")
        for act in ("limits", "members/add", "close")
    },
    **{
        f"admin/keys/organisation/<int:pk>/members/<int:member>/{act}/": (
            f"/admin/keys/organisation/{{lab}}/members/{{membership}}/{act}/",
            "alice",
        )
        for act in ("role", "remove")
    },
    "admin/keys/apikey/": ("/admin/keys/apikey/", "alice"),
    "admin/keys/apikey/requests/": ("/admin/keys/apikey/requests/", "alice"),
    "admin/keys/apikey/requests/<int:pk>/": ("/admin/keys/apikey/requests/{request}/", "alice"),
    "admin/keys/apikey/prepared/": ("/admin/keys/apikey/prepared/", "alice"),
    "admin/keys/apikey/prepared/<int:pk>/withdraw/": (
        "/admin/keys/apikey/prepared/{prepared}/withdraw/",
        "alice",
    ),
    "admin/keys/apikey/add/": ("/admin/keys/apikey/add/", "alice"),
    "admin/keys/apikey/<path:object_id>/change/": ("/admin/keys/apikey/{key}/change/", "alice"),
    "admin/keys/apikey/<int:pk>/end_old_secret/": ("/admin/keys/apikey/{rotated}/end_old_secret/", "alice"),
    **{
        f"admin/keys/apikey/<int:pk>/{act}/": (f"/admin/keys/apikey/{{key}}/{act}/", "alice")
        for act in ("rights", "pause", "resume", "rotate", "revoke")
    },
}
