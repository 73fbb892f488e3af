"""The columns of the lists as files, by name."""

from django.contrib.admin.models import LogEntry

from keys.actions.history import who_did
from keys.formatting.csv_export import Columns
from keys.formatting.writing import ENGLISH, Writing
from keys.lists.event_words import describe_actor, describe_event
from keys.models import ApiKey, Organisation

# `key`: masked, as everywhere.
KEY_COLUMNS: Columns = {
    "id": lambda key: key.public_id,
    "name": lambda key: key.name,
    "key": lambda key: key.masked,
    "owner": lambda key: key.owner.username,
    "owner_id": lambda key: key.owner.public_id,
    "state": lambda key: key.state,
    "environment": lambda key: key.environment,
    "scopes": lambda key: " ".join(key.scopes),
    "any_owner": lambda key: key.any_owner,
    "networks": lambda key: " ".join(key.networks),
    "patterns": lambda key: " ".join(key.patterns),
    "requests_per_minute": lambda key: key.requests_per_minute,
    "monthly_requests": lambda key: key.monthly_requests,
    "monthly_bytes": lambda key: key.monthly_bytes,
    "purpose": lambda key: key.purpose,
    "created_at": lambda key: key.created_at,
    "created_by": lambda key: key.created_by.username if key.created_by else "",
    "expires_at": lambda key: key.expires_at,
    "last_used_at": lambda key: key.used_at,
    "paused_at": lambda key: key.paused_at,
    "revoked_at": lambda key: key.revoked_at,
    "revoked_reason": lambda key: key.revoked_reason,
    "organisation": lambda key: key.organisation.slug,
    "only_own": lambda key: key.only_own,
}
EVENT_COLUMNS: Columns = {
    "at": lambda event: event.at.replace(microsecond=0),
    "what": lambda event: event.kind,
    "key_id": lambda event: event.key.public_id,
    "key": lambda event: event.key.name,
    "owner": lambda event: event.key.owner.username,
    "who": lambda event: describe_actor(event),
    "address": lambda event: event.address,
    "details": lambda event: "; ".join(describe_event(event)),
}
ADMIN_LOG_COLUMNS: Columns = {
    "at": lambda entry: entry.action_time.replace(microsecond=0),
    "who": who_did,
    "about": lambda entry: entry.object_repr,
    "kind": lambda entry: entry.content_type.name if entry.content_type else "",
    "details": lambda entry: describe_entry(entry),
}
USER_COLUMNS: Columns = {
    "username": lambda user: user.username,
    "id": lambda user: user.public_id,
    "email": lambda user: user.email,
    "account": lambda user: "active" if user.is_active else "deactivated",
    "role": lambda user: user.role.label,
    "groups": lambda user: "; ".join(sorted(group.name for group in user.groups.all())),
    "permissions": lambda user: " ".join(sorted(each.codename for each in user.user_permissions.all())),
    "keys": lambda user: user.keys_held,
    "created_at": lambda user: user.date_joined,
    "last_sign_in": lambda user: user.last_login,
}
ORGANISATION_COLUMNS: Columns = {
    "slug": lambda organisation: organisation.slug,
    "name": lambda organisation: organisation.name,
    "members": lambda organisation: organisation.member_count,
    "keys": lambda organisation: organisation.key_count,
    "calls_30_days": lambda organisation: organisation.calls_in_month,
    "requests_per_minute": lambda organisation: organisation.requests_per_minute,
    "monthly_requests": lambda organisation: organisation.monthly_requests,
    "monthly_bytes": lambda organisation: organisation.monthly_bytes,
    "created_at": lambda organisation: organisation.created_at,
    "created_by": lambda organisation: organisation.created_by.username if organisation.created_by else "",
    "closed_at": lambda organisation: organisation.closed_at,
}
TRUST_COLUMNS: Columns = {
    "id": lambda trust: trust.key.public_id,
    "name": lambda trust: trust.key.name,
    "organisation": lambda trust: trust.key.organisation.slug,
    "owner": lambda trust: trust.key.owner.username,
    "issuer": lambda trust: trust.issuer,
    "audience": lambda trust: trust.audience,
    "conditions": lambda trust: " ".join(trust.describe_conditions()),
    "state": lambda trust: trust.key.state,
    "environment": lambda trust: trust.key.environment,
    "scopes": lambda trust: " ".join(trust.key.scopes),
    "calls_30_days": lambda trust: trust.calls_in_month or 0,
    "created_at": lambda trust: trust.key.created_at,
    "expires_at": lambda trust: trust.key.expires_at,
    "last_used_at": lambda trust: trust.key.used_at,
}


def describe_entry(entry: LogEntry) -> str:
    """What an entry of the admin log says was done."""
    return str(entry.get_change_message() or entry.get_action_flag_display())


def limits_of(key: ApiKey | Organisation, writing: Writing = ENGLISH) -> list[str]:
    """A key's own limits, or an organisation's: "600 calls/min", "5,000 calls/month", "10 GiB/month"."""
    limits = [
        (key.requests_per_minute, writing.translate("{count} calls/min"), writing.number),
        (key.monthly_requests, writing.translate("{count} calls/month"), writing.number),
        (key.monthly_bytes, writing.translate("{count}/month"), writing.size),
    ]
    return [text.format(count=write(limit)) for limit, text, write in limits if limit is not None]
