"""Walls between two organisations on the portal's own pages and API: another's work is on none of them."""

import difflib
import re

import pytest

from tests.end_to_end.own_addresses import (
    FORMS,
    VERSION,
    account_addresses,
    api_addresses,
    text_of,
    write_addresses,
)
from tests.end_to_end.sides import BySession, Side, make_side, other_of_its_form
from tests.portals import Reply

pytestmark = [pytest.mark.mlflow, pytest.mark.postgresql]
USED = ("calls", "usage")
CSRF = "c" * 32
# What differs between any two responses: tokens against forged requests, ids of requests, and times.
PASSING = re.compile(
    r'name="csrfmiddlewaretoken" value="\w+"|nonce-[\w+/=-]+|nonce="[^"]+"|req_[0-9a-f]{32}|"(since|until)":"[^"]+"'
)


@pytest.fixture(scope="module")
def sessions(mlflow_portal, sides) -> tuple[BySession, BySession]:
    """The first has never named anything of the second: its own lists have what it asked for in vain, too."""
    return BySession(**vars(make_side(mlflow_portal, "ours"))), BySession(**vars(sides[1]))


def names_of(side: Side) -> dict[str, str]:
    """What an address may name, by the argument's name."""
    [[user_id]] = side.portal.sql("select public_id from keys_user where username = %s", side.person)
    calls = side.portal.calls(operation="registered-models.create", object_name=side.work.ids["name"])
    names = {"slug": side.slug, "person": side.person, "name": side.work.ids["name"], "key_id": side.key_id}
    return {**names, "user_id": user_id, "request_id": calls[0]["request_id"]}


def shown(reply: Reply, names: dict[str, str]) -> tuple[int, str]:
    """Status and text, with a word in place of each name."""
    text = PASSING.sub("", text_of(reply))
    for name, value in sorted(names.items(), key=lambda pair: -len(pair[1])):
        text = text.replace(value, f"<{name}>")
    return reply.status, text


def differences(side: Side, *addresses: tuple[str, dict[str, str]]) -> list[str]:
    """How the responses to two addresses differ, each with its names. A second look leaves out what time changes."""
    for _ in range(2):
        (status, text), (other_status, other_text) = (
            shown(side.browser.call("GET", target), names) for target, names in addresses
        )
        if (status, text) == (other_status, other_text):
            return []
    lines = difflib.unified_diff(text.splitlines(), other_text.splitlines(), n=0, lineterm="")
    return [f"{addresses[0][0]}: {status} and {other_status}", *lines]


def test_no_page_list_export_or_search_of_the_portal_shows_anything_of_another_organisation(sessions):
    """By session, and by a key for the API. Their names are like made-up ones."""
    ours, theirs = sessions
    names, answered, differing = names_of(theirs), 0, list[str]()
    unknown = {name: other_of_its_form(value) for name, value in names.items()}
    scopes = ("--scope", "portal:read", "--organisation", ours.slug)
    key = ours.portal.issue(ours.person, *scopes)["key"]
    madeup = [*account_addresses(unknown), *api_addresses(unknown)]
    for target, other in zip((*account_addresses(names), *api_addresses(names)), madeup, strict=True):
        replies = [ours.browser.call("GET", target)]
        differing += differences(ours, (target, names), (other, unknown)) if target != other else []
        if target.startswith("/api/"):
            replies.append(ours.portal.request("GET", target, key=key))
        for reply in replies:
            assert theirs.marker not in text_of(reply), target
            answered += reply.status == 200
    assert differing == [], "\n".join(differing)
    assert answered > 50
    for text in names.values():
        assert theirs.marker not in text_of(ours.browser.call("POST", "/account/palette/", {"text": text}))


def test_the_organisation_itself_finds_it_on_these_pages(sessions):
    """The positive control."""
    _, theirs = sessions
    names = names_of(theirs)
    mine, api = f"/account/organisations/{theirs.slug}", "/api/v1"
    targets = {
        *("/account/", "/account/calls/", "/account/registrations/", f"{mine}/"),
        *(
            f"{start}/{what}/download.{form}"
            for start in ("/account", mine)
            for what in USED
            for form in FORMS
        ),
        *(f"{start}/registrations/download.{form}" for start in ("/account", mine) for form in FORMS[:2]),
        *(f"{api}/calls/export?form={form}" for form in FORMS),
        *(f"{api}/registrations/export?form={form}" for form in FORMS[:2]),
        *(
            f"{api}/calls?key={theirs.key_id}",
            f"{api}/keys",
            f"{api}/registrations",
            f"{api}/keys/{theirs.key_id}",
        ),
        *(f"{api}/manifests{part}?{VERSION.format(**names)}" for part in ("", "/export")),
    }
    assert targets <= {*account_addresses(names), *api_addresses(names)}
    shown = {target for target in targets if theirs.marker in text_of(theirs.browser.call("GET", target))}
    assert shown == targets


def test_no_form_or_write_of_the_api_reaches_what_another_organisation_has(sessions):
    """Nor does it tell another organisation's names from made-up ones."""
    ours, theirs = sessions
    names, differing = names_of(theirs), []
    unknown = {name: other_of_its_form(value) for name, value in names.items()}
    tokens = {"Cookie": f"{ours.browser.cookie}; csrftoken={CSRF}", "X-CSRFToken": CSRF}
    for targets in zip(write_addresses(names), write_addresses(unknown), strict=True):
        replies = [
            shown(ours.browser.call("POST", target, {"user": words["person"]}, **tokens), words)
            for target, words in zip(targets, (names, unknown), strict=True)
        ]
        if targets[0] != targets[1] and (replies[0] != replies[1] or replies[0][0] < 400):
            differing.append((targets[0], replies))
    assert differing == [], "\n".join(differing)
