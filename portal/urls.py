"""Every address of the portal, its own before MLflow's catch-alls.

A process imports it with its first page or API call: it loads all pages. Calls by key, health checks and metrics need
none of them (`portal.calls.dispatcher`, `portal.calls.probes`).
"""

from django.contrib import admin
from django.urls import include, path, re_path
from django.views.generic import RedirectView
from django.views.i18n import set_language
from procrastinate.contrib.django.models import ProcrastinateJob

from keys.admin import alert_pages, invitation_pages, key_usage
from keys.admin.organisations import group_rules
from keys.api import leak_reports
from keys.organisations import exchange
from keys.pages import progress
from portal.api.scim import Scim
from portal.calls import probes
from portal.http import health
from portal.pages import dashboard, docs, home, palette, settings_page
from portal.sign_in import views
from proxy.admin import incident_pages, ledger_pages, pages, publication_pages, usage_pages
from proxy.api import manifests

admin.autodiscover()
admin.site.unregister(ProcrastinateJob)  # the outbox's own workings

urlpatterns = [
    path("", home.home, name="home"),
    path("favicon.ico", home.icon),
    path("account", RedirectView.as_view(pattern_name="account")),
    path("account/language/", set_language, name="set_language"),
    path("account/connection/<str:public_id>", key_usage.connection, name="key-connection"),
    path("account/invitation/", invitation_pages.accept, name="invitation"),
    path("account/invitation/<str:secret>/", invitation_pages.link, name="invitation-link"),
    path("account/", include("portal.sign_in.urls")),
    path("account/", include("portal.account.urls")),
    path("docs", RedirectView.as_view(pattern_name="docs")),
    path("docs/", docs.index, name="docs"),
    path("docs/operations/", docs.operations, name="docs-operations"),
    path("docs/<slug:slug>/", docs.document, name="docs-page"),
    path("admin", RedirectView.as_view(pattern_name="admin:index")),
    path("admin/try/<int:pk>/", admin.site.admin_view(pages.try_call), name="try-call"),
    path("admin/incident/<int:pk>/", admin.site.admin_view(incident_pages.incident_of), name="incident"),
    path(
        "admin/quarantine/<int:pk>/lift/", admin.site.admin_view(incident_pages.lift), name="quarantine-lift"
    ),
    path("admin/alerts/", admin.site.admin_view(alert_pages.alerts), name="alerts"),
    path("admin/alerts/test/", admin.site.admin_view(alert_pages.send_test), name="alerts-test"),
    path("admin/alerts/<int:pk>/settle/", admin.site.admin_view(alert_pages.settle_one), name="alert-settle"),
    path("admin/publications/", admin.site.admin_view(publication_pages.publications), name="publications"),
    path(
        "admin/publications/rule/<int:pk>/",
        admin.site.admin_view(publication_pages.set_rule),
        name="publication-rule",
    ),
    path(
        "admin/publications/<int:pk>/withdraw/",
        admin.site.admin_view(publication_pages.withdraw),
        name="publication-withdraw",
    ),
    path("admin/ledger/", admin.site.admin_view(ledger_pages.verify_ledger), name="verify-ledger"),
    path("admin/group-rules/", admin.site.admin_view(group_rules.group_rules), name="group-rules"),
    path(
        "admin/group-rules/<int:pk>/remove/",
        admin.site.admin_view(group_rules.remove),
        name="group-rule-remove",
    ),
    path("admin/usage/", admin.site.admin_view(usage_pages.usage), name="usage-report"),
    path("admin/usage/find/", admin.site.admin_view(usage_pages.find), name="usage-report-find"),
    path("admin/usage/export/", admin.site.admin_view(usage_pages.export), name="usage-report-export"),
    path("admin/progress/<str:progress_id>/", admin.site.admin_view(progress.progress), name="progress"),
    path("admin/palette/", admin.site.admin_view(palette.palette), name="palette"),
    path("admin/search/", home.gone),  # unfold's, which the palette replaces
    path("admin/login/", views.admin_login),
    path("admin/logout/", views.logout),
    path("admin/password_change/", RedirectView.as_view(pattern_name="account_change_password")),
    path("admin/health/", admin.site.admin_view(dashboard.wellness), name="admin-health"),
    path("admin/settings/", admin.site.admin_view(settings_page.in_force), name="settings-in-force"),
    path("admin/", admin.site.urls),
    path(".well-known/model-signing.json", manifests.public_keys, name="signing-keys"),
    path(".well-known/model-signing-key.pem", manifests.public_key, name="signing-key"),
    path(".well-known/model-signing.pem", manifests.public_key),  # the address until November 2026
    path("leaks", leak_reports.page, name="report-leak"),
    path("api/v1/leaks", leak_reports.program),
    path("api/v1/leaks/", leak_reports.program),
    path("api/v1/token", exchange.exchange, name="portal.token"),
    path("api/v1/token/", exchange.exchange, name="portal.token"),
    path("api/v1/", include("portal.api.urls")),
    re_path(r"^scim/v2(?P<address>(?:/.*)?)$", Scim.as_view(), name="scim"),
    path("health", health.health, name="health"),
    *probes.urlpatterns,
    path("", include("proxy.urls")),
]

handler400 = "portal.pages.home.bad_request"
handler403 = "portal.pages.home.permission_denied"
handler404 = "portal.pages.home.not_found"
handler429 = "portal.pages.home.too_many_attempts"
handler500 = "portal.pages.home.server_error"
