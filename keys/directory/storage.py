"""A directory's users and groups as scim2-server reads and writes them."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from django.db import transaction
from django.db.models import QuerySet
from scim2_models import (
    ForbiddenException,
    InvalidValueException,
    NotFoundException,
    PreconditionFailedException,
    Resource,
    ResourceType,
    ResponseParameters,
    SearchRequest,
    TooManyException,
    UniquenessException,
)
from scim2_server.storage import ScimStorage, SearchPage

from keys.actions.actor import Actor
from keys.actions.errors import ActionError, NotAllowed
from keys.directory import accounts
from keys.directory.accounts import Taken
from keys.directory.documents import profile_of, to_document, to_group, to_user
from keys.directory.filters import GROUP_COLUMNS, USER_COLUMNS, to_condition
from keys.directory.rules import apply_rules, apply_to
from keys.formatting.sentences import to_sentence
from keys.models import DirectoryGroup, DirectoryUser, GroupRule, Organisation, User

Content = tuple[set[str], set[int]]
MOST_COMPARED = 5000  # rows that a filter without a column is compared with


@contextmanager
def as_scim() -> Iterator[None]:
    """Raise the portal's own errors as SCIM's."""
    try:
        yield
    except Taken as error:
        raise UniquenessException(detail=to_sentence(error)) from None
    except NotAllowed as error:
        raise ForbiddenException(detail=to_sentence(error)) from None
    except ActionError as error:
        raise InvalidValueException(detail=to_sentence(error)) from None


class Users:
    """The users of one directory."""

    columns = USER_COLUMNS

    def __init__(self, directory: Organisation, actor: Actor) -> None:
        self.directory, self.actor = directory, actor

    def rows(self) -> "QuerySet[Any]":
        rows = DirectoryUser.objects.filter(directory=self.directory).select_related("user")
        return rows.prefetch_related("groups")

    def row(self, resource_id: str) -> "QuerySet[Any]":
        return self.rows().filter(user__public_id=resource_id)

    def to_resource(self, row: Any) -> Resource[Any]:
        return to_user(row)

    def create(self, resource: Any) -> Any:
        profile = profile_of(resource)
        user = accounts.add_account(self.directory, profile, self.actor)
        row = DirectoryUser.objects.create(
            directory=self.directory,
            user=user,
            name=profile.name,
            external_id=resource.external_id or "",
            document=to_document(resource),
            is_active=profile.is_active,
        )
        apply_rules(user, self.actor)
        return row

    def update(self, row: DirectoryUser, resource: Any) -> None:
        before = profile_of(to_user(row))
        profile = profile_of(resource, is_active=row.is_active)
        accounts.change_account(row.user, profile, before=before, actor=self.actor)
        if profile.is_active != row.is_active:
            accounts.set_active(row.user, profile.is_active, self.actor)
            row.is_active = profile.is_active
        row.name, row.external_id = profile.name, resource.external_id or ""
        row.document = to_document(resource)
        row.version += 1
        row.save()

    def delete(self, row: DirectoryUser) -> None:
        user = row.user
        row.delete()
        accounts.delete_account(user, self.actor)
        apply_rules(user, self.actor)


class Groups:
    """The groups of one directory. A group in a group is not supported."""

    columns = GROUP_COLUMNS

    def __init__(self, directory: Organisation, actor: Actor) -> None:
        self.directory, self.actor = directory, actor

    def rows(self) -> "QuerySet[Any]":
        return DirectoryGroup.objects.filter(directory=self.directory).prefetch_related("members__user")

    def row(self, resource_id: str) -> "QuerySet[Any]":
        return self.rows().filter(public_id=resource_id)

    def to_resource(self, row: Any) -> Resource[Any]:
        return to_group(row)

    def create(self, resource: Any) -> Any:
        row = DirectoryGroup(directory=self.directory)
        self.write(row, resource)
        return row

    def update(self, row: DirectoryGroup, resource: Any) -> None:
        row.version += 1
        self.write(row, resource)

    def write(self, row: DirectoryGroup, resource: Any) -> None:
        members = self.find_members({member.value for member in resource.members or [] if member.value})
        before = self.names_and_members(row) if row.pk else (set(), set())
        row.name, row.external_id = resource.display_name, resource.external_id or ""
        row.document = to_document(resource)
        row.save()
        row.members.set(members)
        self.apply_changes(before, self.names_and_members(row))

    def names_and_members(self, row: DirectoryGroup) -> Content:
        """What rules may name the group by, and the numbers of the users in it."""
        names = {row.public_id, row.name, row.external_id}
        return names, set(row.members.values_list("user_id", flat=True))

    def apply_changes(self, before: Content, after: Content) -> None:
        """Apply the rules to the users whom the change concerns, if a rule names the group."""
        names = before[0] | after[0]
        if not GroupRule.objects.filter(directory=self.directory, group__in=names).exists():
            return
        users = before[1] ^ after[1] if before[0] == after[0] else before[1] | after[1]
        apply_to(User.objects.filter(pk__in=users), self.actor)

    def find_members(self, ids: set[str]) -> list[DirectoryUser]:
        """Raises ActionError for an id that is no user of the directory."""
        rows = list(
            DirectoryUser.objects.filter(directory=self.directory, user__public_id__in=ids).select_related(
                "user"
            )
        )
        if unknown := ids - {row.user.public_id for row in rows}:
            raise ActionError(
                f"members: this directory has no user {min(unknown)}; a group in a group is not supported"
            )
        return rows

    def delete(self, row: DirectoryGroup) -> None:
        before = self.names_and_members(row)
        row.delete()
        self.apply_changes(before, (set(), set()))


@dataclass
class DirectoryStorage(ScimStorage):
    """The users and groups of one directory, and the actor who changes them."""

    directory: Organisation
    actor: Actor

    @contextmanager
    def operation(self) -> Iterator[None]:
        with as_scim(), transaction.atomic():
            yield

    def kind(self, resource_type: ResourceType) -> Users | Groups:
        kind = Users if resource_type.name == "User" else Groups
        return kind(self.directory, self.actor)

    def get(
        self,
        resource_type: ResourceType,
        resource_id: str,
        *,
        response_parameters: ResponseParameters[Any] | None = None,
    ) -> Resource[Any]:
        kind = self.kind(resource_type)
        return kind.to_resource(self.find(kind.row(resource_id), resource_id))

    def find(self, rows: "QuerySet[Any]", resource_id: str) -> Any:
        row = None if "\0" in resource_id else rows.first()
        if row is None:
            raise NotFoundException(detail=f"This directory has no resource {resource_id!r}.")
        return row

    def search(
        self,
        resource_types: list[ResourceType],
        search_request: SearchRequest[Any],
        *,
        position: Any = None,
    ) -> SearchPage:
        """Users first, then groups, each by age."""
        start = search_request.start_index_0 or 0
        stop = start + (search_request.count or 0)
        total, found = 0, []
        for resource_type in resource_types:
            kind = self.kind(resource_type)
            length, part = self.matching(kind, search_request, max(0, start - total), max(0, stop - total))
            found += part
            total += length
        return SearchPage(total, found)

    def matching(
        self, kind: Users | Groups, search_request: SearchRequest[Any], start: int, stop: int
    ) -> tuple[int, list[Resource[Any]]]:
        """The number of matching rows, and a part of them."""
        rows, scim_filter = kind.rows().order_by("pk"), search_request.filter
        if scim_filter is None:
            return rows.count(), [kind.to_resource(row) for row in rows[start:stop]]
        condition, is_exact = to_condition(scim_filter.ast, kind.columns)
        rows = rows.filter(condition).distinct()
        count = rows.count()
        if is_exact:
            return count, [kind.to_resource(row) for row in rows[start:stop]]
        if count > MOST_COMPARED:
            raise TooManyException(
                detail=f"The filter would be compared with {count} resources. Filter by userName, externalId, id or "
                "displayName with eq."
            )
        resources = [kind.to_resource(row) for row in rows]
        found = [resource for resource in resources if scim_filter.match(resource)]
        return len(found), found[start:stop]

    def create(self, resource_type: ResourceType, resource: Resource[Any]) -> Resource[Any]:
        kind = self.kind(resource_type)
        made = kind.create(resource)
        return kind.to_resource(kind.rows().get(pk=made.pk))

    def update(
        self, resource_type: ResourceType, resource: Resource[Any], *, expected_version: str | None = None
    ) -> Resource[Any]:
        kind = self.kind(resource_type)
        row = self.lock(kind, str(resource.id), expected_version)
        kind.update(row, resource)
        return kind.to_resource(kind.rows().get(pk=row.pk))

    def delete(
        self, resource_type: ResourceType, resource_id: str, *, expected_version: str | None = None
    ) -> None:
        kind = self.kind(resource_type)
        kind.delete(self.lock(kind, resource_id, expected_version))

    def lock(self, kind: Users | Groups, resource_id: str, expected_version: str | None) -> Any:
        row = self.find(kind.row(resource_id).select_for_update(of=("self",)), resource_id)
        version = kind.to_resource(row).meta
        if expected_version is not None and version is not None and version.version != expected_version:
            raise PreconditionFailedException
        return row
