"""Invite a user: print a link with which they set a password. The link is shown only once."""

import json
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from keys.actions import ActionError, invitations
from keys.actions.actor import COMMAND
from keys.actions.history import log
from keys.alerts.invitation_links import link_to, mail_link
from keys.formatting.invisible import escape
from keys.formatting.moments import format_rfc3339
from keys.management.one_user import find_user, user_of


class Command(BaseCommand):
    help = "Create a link with which a user sets a password, and the user if necessary. Printed only once."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--user", required=True, help="name or id (usr_…); a name that does not exist is created"
        )
        form = parser.add_mutually_exclusive_group()
        form.add_argument("--email", default="", help="a new user's address; the link is also mailed to it")
        form.add_argument("--withdraw", action="store_true", help="create no link, and end the open one")
        parser.add_argument("--json", action="store_true", help="print one JSON object")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["withdraw"]:
            self.stdout.write(escape(withdraw(options)))
            return
        user = find_user(options["user"])
        is_new = user is None
        if user and options["email"] and user.email != options["email"]:
            raise CommandError(
                f"--email: “{user.username}” already exists, with another address or none. Leave --email out and "
                "send the link yourself, or correct the address on the user's admin page first"
            )
        try:
            user = user or invitations.add_user(name=options["user"], email=options["email"])
            invitation, secret = invitations.invite(user=user)
            log(user, "Sign-in link made.", actor=COMMAND)
        except ActionError as error:
            raise CommandError(str(error)) from None
        link = link_to(secret)
        is_mailed = mail_link(user, link)
        if options["json"]:
            shown = {"user": user.username, "user_id": user.public_id, "link": link, "mailed": is_mailed}
            self.stdout.write(json.dumps({**shown, "expires_at": format_rfc3339(invitation.expires_at)}))
            return
        self.stdout.write(f"{link}\nWorks once, until {invitation.expires_at:%Y-%m-%d %H:%M} UTC.")
        if is_new:
            self.stderr.write(escape(f"The user {user.username} did not exist and was created."))


def withdraw(options: dict[str, Any]) -> str:
    """End the user's open link. Returns the command's output."""
    user = user_of(options["user"])
    was_open = invitations.withdraw(user=user)
    if was_open:
        log(user, "Sign-in link withdrawn.", actor=COMMAND)
    if options["json"]:
        return json.dumps({"user": user.username, "user_id": user.public_id, "withdrawn": was_open})
    return (
        f"The link of {user.username} no longer works." if was_open else f"{user.username} has no open link."
    )
