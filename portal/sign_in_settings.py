"""Django's and django-allauth's settings for sign-in; `portal.settings` imports them all."""

from portal.environment import THIS_MACHINE, endpoint, flag, http_url, invalid, oidc_providers, text

REQUIRE_MFA_FOR_STAFF = flag("REQUIRE_MFA_FOR_STAFF")
OIDC_ISSUER = http_url("OIDC_ISSUER")
OIDC_CLIENT_ID = text("OIDC_CLIENT_ID")
OIDC_CLIENT_SECRET = text("OIDC_CLIENT_SECRET")
OIDC_NAME = text("OIDC_NAME", "single sign-on")
OIDC_CREATE_USERS = flag("OIDC_CREATE_USERS")
OIDC_GROUPS_CLAIM = text("OIDC_GROUPS_CLAIM", "groups")
OIDC_PROVIDERS = oidc_providers("OIDC_PROVIDERS")
if OIDC_ISSUER and not (OIDC_CLIENT_ID and OIDC_CLIENT_SECRET):
    raise invalid("OIDC_ISSUER", "it needs OIDC_CLIENT_ID and OIDC_CLIENT_SECRET, which the provider issues")
if OIDC_ISSUER.startswith("http:") and endpoint(OIDC_ISSUER)[0] != THIS_MACHINE:
    raise invalid(
        "OIDC_ISSUER",
        "it needs https: anyone who can change its responses could sign in as any user",
    )

AUTH_USER_MODEL = "keys.User"
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 12}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
AUTHENTICATION_BACKENDS = ["allauth.account.auth_backends.AuthenticationBackend"]
LOGIN_URL = "account_login"
LOGIN_REDIRECT_URL = "/"
ACCOUNT_ADAPTER = "portal.sign_in.adapters.AccountAdapter"
ACCOUNT_FORMS = {"login": "portal.sign_in.forms.SignInForm"}
ACCOUNT_LOGIN_METHODS = {"username"}
ACCOUNT_SIGNUP_FIELDS = ["username*", "password1*"]
ACCOUNT_EMAIL_VERIFICATION = "none"  # admins or a provider set addresses, never the users themselves
ACCOUNT_SESSION_REMEMBER = True  # for SESSION_COOKIE_AGE
ACCOUNT_PRESERVE_USERNAME_CASING = True
MFA_ADAPTER = "portal.sign_in.adapters.MfaAdapter"
MFA_SUPPORTED_TYPES = ["totp", "webauthn", "recovery_codes"]
MFA_PASSKEY_LOGIN_ENABLED = True
MFA_TOTP_TOLERANCE = 1  # half a minute of clock drift either way
MFA_RECOVERY_CODES_SHOW_ONCE = True
SOCIALACCOUNT_ADAPTER = "portal.sign_in.adapters.ProviderAdapter"
# By a link: the pages' own form-action policy would block a form that leads to the provider.
SOCIALACCOUNT_LOGIN_ON_GET = True
