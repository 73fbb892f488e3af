"""django-allauth's app of OpenID providers, whose code a process loads with the pages (`portal.sign_in.urls`)."""

from allauth.socialaccount.apps import SocialAccountConfig


class SocialAccounts(SocialAccountConfig):  # type: ignore[misc]
    def ready(self) -> None:
        """Only the checks: the providers bring an HTTP client that calls by key do not need."""
        from allauth.socialaccount import checks  # noqa: F401  registers them
