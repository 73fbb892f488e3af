"""Rows of a directory as SCIM resources, and what of a resource the portal keeps."""

import json
import zlib
from typing import Any

from scim2_models import EnterpriseUser, Group, GroupMember, GroupMembership, Meta, Resource, User

from keys.directory.accounts import Profile
from keys.models import DirectoryGroup, DirectoryRow, DirectoryUser

ScimUser = User[EnterpriseUser]
COMPUTED = {
    "id",
    "meta",
    "groups",
    "password",
}  # not kept: the portal has them elsewhere, or takes no password


def to_document(resource: Resource[Any]) -> dict[str, Any]:
    """The attributes that the row keeps, as JSON."""
    document: dict[str, Any] = json.loads(resource.model_dump_json())
    return {name: value for name, value in document.items() if name not in COMPUTED}


def profile_of(resource: "User[Any]", *, is_active: bool = True) -> Profile:
    """What of the user's resource the account has. `is_active`: for a resource without `active`."""
    emails = [email for email in resource.emails or [] if email.value]
    primary = next((email for email in emails if email.primary), emails[0] if emails else None)
    name = resource.name
    return Profile(
        name=resource.user_name or "",
        email=str(primary.value) if primary else "",
        first_name=(name and name.given_name) or "",
        last_name=(name and name.family_name) or "",
        is_active=is_active if resource.active is None else resource.active,
    )


def to_user(row: DirectoryUser) -> "User[Any]":
    """The resource of a row that was read with its user and groups."""
    resource = ScimUser.model_validate(row.document)
    groups = sorted(row.groups.all(), key=lambda group: group.pk)
    resource.id = row.user.public_id
    resource.external_id = row.external_id or None
    if row.is_active and not row.user.is_active:  # by staff of the portal
        resource.active = False
    resource.groups = [
        GroupMembership(
            value=each.public_id, ref=reference("Groups", each.public_id), display=each.name, type="direct"
        )
        for each in groups
    ] or None
    parts = [f"{each.public_id} {each.name}" for each in groups]
    resource.meta = meta(row, "User", [str(resource.active), *parts])
    return resource


def to_group(row: DirectoryGroup) -> Group:
    """The resource of a row that was read with its members and their users."""
    resource = Group.model_validate({**row.document, "members": []})
    display = {each["value"]: each.get("display") for each in row.document.get("members", [])}
    resource.id = row.public_id
    resource.external_id = row.external_id or None
    ids = [member.user.public_id for member in sorted(row.members.all(), key=lambda member: member.pk)]
    resource.members = [
        GroupMember(value=each, ref=reference("Users", each), type="User", display=display.get(each))
        for each in ids
    ] or None
    resource.meta = meta(row, "Group", ids)
    return resource


def reference(kind: str, resource_id: str) -> Any:
    """Relative to the service's address, which scim2-server puts before it."""
    return f"{kind}/{resource_id}"


def meta(row: DirectoryRow, kind: str, others: list[str]) -> Meta:
    """`others`: what the resource shows of other rows, so that the version changes with it."""
    digest = zlib.crc32("\n".join(others).encode())
    return Meta(
        resource_type=kind,
        created=row.created_at,
        last_modified=row.changed_at,
        version=f'W/"{row.version}-{digest:08x}"',
    )
