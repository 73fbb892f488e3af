from django.apps import AppConfig, apps
from django.db.models.signals import post_migrate

from keys.rights.groups import VIEWS, create_groups


class KeysConfig(AppConfig):
    name = "keys"
    verbose_name = "API keys"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from keys.alerts import canaries  # models are loaded only now
        from keys.credentials import authentication
        from keys.models.organisations import create_shared

        authentication.canary_listeners.append(canaries.record_use)
        # Where Django itself makes permissions, and after it: its receiver was connected before.
        post_migrate.connect(
            create_shared, sender=apps.get_app_config("keys"), dispatch_uid="keys.models.create_shared"
        )
        for label in VIEWS:
            post_migrate.connect(
                create_groups, sender=apps.get_app_config(label), dispatch_uid=f"keys.rights.groups.{label}"
            )
