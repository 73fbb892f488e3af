"""What one of the web, the API and the commands can do, the others can too, or this says why not.

A page, an address of the API or a command that is not in this table fails here: whoever adds one decides what the
other two are to do.
"""

from dataclasses import dataclass
from pathlib import Path

import pytest
from django.urls import get_resolver

from portal.api_schema import schema

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, kw_only=True)
class Can:
    """What can be done, by URL names of pages, operations of the API, and commands. `because`: why one lacks it."""

    web: str = ""
    api: str = ""
    command: str = ""
    because: str = ""


KEY = "admin:keys_apikey_"
CAPABILITIES = {
    "see and search keys": Can(
        web=f"{KEY}changelist {KEY}export {KEY}change {KEY}find account account-key palette",
        api="keys_list keys_read",
        command="list_keys",
    ),
    "issue a key": Can(web=f"{KEY}add account-issue", api="keys_issue", command="issue_key"),
    "change a key's rights": Can(web=f"{KEY}rights", api="keys_change", command="change_key"),
    "rotate a key": Can(web=f"{KEY}rotate account-rotate", api="keys_rotate", command="rotate_key"),
    "pause a key": Can(web=f"{KEY}pause", api="keys_pause", command="pause_key"),
    "resume a key": Can(web=f"{KEY}resume", api="keys_resume", command="resume_key"),
    "revoke a key": Can(web=f"{KEY}revoke account-revoke", api="keys_revoke", command="revoke_key"),
    "see what happened to keys": Can(
        web="admin:keys_keyevent_changelist admin:keys_keyevent_change admin:keys_keyevent_export "
        f"admin:keys_keyevent_history {KEY}history",
        api="events_list keys_events",
        command="list_events",
    ),
    "try a call": Can(web="try-call", api="keys_try", command="may"),
    "see what a leaked key did": Can(web="incident", api="keys_touched", command="blast_radius"),
    "quarantine versions": Can(web="incident", api="keys_quarantine", command="quarantine"),
    "see users": Can(
        web="admin:keys_user_changelist admin:keys_user_export admin:keys_user_change admin:keys_user_history",
        api="users_list users_read",
        command="list_users",
    ),
    "invite a user": Can(web="admin:keys_user_invite", api="users_invite", command="invite_user"),
    "withdraw an invitation": Can(
        web="admin:keys_user_withdraw",
        api="users_withdraw_invitation",
        command="invite_user",  # a new link ends the one before
    ),
    "add a user": Can(web="admin:keys_user_add", api="users_add", command="issue_key"),
    "shut a user out": Can(
        web="admin:keys_user_deactivate", api="users_deactivate", command="deactivate_user"
    ),
    "let a user in again": Can(
        web="admin:keys_user_reactivate", api="users_reactivate", command="deactivate_user"
    ),
    "help who lost phone and recovery codes": Can(
        web="admin:keys_user_remove_factors",
        command="remove_second_factors",
        because="A key that is stolen must not open its user's account.",
    ),
    "see owners": Can(
        web="admin:proxy_owner_changelist admin:proxy_owner_export admin:proxy_owner_change admin:proxy_owner_history",
        api="owners_list",
        because="A command would print millions of rows; hand_over --dry-run counts a user's.",
    ),
    "hand over": Can(web="admin:proxy_owner_hand_over", api="users_hand_over", command="hand_over"),
    "share an experiment": Can(
        web="admin:proxy_owner_share", api="experiments_share", command="share_experiment"
    ),
    "see calls": Can(
        web="admin:proxy_call_changelist admin:proxy_call_change admin:proxy_call_find admin:proxy_call_history "
        "account-calls account-call account-find",
        api="calls_list calls_read",
        command="list_calls",
    ),
    "export calls": Can(
        web="admin:proxy_call_export account-calls-download", api="calls_export", command="list_calls"
    ),
    "see usage": Can(web="admin:index account-usage", api="usage", command="usage"),
    "see registrations": Can(
        web="admin:proxy_registration_changelist admin:proxy_registration_change admin:proxy_registration_find "
        "admin:proxy_registration_model admin:proxy_registration_history account-registrations account-model",
        api="registrations_list registrations_read",
        command="list_registrations",
    ),
    "export registrations": Can(
        web="admin:proxy_registration_export account-registrations-download",
        api="registrations_export",
        command="list_registrations",
    ),
    "check the ledger": Can(
        api="ledger_head ledger_verify",
        command="verify_ledger",
        because="Who checks it wants the answer from outside the portal's pages, and keeps heads in files.",
    ),
    "see how the portal does": Can(web="admin:index admin-health", api="health", command="doctor"),
    "see what administrators did in the pages": Can(
        web="admin:admin_logentry_changelist admin:admin_logentry_export admin:admin_logentry_change "
        "admin:admin_logentry_history",
        api="admin_log_list",
        because="Commands are called beside the database; what was done to keys is told by list_events.",
    ),
    "see who I am": Can(web="account", api="me", because="The command line is nobody in particular."),
    "wait for a key's first call": Can(web="key-connection", api="keys_read", command="list_keys"),
    "introspect a key": Can(api="introspect", because="Other services ask it; people search for the key."),
    "see settings in force": Can(
        web="settings-in-force",
        api="settings",
        because="A command would tell its own environment, which need not be the running portal's.",
    ),
    "run the portal": Can(
        command="up partitions reconcile mlflow_table link_identity alerts leak_patterns",
        because="For the machine that it runs on, and who runs it.",
    ),
}
# Not about keys, users or records: signing in and one's own password, documents, and what Django's admin brings
# along and the portal closes (nobody adds, deletes or edits by the generic forms).
OTHER_PAGES = (
    "account_",
    "mfa_",
    "openid_connect_",
    "socialaccount_",
    "docs",
    "home",
    "admin:auth_user_password",
)
OTHER_NAMES = {
    "admin:login", "admin:logout", "admin:password_change", "admin:password_change_done", "admin:autocomplete",
    "admin:jsi18n", "admin:admin_logentry_add",
    "admin:view_on_site", "admin:app_list", "admin:search", "invitation", "invitation-link",
}  # fmt: skip
CLOSED = ("_delete",)
NEVER_ADDED = {
    f"admin:{name}_add" for name in ("proxy_owner", "proxy_registration", "proxy_call", "keys_keyevent")
}


