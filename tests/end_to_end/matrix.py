"""The matrix of the walls between organisations by calls: each operation of the table, whose objects, who calls.

`make organisations` runs it with each release of MLflow, and with files on disk and in an S3 stand-in; the suite, which
does not collect this file, has the part of it for keys, and the decisions for every caller
(tests/proxy/policy/organisations/test_matrix.py). A row of the table for which no call can be built fails.
"""

import secrets
from typing import Any

import pytest

from proxy.routes.operations import Operation
from proxy.routes.table import OPERATIONS
from tests.end_to_end.sides import BySession, Side, Work, make_side, make_work
from tests.end_to_end.test_walls import APART, rows_of, seen, send
from tests.portals import Portal, Reply

pytestmark = [pytest.mark.mlflow, pytest.mark.postgresql]
CALLERS = ("a key", "a session", "a key of staff", "a session of staff")
# Rows that take the name of a new object, which a second call finds taken.
NEW = {"registered-models.create", "experiments.create"}


class ByStaff(Side):
    """A key of staff that acts in the organisation on its list."""

    def call(self, method: str, path: str, body: Any = None) -> Reply:
        return super().call(method, f"/w/{self.slug}{path}", body)


def new_member(side: Side, name: str) -> Side:
    """Another person of the organisation, with a key that may write everything."""
    portal, person = side.portal, f"{name}-{secrets.token_hex(4)}"
    portal.manage("revoke_key", portal.issue(person)["id"])  # issuing creates the user
    portal.manage("organisation", "add-member", side.slug, person)
    issued = portal.issue(person, "--preset", "full", "--organisation", side.slug)
    return Side(portal, side.slug, issued["key"], side.marker, person=person, key_id=issued["id"])


@pytest.fixture(scope="module")
def sides(mlflow_portal: Portal) -> tuple[Side, Side]:
    """Two organisations of this file's own: other tests leave models with another's names in theirs."""
    ours, theirs = (make_side(mlflow_portal, name) for name in ("ours", "theirs"))
    return ours, theirs


@pytest.fixture
def callers(sides) -> dict[str, Side]:
    """A caller of each sort in the first organisation; the session of staff is a member of none."""
    ours, _ = sides
    portal, staff = ours.portal, f"staff-{ours.person}"
    portal.issue(staff)
    portal.manage("set_role", staff, "auditor")
    key = portal.issue(staff, "--also", ours.slug, "--preset", "full")["key"]
    return {
        "a key": ours,
        "a session": BySession(**vars(ours)),
        "a key of staff": ByStaff(**vars(ours) | {"key": key}),
        "a session of staff": BySession(**vars(ours) | {"person": staff}),
    }


def rows_for(caller: Side) -> list[Operation]:
    """The rows that the caller's sort may call; creations last."""
    for_browsers = [each for each in OPERATIONS if each.for_browsers and each.name not in APART]
    rows = [*(for_browsers if isinstance(caller, BySession) else []), *rows_of(caller)]
    return [each for each in rows if each.name not in NEW]


@pytest.mark.parametrize("sort", CALLERS)
def test_another_organisations_object_is_like_one_that_nobody_has(sort, callers, sides):
    _, theirs = sides
    caller, differing = callers[sort], []
    for operation in rows_for(caller):
        madeup = theirs.work.madeup()
        other = seen(send(caller, operation, theirs.work), theirs.work)
        unknown = seen(send(caller, operation, madeup), madeup)
        assert theirs.marker.encode() not in other[1], operation
        if other != unknown:
            differing.append((operation.name, operation.method, other, unknown))

    print(f"\n{sort}: {len(rows_for(caller))} operations, with another organisation's ids and made-up ones")
    assert differing == [], differing


@pytest.mark.parametrize("sort", CALLERS[:2])
def test_an_object_of_a_mate_is_like_ones_own(sort, sides):
    """Every row is called with the caller's own objects and with a mate's; deletions come last."""
    ours, _ = sides
    first, second = new_member(ours, "first"), new_member(ours, "second")
    works: dict[str, Work] = {"own": make_work(first), "a mate's": make_work(second)}
    caller = BySession(**vars(first)) if sort == "a session" else first
    rows = sorted(rows_for(caller), key=lambda each: any("delete" in scope for scope in each.scopes))
    differing, found = [], 0
    for operation in rows:
        statuses = {whose: send(caller, operation, work).status for whose, work in works.items()}
        found += statuses["own"] == 200
        if len({*statuses.values()}) > 1:
            differing.append((operation.name, operation.method, statuses))

    print(f"\n{sort}: {len(rows)} operations with one's own objects and a mate's; {found} have status 200")
    assert differing == [], differing
    assert found > 90
