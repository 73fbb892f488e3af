"""The two groups of staff, and what they may do. Made anew after each `migrate`, so that they are always there
and follow the version that runs; nobody edits them."""

from typing import Any

from django.apps import AppConfig
from django.apps import apps as installed

AUDITORS = "Auditors"
KEY_ADMINS = "Key admins"

VIEWS = {
    "keys": ("view_apikey", "view_keyevent", "view_user", "view_organisation"),
    "proxy": ("view_call", "view_calltotal", "view_keylessattempt", "view_registration", "view_owner"),
}
CHANGES = {
    "keys": (
        *("add_apikey", "change_apikey", "add_user", "change_user"),
        *("add_organisation", "change_organisation"),
    ),
    "proxy": ("change_owner",),
}
# By group and app. Neither may touch permissions, groups, staff or superusers: `keys.admin.users` sees to that.
GROUPS: dict[str, dict[str, tuple[str, ...]]] = {
    AUDITORS: VIEWS,
    KEY_ADMINS: {app: (*names, *CHANGES[app]) for app, names in VIEWS.items()},
}


def create_groups(sender: AppConfig, using: str, apps: Any = installed, **options: Any) -> None:
    """Give the groups their permissions on `sender`'s models.

    Called after `migrate` has made these permissions (Django makes them then, not in a migration), and after
    a test's `flush`, which empties the tables that a migration would have filled.
    """
    try:
        group_model, permission_model = apps.get_model("auth", "Group"), apps.get_model("auth", "Permission")
    except LookupError:  # a database migrated in part
        return
    of_app = permission_model.objects.using(using).filter(content_type__app_label=sender.label)
    for name, by_app in GROUPS.items():
        group, _ = group_model.objects.using(using).get_or_create(name=name)
        wanted = of_app.filter(codename__in=by_app.get(sender.label, ()))
        group.permissions.remove(*of_app.exclude(codename__in=by_app.get(sender.label, ())))
        group.permissions.add(*wanted)
