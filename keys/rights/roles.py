"""Roles: a user's rights in the portal as one word. Pure."""

from enum import StrEnum

from keys.rights.groups import AUDITORS, KEY_ADMINS


class Role(StrEnum):
    HOLDER = "holder"
    AUDITOR = "auditor"
    KEY_ADMIN = "key_admin"
    CUSTOM = "custom"
    SUPERUSER = "superuser"

    @property
    def label(self) -> str:
        return {"holder": "key holder"}.get(self.value, self.value.replace("_", " "))

    @property
    def description(self) -> str:
        return DESCRIPTIONS[self]

    @property
    def group(self) -> str | None:
        """The group of staff that has the role's permissions."""
        return {"auditor": AUDITORS, "key_admin": KEY_ADMINS}.get(self.value)

    @property
    def is_staff(self) -> bool:
        return self is not Role.HOLDER

    @property
    def takes_permissions(self) -> bool:
        """Whether single permissions have an effect beside the role."""
        return self in (Role.AUDITOR, Role.KEY_ADMIN, Role.CUSTOM)


DESCRIPTIONS = {
    Role.HOLDER: "has keys, and no admin pages",
    Role.AUDITOR: "sees and exports everything, changes nothing",
    Role.KEY_ADMIN: "sees everything; issues, changes and ends keys, adds and deactivates users, hands over",
    Role.CUSTOM: "opens the admin pages with the single permissions below, and no others",
    Role.SUPERUSER: "may do everything, and gives roles to others",
}


def role_from(*, is_staff: bool, is_superuser: bool, groups: set[str]) -> Role:
    """The role of an account with these columns and groups. Without `is_staff`, a group has no effect."""
    if is_superuser:
        return Role.SUPERUSER
    if not is_staff:
        return Role.HOLDER
    if KEY_ADMINS in groups:
        return Role.KEY_ADMIN
    return Role.AUDITOR if AUDITORS in groups else Role.CUSTOM


def find_faults(*, is_staff: bool, is_superuser: bool, groups: set[str], permissions: set[str]) -> list[str]:
    """What of an account does not fit its role, in sentences. Setting the role mends all of it."""
    role = role_from(is_staff=is_staff, is_superuser=is_superuser, groups=groups)
    faults = []
    if is_superuser and not is_staff:
        faults.append("It is a superuser but not staff, so it cannot open the admin pages.")
    if useless := sorted(groups - {role.group}):
        why = "It is not staff, so" if role is Role.HOLDER else "Because of its role,"
        faults.append(f"{why} membership of {' and '.join(useless)} has no effect.")
    if permissions and not role.takes_permissions:
        why = "It is not staff, so" if role is Role.HOLDER else "Because of its role,"
        faults.append(f"{why} its single permissions have no effect.")
    if role is Role.CUSTOM and not permissions:
        faults.append("It can open the admin pages, but has no permission to see anything there.")
    return faults
