"""The schema as generators of clients read it: complete types, and defaults that the server accepts."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from rest_framework import serializers
from rest_framework.fields import empty

from keys.api.fields import TimeField
from keys.api.serializers import StrictSerializer
from keys.lists.filter_fields import TimeFilter
from portal.api.schema import schema
from tests.keys.api.callers import Program, program
from tests.keys.people import call, key_of
from tests.proxy.ledger_rows import row

pytestmark = [pytest.mark.postgresql, pytest.mark.django_db]
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d")
TIMES = {"at", "since", "until", "start", "last", "collect_by", "expires_before", "unused_since"}
NO_ZONE = ["2026-12-05", "2026-12-05T14:30:00", "2026-12-05 14:30"]


@pytest.fixture
def alice(cast) -> Program:
    return program(cast["alice"], "portal:admin")


def schemas(node: Any, name: str = "", path: str = "") -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Each schema of the document: where it is, the property or parameter that it is of, and itself."""
    if isinstance(node, list):
        for number, each in enumerate(node):
            yield from schemas(each, name, f"{path}/{number}")
    if not isinstance(node, dict):
        return
    for key, value in node.items():
        inside = f"{path}/{key}"
        if key == "schema":
            yield inside, node.get("name", name), value
        elif key == "properties":
            for property_name, each in value.items():
                yield f"{inside}/{property_name}", property_name, each
                yield from schemas(each, property_name, f"{inside}/{property_name}")
            continue
        elif key in ("items", "additionalProperties") and isinstance(value, dict):
            yield inside, name, value
        yield from schemas(value, name, inside)


def test_every_value_has_a_type():
    assert [path for path, _, each in schemas(schema()) if not each.keys() - {"description"}] == []


def test_types_have_names_that_stay():
    """No name with a part of a hash, which the next value of another type would change."""
    names = schema()["components"]["schemas"]
    assert [name for name in names if re.search(r"[0-9A-F][0-9a-f]{2}Enum$", name)] == []


def test_every_time_is_one():
    times = [(path, each) for path, name, each in schemas(schema()) if name in TIMES or name.endswith("_at")]

    assert len(times) > 40
    assert [path for path, each in times if "$ref" not in each and each.get("format") != "date-time"] == []


def test_the_server_accepts_every_default_of_a_parameter(alice):
    wrong, checked = [], 0
    for path, operations in schema()["paths"].items():
        given = {
            parameter["name"]: parameter["schema"]["default"]
            for parameter in operations.get("get", {}).get("parameters", [])
            if "default" in parameter["schema"]
        }
        if given and "{" not in path:
            checked += 1
            query = "&".join(f"{name}={value}" for name, value in given.items())
            if (answer := alice.get(f"{path.removeprefix('/api/v1')}?{query}")).status_code != 200:
                wrong.append((path, query, answer.json()))
    assert (wrong, checked > 8) == ([], True)


def test_the_server_accepts_every_default_of_a_body():
    kinds, checked = [StrictSerializer], 0
    while kinds:
        kind = kinds.pop()
        kinds += type.__subclasses__(kind)
        for field in kind().get_fields().values():
            if field.default is not empty and not isinstance(field, serializers.BaseSerializer):
                checked += 1
                default = field.get_default()
                assert field.run_validation(default) == default, (kind, field.field_name)
    assert checked > 5


def test_usage_needs_no_grouping(alice):
    assert alice.get("/usage").status_code == 200
    [parameter] = [
        each for each in schema()["paths"]["/api/v1/usage"]["get"]["parameters"] if each["name"] == "by"
    ]
    assert "default" not in parameter["schema"]


def test_every_time_in_a_response_ends_in_z(alice, cast):
    key = key_of(cast["dora"])
    call(key, 1)
    row(key, "registered-models.create", "vision")
    paths = ["/keys", "/events", "/calls", "/registrations", "/users", "/me", "/ledger", "/usage?by=day"]
    paths += [f"/keys/{key.public_id}", f"/keys/{key.public_id}/touched?since=2026-01-01T00:00:00Z"]

    found = []
    for path in paths:
        text = json.dumps(alice.get(path).json())
        found += [time for time in re.findall(r'"([^"]*)"', text) if TIME.match(time)]

    assert len(found) > 10
    assert [time for time in found if not time.endswith("Z")] == []


@pytest.mark.parametrize("text", NO_ZONE)
def test_a_time_without_a_zone_is_rejected_with_the_right_form(text):
    with pytest.raises(serializers.ValidationError, match=r"no zone\. Write 2026-12-05T14:30:00Z"):
        TimeField().run_validation(text)
    with pytest.raises(Exception, match=r"no zone\. Write 2026-12-05T14:30:00Z"):
        TimeFilter().field.clean(text)
    at = TimeField().run_validation("2026-12-05T14:30:00+01:00")
    assert at == TimeFilter().field.clean("2026-12-05T13:30:00Z")


def test_no_request_takes_a_time_without_a_zone(alice, cast):
    """In every operation that takes a time, by its schema."""
    key = key_of(cast["dora"]).public_id
    taken = 0
    for path, operations in schema()["paths"].items():
        address = path.removeprefix("/api/v1").replace("{key_id}", key)
        for parameter in operations.get("get", {}).get("parameters", []):
            if parameter["schema"].get("format") == "date-time":
                taken += 1
                answer = alice.get(f"{address}?{parameter['name']}=2026-12-05")
                assert "has no zone" in str(answer.json()["errors"][parameter["name"]]), address
    for address, name in (
        ("/keys", "expires_at"),
        (f"/keys/{key}/rotate", "expires_at"),
        (f"/keys/{key}/quarantine", "since"),
    ):
        taken += 1
        errors = alice.post(address, {name: "2026-12-05T14:30:00"}).json()["errors"]
        assert "has no zone" in str(errors[name]), address
    assert taken > 12
