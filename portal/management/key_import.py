"""Takes over keys of another system, with their users and what these own: each line of the file in one transaction."""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass

from django.db import DatabaseError, OperationalError, transaction

from keys.actions import ActionError, import_key, invitations, organisations
from keys.actions.actor import COMMAND
from keys.actions.history import log
from keys.actions.issuing import imported_marks
from keys.models import Membership, Organisation, User
from portal.management.key_file import KeyLine
from proxy.policy.owner_actions import assign_unowned


@dataclass
class Counts:
    """What an import did, or would do. `skipped`: lines that an earlier import did."""

    keys: int = 0
    users: int = 0
    members: int = 0
    objects: int = 0
    skipped: int = 0

    def add(self, other: "Counts") -> None:
        for name, count in asdict(other).items():
            setattr(self, name, getattr(self, name) + count)


def check_lines(
    lines: Sequence[KeyLine], *, on_progress: Callable[[int, int], None]
) -> tuple[Counts, dict[int, str]]:
    """What importing the lines would do, and by its number why a line cannot be imported. Does all of it in one
    transaction, which is rolled back."""
    counts, problems = Counts(), dict[int, str]()
    with transaction.atomic():
        marks = imported_marks()
        for done, line in enumerate(lines, 1):
            try:
                counts.add(import_line(line, marks))
            except ActionError as error:
                problems[line.number] = str(error)
            on_progress(done, len(lines))
        transaction.set_rollback(True)
    return counts, problems


def import_lines(lines: Sequence[KeyLine], *, on_progress: Callable[[int, int], None]) -> Counts:
    """Import the lines, each in its own transaction. Raises ActionError, with the line, for one that has become
    impossible since the check; those before it are imported."""
    counts, marks = Counts(), imported_marks()
    for done, line in enumerate(lines, 1):
        try:
            counts.add(import_line(line, marks))
        except ActionError as error:
            raise ActionError(
                f"line {line.number}: {error}. The lines before it are imported; correct it and run this again"
            ) from None
        on_progress(done, len(lines))
    return counts


def import_line(line: KeyLine, marks: set[str]) -> Counts:
    """Import a line, unless its key has been imported before (`marks`). All of it or nothing. Raises ActionError."""
    if marks.intersection(line.secret.marks):
        return Counts(skipped=1)
    with refusals_as_errors(), transaction.atomic():
        user, is_new_user = find_or_add_user(line)
        organisation = find_organisation(line.organisation)
        is_new_member = organisation is not None and join(user, organisation)
        key = import_key(
            owner=user,
            name=line.name,
            secret=line.secret,
            organisation=organisation,
            purpose=line.purpose,
            scopes=line.scopes,
            networks=line.networks,
            patterns=line.patterns,
            expires_at=line.expires_at,
            objects=[f"{ref.kind} {ref.name}" for ref in line.objects],
        )
        objects = assign_unowned(key=key, refs=line.objects)
    return Counts(keys=1, users=is_new_user, members=is_new_member, objects=objects)


@contextmanager
def refusals_as_errors() -> Iterator[None]:
    """A refusal of PostgreSQL's as an ActionError. PostgreSQL's text would contain values of the line."""
    try:
        yield
    except OperationalError:
        raise
    except DatabaseError as error:
        name = getattr(getattr(error.__cause__, "diag", None), "constraint_name", None)
        raise ActionError(f"PostgreSQL refuses it ({name or type(error).__name__})") from None


def find_or_add_user(line: KeyLine) -> tuple[User, bool]:
    """The user of the line, and whether they are new. A new user has no password. Raises ActionError."""
    if not re.fullmatch(r"[\w.@+-]{1,150}", line.user):
        raise ActionError("user: a user's name has up to 150 letters, digits and @ . + - _")
    try:
        user = User.objects.named(line.user)
    except User.DoesNotExist:
        try:
            user = invitations.add_user(name=line.user, email=line.email)
        except ActionError as error:
            raise ActionError(f"user or email: {error}") from None
        log(user, "Added with a key of another system.", actor=COMMAND)
        return user, True
    if not user.is_active:
        raise ActionError(f"user: {user.username} is deactivated; reactivate the account, or remove the line")
    if line.email and user.email.lower() != line.email.lower():
        raise ActionError(
            f"email: {user.username} has another address here, or none; correct it there, or leave it out"
        )
    return user, False


def find_organisation(slug: str) -> Organisation | None:
    """The organisation of this slug; None for "". Raises ActionError."""
    if not slug:
        return None
    try:
        return Organisation.objects.open().get(slug=slug)
    except Organisation.DoesNotExist:
        raise ActionError(
            "organisation: no open organisation has this slug; create it first (organisation create)"
        ) from None


def join(user: User, organisation: Organisation) -> bool:
    """Make the user a member unless they are one; whether they were none."""
    is_member = Membership.objects.filter(user=user, organisation=organisation).exists()
    if is_member or organisation.is_shared:
        return False
    organisations.add_member(organisation=organisation, user=user)
    return True
