"""What people can do in the portal: by which pages, operations of the API and commands (test_parity.py)."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Can:
    """What can be done, by URL names of pages (`name.field` for what the page's form edits), operations of the API, and
    commands with the options that it takes. `because`: why one lacks it."""

    web: str = ""
    api: str = ""
    command: str = ""
    because: str = ""


KEY = "admin:keys_apikey_"
ORGANISATION = "admin:keys_organisation_"
CAPABILITIES = {
    "see and search keys": Can(
        web=f"{KEY}changelist {KEY}export {KEY}change {KEY}find account account-key palette holder-palette",
        api="keys_list keys_read",
        command="list_keys",
    ),
    "issue a key": Can(web=f"{KEY}add account-issue", api="keys_issue", command="issue_key"),
    "take over keys of another system": Can(
        command="import_keys --dry-run",
        because="The file has secrets, and the pepper is a setting: an operator does it once (docs/moving-in.md).",
    ),
    "prepare a key that its holder collects": Can(
        web=f"{KEY}add admin:keys_user_add", api="prepared_keys_prepare", command="issue_key --collect"
    ),
    "see keys that wait to be collected": Can(
        web=f"{KEY}prepared {KEY}renew_prepared account", api="prepared_keys_list", command="prepared_keys"
    ),
    "withdraw a key before it is collected": Can(
        web=f"{KEY}withdraw_prepared", api="prepared_keys_withdraw", command="prepared_keys --withdraw"
    ),
    "collect a key": Can(
        web="account-collect account-collect-link",
        because="Its holder does it, signed in: neither a key nor a shell is anybody in particular.",
    ),
    "request a key, a later expiry or more rights": Can(
        web="account-request account-request-new",
        api="key_requests_ask",
        because="Who has a shell issues and changes keys.",
    ),
    "withdraw one's own request": Can(
        web="account-request-withdraw",
        api="key_requests_withdraw",
        because="Its holder does it, signed in: a shell is nobody in particular.",
    ),
    "see requests of key holders": Can(
        web=f"{KEY}requests {KEY}request admin:index account", api="key_requests_list", command="key_requests"
    ),
    "approve a request": Can(
        web=f"{KEY}approve_request", api="key_requests_approve", command="key_requests --approve"
    ),
    "decline a request": Can(
        web=f"{KEY}request", api="key_requests_decline", command="key_requests --decline --reason"
    ),
    "change a key's rights": Can(web=f"{KEY}rights", api="keys_change", command="change_key"),
    "rotate a key": Can(web=f"{KEY}rotate account-rotate", api="keys_rotate", command="rotate_key"),
    "see who uses an old secret": Can(
        web=f"{KEY}change account-key", api="keys_old_secret", command="end_old_secret --show"
    ),
    "end an old secret": Can(
        web=f"{KEY}end_old_secret account-end-old-secret", api="keys_end_old_secret", command="end_old_secret"
    ),
    "pause a key": Can(web=f"{KEY}pause", api="keys_pause", command="pause_key"),
    "resume a key": Can(web=f"{KEY}resume", api="keys_resume", command="resume_key"),
    "revoke a key": Can(web=f"{KEY}revoke account-revoke", api="keys_revoke", command="revoke_key"),
    "see what happened to keys": Can(
        web="admin:keys_keyevent_changelist admin:keys_keyevent_change "
        f"admin:keys_keyevent_history {KEY}history",
        api="events_list keys_events",
        command="list_events",
    ),
    "export what happened to keys": Can(
        web="admin:keys_keyevent_export",
        command="list_events --csv",
        because="Programs read the list, page by page: it has more than the file.",
    ),
    "see alerts, and who was notified": Can(web="alerts", api="alerts_list", command="list_alerts"),
    "mark an alert as settled": Can(web="alert-settle", api="alerts_settle", command="alerts --settle"),
    "send a test alert": Can(web="alerts-test", api="alerts_test", command="alerts --test"),
    "report a key that was found": Can(
        web="report-leak",
        api="api/v1/leaks",
        because="Who finds one has no account here, and no shell; who has a shell revokes the key.",
    ),
    "try a call": Can(web="try-call", api="keys_try", command="may"),
    "see what a leaked key did": Can(web="incident", api="keys_touched", command="blast_radius"),
    "see the files that a leaked key wrote": Can(
        web="incident", api="keys_files keys_files_export", command="blast_radius --files"
    ),
    "quarantine versions": Can(web="incident progress", api="keys_quarantine", command="quarantine"),
    "lift a quarantine": Can(web="quarantine-lift", api="quarantine_lift", command="quarantine --lift"),
    "see organisations": Can(
        web=f"{ORGANISATION}changelist {ORGANISATION}export {ORGANISATION}change {ORGANISATION}history "
        "account-organisation account",
        api="organisations_list organisations_read",
        command="organisation",
    ),
    "create, change and close an organisation": Can(
        web=f"{ORGANISATION}add {ORGANISATION}limits {ORGANISATION}close",
        api="organisations_create organisations_change organisations_close",
        command="organisation",
    ),
    "add a member without an invitation": Can(
        web=f"{ORGANISATION}add_member",
        api="organisations_add_member",
        command="organisation",
    ),
    "invite a member": Can(
        web="account-organisation-invite account-organisation-withdraw",
        api="organisations_invite",
        because="Who has a shell adds the member.",
    ),
    "answer an invitation into an organisation": Can(
        web="account-organisation-answer account",
        because="The invited person does it, signed in.",
    ),
    "change and remove members": Can(
        web=f"{ORGANISATION}role {ORGANISATION}remove_member "
        "account-organisation-member account-organisation-remove",
        api="organisations_set_role organisations_remove_member",
        command="organisation",
    ),
    "add a service user": Can(
        web="account-organisation-service",
        api="organisations_add_service_user",
        because="Who has a shell issues keys to any user.",
    ),
    "manage an organisation's keys": Can(
        web="account-organisation-issue account-organisation-key",
        because="For its maintainers; staff have the API and commands for all keys.",
    ),
    "see publications, and who reads them": Can(
        web="account-organisation-publications publications",
        api="organisations_publications",
        command="publish_model",
    ),
    "see what other organisations publish for one": Can(
        web="account-organisation-publications",
        api="organisations_readable",
        command="publish_model --readable",
    ),
    "publish a model": Can(
        web="account-organisation-publish", api="organisations_publish", command="publish_model --dry-run"
    ),
    "withdraw a publication": Can(
        web="account-organisation-publication-withdraw publication-withdraw",
        api="organisations_withdraw",
        command="publish_model --withdraw",
    ),
    "set which versions may be published": Can(
        web="account-organisation-publication-rule publication-rule",
        api="organisations_set_publication_rule",
        command="publish_model --rule",
    ),
    "exchange a token for a key": Can(
        api="api/v1/token",
        because="A job does it with the token of its platform; a person has no such token.",
    ),
    "see an organisation's trusts": Can(
        web="account-trusts", api="organisations_trusts organisations_read_trust", command="trusts"
    ),
    "see the trusts of all organisations": Can(
        web="admin:keys_trust_changelist admin:keys_trust_export admin:keys_trust_change "
        "admin:keys_trust_history",
        api="trusts_list",
        command="trusts --state --issuer",
    ),
    "add a trust": Can(web="account-trust-add", api="organisations_add_trust", command="create_trust"),
    "change a trust": Can(web="account-trust", api="organisations_change_trust", command="trusts --change"),
    "try a token with an organisation's trusts": Can(
        web="account-trust-try", api="organisations_try_token", command="trusts --try"
    ),
    "see group rules": Can(web="group-rules", api="group_rules_list", command="group_rules"),
    "add a group rule": Can(web="group-rules", api="group_rules_add", command="group_rules --add --role"),
    "remove a group rule": Can(
        web="group-rule-remove", api="group_rules_remove", command="group_rules --remove"
    ),
    "see users": Can(
        web="admin:keys_user_changelist admin:keys_user_export admin:keys_user_change admin:keys_user_history",
        api="users_list users_read",
        command="list_users",
    ),
    "invite a user": Can(web="admin:keys_user_invite", api="users_invite", command="invite_user"),
    "withdraw an invitation": Can(
        web="admin:keys_user_withdraw",
        api="users_withdraw_invitation",
        command="invite_user --withdraw",
    ),
    "add a user": Can(web="admin:keys_user_add", api="users_add", command="issue_key invite_user"),
    "rename a user": Can(
        web="admin:keys_user_change.username",
        because="Programs know users by their ids, which stay (docs/staff.md).",
    ),
    "correct a user's address": Can(
        web="admin:keys_user_change.email",
        because="Links and alerts go there: a person who is signed in, and is named for it (docs/staff.md).",
    ),
    "give a user rights in the portal": Can(
        web="admin:keys_user_change.role admin:keys_user_change.user_permissions",
        api="users_role",
        command="set_role",
    ),
    "set a user's password": Can(
        web="admin:auth_user_password_change",
        because="Programs make a link, with which the user alone knows the password (docs/staff.md).",
    ),
    "say who an identity of the provider is": Can(
        command="link_identity",
        because="Whoever links an identity to a user can be that user; a verified address links by itself.",
    ),
    "shut a user out": Can(
        web="admin:keys_user_deactivate", api="users_deactivate", command="deactivate_user"
    ),
    "let a user in again": Can(
        web="admin:keys_user_reactivate", api="users_reactivate", command="deactivate_user --undo"
    ),
    "help who lost phone and recovery codes": Can(
        web="admin:keys_user_remove_factors",
        command="remove_second_factors",
        because="A key that is stolen must not open its user's account.",
    ),
    "rotate the pepper of second factors": Can(
        command="reencrypt_second_factors",
        because="A step of a rotation of KEY_PEPPERS, by an operator with the portal's settings (docs/recovery.md).",
    ),
    "see owners": Can(
        web="admin:proxy_owner_changelist admin:proxy_owner_export admin:proxy_owner_change admin:proxy_owner_history",
        api="owners_list",
        because="A command would print millions of rows; hand_over --dry-run counts a user's.",
    ),
    "hand over": Can(
        web="admin:proxy_owner_hand_over progress account-organisation-hand-over",
        api="users_hand_over organisations_hand_over",
        command="hand_over --organisation",
    ),
    "share an experiment": Can(
        web="admin:proxy_owner_share", api="experiments_share", command="share_experiment"
    ),
    "see calls": Can(
        web="admin:proxy_call_changelist admin:proxy_call_change admin:proxy_call_find admin:proxy_call_history "
        "account-calls account-call account-find",
        api="calls_list calls_read",
        command="list_calls",
    ),
    "see why a request became no call": Can(
        web="account-find account-call", api="uncalled_requests_read", command="uncalled_request"
    ),
    "export calls": Can(
        web="admin:proxy_call_export account-calls-download account-organisation-download",
        api="calls_export",
        command="list_calls --csv",
    ),
    "see usage": Can(
        web="admin:index usage-report account-usage account-usage-report", api="usage", command="usage"
    ),
    "export usage": Can(
        web="usage-report-export account-usage-download",
        command="usage --csv",
        because="Programs read the sums as JSON, by the same groups.",
    ),
    "see registrations": Can(
        web="admin:proxy_registration_changelist admin:proxy_registration_change admin:proxy_registration_find "
        "admin:proxy_registration_model admin:proxy_registration_history account-registrations account-model",
        api="registrations_list registrations_read",
        command="list_registrations",
    ),
    "export registrations": Can(
        web="admin:proxy_registration_export account-registrations-download",
        api="registrations_export",
        command="list_registrations --csv",
    ),
    "see the files of a version, as registered and now": Can(
        web="admin:proxy_registration_change account-version signing-key signing-keys",
        api="manifests_read manifests_export manifests_signature",
        command="verify_version --csv export_signature",
    ),
    "record digests of files that the portal has not seen": Can(
        command="hash_artifacts --name",
        because="It reads every byte of a model's versions, which may take hours.",
    ),
    "check the ledger": Can(
        web="verify-ledger",
        api="ledger_head ledger_verify",
        command="verify_ledger",
    ),
    "have the ledger time-stamped": Can(
        command="stamp_ledger",
        because="The portal does it every day; the command is for who keeps the time-stamps in files, too.",
    ),
    "see how the portal does": Can(web="admin:index admin-health", api="health", command="doctor"),
    "see what administrators did in the pages": Can(
        web="admin:admin_logentry_changelist admin:admin_logentry_export admin:admin_logentry_change "
        "admin:admin_logentry_history",
        api="admin_log_list",
        because="Who has a shell reads the pages too; what was done to keys is told by list_events.",
    ),
    "see who I am": Can(web="account", api="me", because="The command line is nobody in particular."),
    "wait for a key's first call": Can(web="key-connection", api="keys_read", command="list_keys"),
    "introspect a key": Can(api="introspect", because="Other services ask it; people search for the key."),
    "see settings in force": Can(
        web="settings-in-force",
        api="settings",
        because="A command would tell its own environment, which need not be the running portal's.",
    ),
    "settle the ledger with MLflow": Can(
        command="reconcile",
        because="It reads the whole of MLflow, and what to import or write off is decided by who runs both.",
    ),
    "move a registry into organisations": Can(
        command="organise",
        because="It moves rows and files, while nobody may call: who runs the portal and MLflow does it.",
    ),
    "run the portal": Can(
        command="up partitions mlflow_table alerts leak_patterns",
        because="For the machine that it runs on, and who runs it.",
    ),
}
# Not about keys, users or records: signing in and what is one's own there, documents, MLflow's addresses, what machines
# ask about the portal, and what Django's admin brings along and the portal closes (nobody adds, deletes or edits by the
# generic forms).
OTHER = """
    account_login account_logout account_inactive account_signup account_reauthenticate account_change_password
    account_set_password account_reset_password account_reset_password_done account_reset_password_from_key
    account_reset_password_from_key_done invitation invitation-link
    provider-by-email
    socialaccount_login_error socialaccount_login_cancelled openid_connect_login openid_connect_callback
    mfa_index mfa_authenticate mfa_reauthenticate mfa_activate_totp mfa_deactivate_totp
    mfa_view_recovery_codes mfa_generate_recovery_codes mfa_download_recovery_codes
    mfa_list_webauthn mfa_add_webauthn mfa_reauthenticate_webauthn mfa_remove_webauthn mfa_edit_webauthn
    mfa_login_webauthn
    home set_language scim choose-organisation docs docs-operations docs-page
    mlflow api-mlflow metrics health health-live health-ready health-mlflow
    admin:login admin:logout admin:password_change admin:password_change_done admin:autocomplete admin:jsi18n
    admin:view_on_site admin:app_list admin:search usage-report-find
    admin:proxy_owner_add admin:proxy_registration_add admin:proxy_call_add admin:keys_keyevent_add
    admin:admin_logentry_add
    admin:proxy_owner_delete admin:proxy_registration_delete admin:proxy_call_delete admin:keys_keyevent_delete
    admin:admin_logentry_delete admin:keys_user_delete admin:keys_apikey_delete
    admin:keys_organisation_delete admin:keys_trust_add admin:keys_trust_delete
"""
OTHER_OPERATIONS = {"api/v1", "api/v1/schema", "api/v1/docs"}  # what the API says of itself
