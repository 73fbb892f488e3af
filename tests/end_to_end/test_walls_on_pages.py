"""Walls between two organisations on the portal's own pages and API: another's work is on none of them."""

import pytest

from tests.end_to_end.own_addresses import FORMS, account_addresses, api_addresses, text_of
from tests.end_to_end.sides import Side

pytestmark = [pytest.mark.mlflow, pytest.mark.postgresql]
USED = ("calls", "usage")


def names_of(side: Side) -> dict[str, str]:
    """What an address may name, by the argument's name."""
    [[user_id]] = side.portal.sql("select public_id from keys_user where username = %s", side.person)
    calls = side.portal.calls(operation="registered-models.create", object_name=side.work.ids["name"])
    names = {"slug": side.slug, "person": side.person, "name": side.work.ids["name"], "key_id": side.key_id}
    return {**names, "user_id": user_id, "request_id": calls[0]["request_id"]}


def test_no_page_list_export_or_search_of_the_portal_shows_anything_of_another_organisation(sessions):
    """By session, and by a key for the API."""
    ours, theirs = sessions
    names, answered = names_of(theirs), 0
    scopes = ("--scope", "portal:read", "--organisation", ours.slug)
    key = ours.portal.issue(ours.person, *scopes)["key"]
    for target in (*account_addresses(names), *api_addresses(names)):
        replies = [ours.browser.call("GET", target)]
        if target.startswith("/api/"):
            replies.append(ours.portal.request("GET", target, key=key))
        for reply in replies:
            assert theirs.marker not in text_of(reply), target
            answered += reply.status == 200
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
    }
    assert targets <= {*account_addresses(names), *api_addresses(names)}
    shown = {target for target in targets if theirs.marker in text_of(theirs.browser.call("GET", target))}
    assert shown == targets
