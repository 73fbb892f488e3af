"""Invite a user: print, once, the link with which they set a password."""

import json
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from keys.actions import ActionError, invitations
from keys.alerts.invitation_links import link_to, mail_link
from keys.management.one_user import find_user, user_of


class Command(BaseCommand):
    help = "Make a link with which a user (made if there is none of that name) sets a password; printed once."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--user", required=True, help="name or id (usr_…); made if there is none of that name"
        )
        form = parser.add_mutually_exclusive_group()
        form.add_argument("--email", default="", help="a new user's address; the link is mailed there, too")
        form.add_argument("--withdraw", action="store_true", help="make none, and end the one that is open")
        parser.add_argument("--json", action="store_true", help="print one JSON object")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["withdraw"]:
            self.stdout.write(withdrawn(options))
            return
        user = find_user(options["user"])
        is_new = user is None
        if user and options["email"] and user.email != options["email"]:
            raise CommandError(
                f"--email: “{user.username}” is there already, with another address or none. Leave --email out, and "
                "send the link yourself; or correct the address on the user's admin page first"
            )
        try:
            user = user or invitations.add_user(name=options["user"], email=options["email"])
            made, secret = invitations.invite(user=user)
        except ActionError as error:
            raise CommandError(str(error)) from None
        link = link_to(secret)
        is_mailed = mail_link(user, link)
        if options["json"]:
            shown = {"user": user.username, "user_id": user.public_id, "link": link, "mailed": is_mailed}
            self.stdout.write(json.dumps({**shown, "expires_at": made.expires_at.isoformat()}))
            return
        self.stdout.write(f"{link}\nWorks once, until {made.expires_at:%Y-%m-%d %H:%M} UTC.")
        if is_new:
            self.stderr.write(f"There was no user {user.username} before: one was made.")


def withdrawn(options: dict[str, Any]) -> str:
    """End the user's open link; what the command prints."""
    user = user_of(options["user"])
    was_open = invitations.withdraw(user=user)
    if options["json"]:
        return json.dumps({"user": user.username, "user_id": user.public_id, "withdrawn": was_open})
    return (
        f"The link of {user.username} no longer works." if was_open else f"{user.username} has no open link."
    )
