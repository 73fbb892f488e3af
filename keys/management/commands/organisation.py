"""List, create, change and close organisations, and their members."""

import json
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from keys.actions import ActionError, organisations
from keys.formatting import sizes
from keys.formatting.invisible import escape
from keys.formatting.moments import format_rfc3339
from keys.management.one_organisation import organisation_of
from keys.management.one_user import NAME_OR_ID, user_of
from keys.models import Membership, Organisation
from keys.models.organisations import LIMITS


class Command(BaseCommand):
    help = (
        "List, create, change and close organisations, and their members. What an organisation's keys create can be "
        "read by its own keys and members only."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="print JSON")
        actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
        actions.add_parser("list", help="all organisations, with their members")
        create = actions.add_parser("create", help="create one")
        add_slug(create)
        create.add_argument("--name", default="", help="the name that people read (default: the slug)")
        change = actions.add_parser("change", help="change its name or its limits")
        add_slug(change)
        change.add_argument("--name", help="the name that people read")
        change.add_argument(
            "--requests-per-minute", metavar="N", help="of all keys together; “none” for none"
        )
        change.add_argument("--monthly-requests", metavar="N", help="of all keys together; “none” for none")
        change.add_argument("--monthly-bytes", metavar="SIZE", help="such as 500M or 10G; “none” for none")
        close = actions.add_parser("close", help="close it for good, and revoke its keys")
        add_slug(close)
        close.add_argument("--reason", default="", help="for the keys' history")
        for action, words in (
            ("add-member", "add a user"),
            ("set-role", "change a member's role"),
            ("remove-member", "remove a user, and revoke the user's keys in it"),
        ):
            member = actions.add_parser(action, help=words)
            add_slug(member)
            member.add_argument("user", metavar="USER", help=NAME_OR_ID)
            if action != "remove-member":
                role_default = (
                    {"default": Membership.Role.MEMBER} if action == "add-member" else {"required": True}
                )
                member.add_argument("--role", choices=Membership.Role.values, help="the role", **role_default)

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            text, content = ACTIONS[options["action"]](options)
        except ActionError as error:
            raise CommandError(escape(str(error))) from None
        self.stdout.write(json.dumps(content) if options["json"] else escape(text))


def add_slug(parser: CommandParser) -> None:
    parser.add_argument("slug", metavar="SLUG", help="its name in addresses and at MLflow; it never changes")


def list_all(options: dict[str, Any]) -> tuple[str, Any]:
    rows = [describe(each) for each in Organisation.objects.prefetch_related("memberships__user")]
    lines = [
        f"{row['slug']}  {row['name']}{'  (closed)' if row['closed_at'] else ''}  "
        + ", ".join(f"{each['user']} ({each['role']})" for each in row["members"])
        for row in rows
    ]
    return "\n".join(line.rstrip() for line in lines), rows


def create(options: dict[str, Any]) -> tuple[str, Any]:
    made = organisations.create_organisation(slug=options["slug"], name=options["name"])
    return (
        f"Created {made.slug}. Add its first owner with: add-member {made.slug} USER --role owner",
        describe(made),
    )


def change(options: dict[str, Any]) -> tuple[str, Any]:
    changes: dict[str, Any] = {name: parse_limit(name, options[name]) for name in LIMITS if options[name]}
    if options["name"] is not None:
        changes["name"] = options["name"]
    if not changes:
        raise CommandError("state what to change: --name or a limit")
    changed = organisations.change_organisation(organisation=organisation_of(options["slug"]), **changes)
    return f"Changed {changed.slug}.", describe(changed)


def close(options: dict[str, Any]) -> tuple[str, Any]:
    organisation = organisation_of(options["slug"])
    keys = organisations.close_organisation(organisation=organisation, reason=options["reason"])
    organisation.refresh_from_db()
    return f"Closed {organisation.slug}. Keys revoked: {len(keys)}.", describe(organisation)


def add_member(options: dict[str, Any]) -> tuple[str, Any]:
    organisation, user = organisation_of(options["slug"]), user_of(options["user"])
    made = organisations.add_member(organisation=organisation, user=user, role=options["role"])
    return f"{user.username} is {made.role} of {organisation.slug} now.", describe(organisation)


def set_role(options: dict[str, Any]) -> tuple[str, Any]:
    membership = membership_of(options)
    organisations.set_member_role(membership=membership, role=options["role"])
    return f"{membership.user.username} is {membership.role} now.", describe(membership.organisation)


def remove_member(options: dict[str, Any]) -> tuple[str, Any]:
    membership = membership_of(options)
    name, organisation = membership.user.username, membership.organisation
    keys = organisations.remove_member(membership=membership)
    return f"Removed {name}. Keys revoked: {len(keys)}.", describe(organisation)


ACTIONS = {
    "list": list_all,
    "create": create,
    "change": change,
    "close": close,
    "add-member": add_member,
    "set-role": set_role,
    "remove-member": remove_member,
}


def membership_of(options: dict[str, Any]) -> Membership:
    organisation, user = organisation_of(options["slug"]), user_of(options["user"])
    membership = organisation.memberships.filter(user=user).select_related("user", "organisation").first()
    if membership is None:
        raise CommandError(f"{user.username} is not a member of {organisation.slug}")
    return membership


def parse_limit(name: str, text: str) -> int | None:
    if text == "none":
        return None
    try:
        return sizes.parse_size(text) if name == "monthly_bytes" else int(text)
    except ValueError as error:
        raise CommandError(f"--{name.replace('_', '-')}: {error}") from None


def describe(organisation: Organisation) -> dict[str, Any]:
    """An organisation in the API's format."""
    return {
        "slug": organisation.slug,
        "name": organisation.name,
        "created_at": format_rfc3339(organisation.created_at),
        "closed_at": organisation.closed_at and format_rfc3339(organisation.closed_at),
        **{limit: getattr(organisation, limit) for limit in LIMITS},
        "publication_rule": organisation.publication_rule,
        "members": [
            {"user": each.user.username, "role": each.role}
            for each in organisation.memberships.select_related("user")
        ],
    }
