"""The search of the key list is a POST: whoever pastes a whole key finds its row, and the secret stays nowhere."""

import pytest

from keys import actions
from keys.models import ApiKey
from tests.keys.people import KEYS, key_of, page_of, signed_in

FIND = f"{KEYS}find/"


@pytest.fixture
def issued(cast) -> tuple[ApiKey, str]:
    return actions.issue(owner=cast["dora"], name="findable")


@pytest.mark.parametrize("text", ["{}", "  {}\n", "Bearer {}", "export MLFLOW_TRACKING_TOKEN={}", "“{}”"])
def test_a_pasted_key_leads_to_its_page(bob, issued, text):
    key, secret = issued

    response = bob.post(FIND, {"q": text.format(secret)})

    assert (response.status_code, response["Location"]) == (303, page_of(key))
    assert response["Referrer-Policy"] == "no-referrer"
    assert secret not in str(response.headers) + str(response.cookies)
    page = bob.get(response["Location"]).content.decode()
    assert "This is the key whose secret you searched for." in page
    assert secret not in page


def test_the_old_secret_of_a_rotated_key_leads_there_too(bob, issued):
    key, secret = issued
    actions.rotate(key=key, overlap="7d")

    response = bob.post(FIND, {"q": secret})

    assert response["Location"] == page_of(key)
    key.refresh_from_db()
    ends = f"{key.previous_ends_at:%Y-%m-%d %H:%M} UTC"
    assert f"is this key&#x27;s old one, which ends {ends}." in bob.get(page_of(key)).content.decode()


def test_a_key_under_an_older_pepper_is_found(bob, issued, settings):
    key, secret = issued
    settings.KEY_PEPPERS = ["a new pepper, long enough to be taken for one", *settings.KEY_PEPPERS]

    assert bob.post(FIND, {"q": secret})["Location"] == page_of(key)


@pytest.mark.parametrize("by_get", [False, True])
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("hk_live_" + "0" * 26 + "000000", "mistyped"),
        ("hk_live_" + "0" * 20, "not a Hokusai API key"),
        (None, "No such key: it was not issued here."),
    ],
)
def test_what_is_no_key_of_ours_is_said_and_not_repeated(cast, bob, text, said, by_get):
    if text is None:
        key, text = actions.issue(owner=cast["dora"], name="gone")
        ApiKey.objects.filter(pk=key.pk).update(digest="0" * 64)

    response = bob.get(KEYS, {"q": text}) if by_get else bob.post(FIND, {"q": text})

    assert (response.status_code, response["Location"]) == (303, KEYS)
    page = bob.get(KEYS).content.decode()
    assert said in page
    assert text not in page


def test_a_key_in_the_address_is_taken_out_of_it(bob, issued):
    key, secret = issued

    response = bob.get(KEYS, {"q": secret})

    assert (response.status_code, response["Location"]) == (303, page_of(key))


@pytest.mark.parametrize(("name", "asked_to_sign_in"), [("charlie", False), ("dora", True), (None, True)])
def test_those_who_may_not_look_learn_nothing_and_carry_no_secret_to_the_sign_in(
    cast, client, issued, name, asked_to_sign_in
):
    _, secret = issued
    client = signed_in(cast[name]) if name else client

    for response in (client.get(KEYS, {"q": secret}), client.post(FIND, {"q": secret})):
        assert response.status_code in ((302, 303) if asked_to_sign_in else (303, 403))
        assert secret not in str(response.headers) + response.content.decode()
        assert response.headers.get("Location", KEYS) in (
            KEYS,
            f"/admin/login/?next={KEYS}",
            f"/admin/login/?next={FIND}",
        )


def test_any_other_text_goes_to_the_lists_own_search_with_its_filters(cast, bob):
    wanted = key_of(cast["dora"], name="two words & more")
    key_of(cast["dora"], name="another")

    response = bob.post(FIND, {"q": "words &", "state": "active"})

    assert (response.status_code, response["Location"]) == (303, f"{KEYS}?q=words+%26&state=active")
    assert list(bob.get(response["Location"]).context["cl"].queryset) == [wanted]


@pytest.mark.parametrize("text", ["", "hk_live_AbCd…wXyZ", "hk_live_AbCd"])
def test_the_ends_of_a_key_are_no_key(bob, text):
    assert bob.post(FIND, {"q": text})["Location"].startswith(KEYS)


def test_the_list_offers_that_form_and_a_visit_to_its_address_shows_the_list(bob, issued):
    page = bob.get(KEYS).content.decode()

    assert f'method="post" action="{FIND}" role="search"' in page
    assert bob.get(FIND)["Location"] == KEYS


def test_the_search_needs_the_csrf_token(cast, issued):
    strict = signed_in(cast["alice"], enforce_csrf_checks=True)

    assert strict.post(FIND, {"q": issued[1]}).status_code == 403
