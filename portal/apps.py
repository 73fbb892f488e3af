from django.apps import AppConfig


class PortalConfig(AppConfig):
    name = "portal"
    verbose_name = "Portal"

    def ready(self) -> None:
        from portal import checks  # noqa: F401  registers them
        from proxy.upstream import client, isolation

        client.workspace_listeners.append(isolation.require)
