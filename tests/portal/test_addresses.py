"""No page keeps an API key in its address, and the badge says which portal it is."""

import pytest

from keys import actions
from portal import admin_theme
from tests.keys.people import CALLS, KEYS, USERS, key_of, page_of, signed_in


@pytest.mark.parametrize("path", [CALLS, USERS, "/admin/proxy/owner/", "/admin/", "/account/", "/docs/"])
@pytest.mark.parametrize("name", ["alice", None])
def test_a_key_in_a_pages_address_is_taken_out(cast, client, path, name):
    _, secret = actions.issue(owner=cast["dora"], name="a key")
    client = signed_in(cast[name]) if name else client

    for query in (f"q={secret}", f"q=Bearer+{secret}&o=1", f"q={secret.replace('_', '%255F')}"):
        response = client.get(f"{path}?{query}")

        assert (response.status_code, response["Location"]) == (303, path)
        assert response["Referrer-Policy"] == "no-referrer"
        assert secret not in str(response.headers)


def test_the_list_of_keys_finds_the_key_first(cast):
    key, secret = actions.issue(owner=cast["dora"], name="a key")

    assert signed_in(cast["alice"]).get(f"{KEYS}?q={secret}")["Location"] == page_of(key)


def test_the_ends_of_a_key_may_be_searched_for(cast):
    key = key_of(cast["dora"])

    assert signed_in(cast["alice"]).get(CALLS, {"q": key.prefix}).status_code == 200


@pytest.mark.parametrize(
    ("url", "name", "debug", "badge"),
    [
        ("http://127.0.0.1:8000", "", False, ["local", "info"]),
        ("http://[::1]:8000", "", False, ["local", "info"]),
        ("http://localhost", "", False, ["local", "info"]),
        ("https://registry.example/x", "", False, ["registry.example", "info"]),
        ("https://registry.example", "production", False, ["production", "info"]),
        ("https://registry.example", "", True, ["debug", "danger"]),
    ],
)
def test_the_badge_says_which_portal_this_is(cast, settings, url, name, debug, badge):
    settings.PUBLIC_URL, settings.ENVIRONMENT_NAME, settings.DEBUG = url, name, debug

    assert admin_theme.environment(None) == badge
    page = signed_in(cast["alice"]).get(KEYS).content.decode()
    assert badge[0] in page


@pytest.mark.postgresql
@pytest.mark.parametrize("host", ["localhost:9", "127.0.0.1"])
def test_the_servers_links_come_from_the_public_url_whatever_host_the_request_names(echo_portal, host):
    key = echo_portal.issue("alice", "--scope", "portal:read")["key"]
    for _ in range(2):
        echo_portal.issue("alice", "--scope", "portal:read")

    head = f"GET /api/v1/keys?size=1 HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {key}\r\n"
    page = echo_portal.exchange(head.encode(), b"Connection: close\r\n\r\n")

    assert page.json()["next"].startswith(f"{echo_portal.url}/api/v1/keys?")