def pages(resolver=None, prefix: str = "", space: str = ""):
    """The names of all pages under /admin/ and /account/."""
    for pattern in (resolver or get_resolver()).url_patterns:
        path = prefix + str(pattern.pattern)
        if hasattr(pattern, "url_patterns"):
            yield from pages(pattern, path, pattern.namespace or space)
        elif path.startswith(("admin", "account")) and pattern.name:
            yield f"{space}:{pattern.name}" if space else pattern.name


def is_other(name: str) -> bool:
    return name.startswith(OTHER_PAGES) or name in OTHER_NAMES or name in NEVER_ADDED or name.endswith(CLOSED)


def table(side: str) -> set[str]:
    return {name for can in CAPABILITIES.values() for name in getattr(can, side).split()}


def operations() -> set[str]:
    return {
        operation["operationId"] for methods in schema()["paths"].values() for operation in methods.values()
    }


def commands() -> set[str]:
    return {
        file.stem
        for package in ("keys", "proxy", "portal")
        for file in (ROOT / package / "management" / "commands").glob("[a-z]*.py")
    }


def test_every_page_is_in_the_table():
    assert {name for name in pages() if not is_other(name)} - table("web") == set()


def test_every_operation_of_the_api_is_in_the_table():
    assert operations() - table("api") == set()


def test_every_command_is_in_the_table():
    assert commands() - table("command") == set()


def test_the_table_names_nothing_that_is_not_there():
    assert table("api") - operations() == set()
    assert table("command") - commands() == set()
    assert table("web") - set(pages()) <= {"settings-in-force"}


@pytest.mark.parametrize("name", CAPABILITIES)
def test_what_one_can_do_the_others_can_or_the_table_says_why_not(name):
    can = CAPABILITIES[name]

    assert bool(can.because) == (not (can.web and can.api and can.command)), name
