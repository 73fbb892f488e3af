"""Rotate an API key: print its new secret, which is shown only once, or the message for a leaked key's holder."""

import json
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from keys import actions
from keys.actions.actor import COMMAND
from keys.actions.overlaps import OVERLAPS
from keys.alerts.key_messages import write_rotation_message
from keys.formatting.invisible import escape
from keys.formatting.moments import format_rfc3339
from keys.management.commands.issue_key import description, parse_expiry
from keys.management.one_key import key_of
from keys.models import ApiKey


class Command(BaseCommand):
    help = "Give an API key a new secret. The old secret works until the overlap has passed."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("key_id", metavar="KEY_ID", help="key_…, as list_keys shows it")
        parser.add_argument(
            "--overlap",
            choices=list(OVERLAPS),
            default="24h",
            help="how long the old secret keeps working (default: 24h)",
        )
        parser.add_argument(
            "--expires-in",
            metavar="TIME",
            help="another expiry: 12h, 90d, 4w from now, or never (default: it stays)",
        )
        parser.add_argument("--json", action="store_true", help="print one JSON object")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            key, secret = actions.rotate(
                key=key_of(options["key_id"]),
                overlap=options["overlap"],
                **expiry(options["expires_in"]),
            )
        except actions.ActionError as error:
            raise CommandError(f"{options['key_id']}: {error}") from None
        if secret is None:
            self.tell_holder(key, is_json=options["json"])
            return
        ends = key.previous_ends_at
        if options["json"]:
            ends_at = ends and format_rfc3339(ends)
            self.stdout.write(json.dumps({**description(key), "key": secret, "previous_ends_at": ends_at}))
            return
        self.stdout.write(secret)
        until = f"works until {ends:%Y-%m-%d %H:%M} UTC" if ends else "has ended"
        self.stderr.write(
            escape(
                f"Key {key.public_id} “{key.name}” of {key.owner.username} has this new secret, shown only now. "
                f"The old one {until}. "
                + (
                    f"The key expires on {key.expires_at:%Y-%m-%d %H:%M} UTC."
                    if key.expires_at
                    else "It never expires."
                )
            )
        )

    def tell_holder(self, key: ApiKey, *, is_json: bool) -> None:
        """Print the link for the holder of a leaked key, who creates the secret that works and alone sees it."""
        message = write_rotation_message(key, actor=COMMAND)
        if is_json:
            shown = {**description(key), "key": None, "previous_ends_at": None, **message.serialize()}
            self.stdout.write(json.dumps(shown))
            return
        self.stdout.write(escape(message.link))
        holder = key.owner.username
        once = "; it is shown only now" if message.expires_at else ""
        sent = "The link was also mailed." if message.is_mailed else f"Send the link{once}."
        self.stderr.write(
            escape(
                f"The leaked secret of key {key.public_id} “{key.name}” never works again. {holder} creates the new "
                f"secret with this link, and alone sees it. {sent}"
            )
        )


def expiry(text: str | None) -> dict[str, Any]:
    """The argument of `actions.rotate` that the option stands for; none if it was not given."""
    if text is None:
        return {}
    return {"expires_at": None if text == "never" else parse_expiry(text)}
