"""The sign-in URLs: the subset of django-allauth's that the portal supports. Users cannot sign up, change their e-mail
address or link an identity themselves."""

from allauth.account import views
from allauth.socialaccount import views as provider
from allauth.socialaccount.providers import registry
from django.urls import include, path, re_path

from portal.sign_in import views as ours

registry.load()
urlpatterns = [
    path("login/", ours.sign_in, name="account_login"),
    path("login/provider/by-email/", ours.provider_by_email, name="provider-by-email"),
    path("login/provider/error/", provider.login_error, name="socialaccount_login_error"),
    path("login/provider/cancelled/", provider.login_cancelled, name="socialaccount_login_cancelled"),
    path("login/<provider_id>/", ours.provider_login, name="openid_connect_login"),
    path("login/<provider_id>/callback/", ours.provider_callback, name="openid_connect_callback"),
    path("logout/", views.logout, name="account_logout"),
    path("inactive/", views.account_inactive, name="account_inactive"),
    path("signup/", views.signup, name="account_signup"),  # says that sign-up is closed
    path("reauthenticate/", views.reauthenticate, name="account_reauthenticate"),
    path("password/change/", views.password_change, name="account_change_password"),
    path("password/set/", views.password_set, name="account_set_password"),
    path("password/reset/", ours.password_reset, name="account_reset_password"),
    path("password/reset/done/", views.password_reset_done, name="account_reset_password_done"),
    path(
        "password/reset/key/done/",
        views.password_reset_from_key_done,
        name="account_reset_password_from_key_done",
    ),
    re_path(
        r"^password/reset/key/(?P<uidb36>[0-9A-Za-z]+)-(?P<key>.+)/$",
        views.password_reset_from_key,
        name="account_reset_password_from_key",
    ),
    path("2fa/", include("allauth.mfa.urls")),
]
