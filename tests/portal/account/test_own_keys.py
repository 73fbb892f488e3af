"""A holder's own keys: what they see, rotate, revoke and issue."""

import datetime

import pytest
from django.urls import reverse
from django.utils import timezone

from keys import actions
from keys.models import ApiKey
from tests.keys.people import SECRET, by, call, everything_stored, key_of, queries
from tests.portal.account.test_urls import text
from tests.portal.account.test_usage import total

pytestmark = [pytest.mark.postgresql, pytest.mark.django_db]


def page_of(key: ApiKey, name: str = "key") -> str:
    return reverse(f"account-{name}", args=[key.public_id])


def form_id(client, path: str) -> str:
    return client.get(path).context["form"]["form_id"].value()


def rotate(holder, overlap: str = "24h"):
    path = page_of(holder.key, "rotate")
    answers = {"overlap": overlap, "form_id": form_id(holder.client, path)}
    return answers, holder.client.post(path, answers)


def test_the_list_shows_a_key_masked_with_its_state_rights_and_dates(dora):
    shown = text(dora.client.get("/account/"))

    for words in ("dora&#x27;s key", dora.key.masked, "Active", "Contributor", "Never"):
        assert words in shown
    assert not SECRET.search(shown)


def test_ended_keys_are_shown_on_demand(dora):
    actions.revoke(key=dora.key)

    assert dora.key.masked not in text(dora.client.get("/account/"))
    assert dora.key.masked in text(dora.client.get("/account/", {"show": "all"}))


def test_many_keys_come_in_pages(dora):
    names = [f"key {number:02}" for number in range(30)]
    for name in names:
        key_of(dora.user, name)

    first = text(dora.client.get("/account/"))
    before = dora.client.get("/account/").context["more"]
    second = text(dora.client.get("/account/", {"before": before}))

    assert [name for name in names if name in first] == names[5:]
    assert [name for name in names if name in second] == names[:5]
    assert dora.client.get("/account/", {"before": "x"}).status_code == 200


@pytest.mark.parametrize("path", ["/account/", "/account/?show=all"])
def test_the_list_asks_as_much_for_a_thousand_keys_as_for_ten(dora, path):
    def make(count: int) -> None:
        key = key_of(dora.user)
        rows = []
        for number in range(count):
            values = {name: getattr(key, name) for name in ("owner", "scopes", "prefix", "last4")}
            rows.append(ApiKey(**values, name=f"key {number}", digest=f"{number + count * 10_000:064x}"))
        ApiKey.objects.bulk_create(rows)

    make(10)
    few = queries(lambda: dora.client.get(path))
    make(1000)

    assert queries(lambda: dora.client.get(path)) == few


def test_a_keys_page_asks_as_much_for_hundreds_of_changes_and_calls_as_for_ten(dora):
    key, counts = key_of(dora.user), []
    for first, last in ((1, 11), (11, 300)):
        for number in range(first, last):
            actions.change(key=key, name=f"name {number}")
            call(key, number)
        counts.append(queries(lambda: dora.client.get(f"/account/keys/{key.public_id}/")))

    assert counts[0] == counts[1]


def test_a_keys_page_says_what_it_may_do_and_what_happened_to_it(dora):
    expires = timezone.now() + datetime.timedelta(days=9)
    boss = type(dora.user).objects.create_superuser("boss")
    actions.change(
        key=dora.key,
        networks=["10.0.0.0/8"],
        patterns=["fraud-*"],
        monthly_requests=1000,
        expires_at=expires,
        actor=by(boss),
    )

    shown = text(dora.client.get(page_of(dora.key)))

    for words in (
        "Create and change experiments",
        "Can change only your own objects",
        "10.0.0.0/8",
        "fraud-*",
        "0 of 1,000",
        f"{expires:%Y-%m-%d %H:%M} UTC",
        "an administrator",
        "registered-models.delete",
    ):
        assert words in shown
    assert "boss" not in shown


@pytest.mark.parametrize(("act", "words"), [(actions.pause, "Paused"), (actions.revoke, "Revoked")])
def test_a_key_that_does_not_work_says_so(dora, act, words):
    act(key=dora.key, reason="left the team")

    shown = text(dora.client.get(page_of(dora.key)))

    assert words in shown
    assert "left the team" in shown


def test_rotating_shows_the_new_secret_once_and_stores_it_nowhere(dora):
    answers, response = rotate(dora)

    [secret] = set(SECRET.findall(text(response)))
    assert response["Cache-Control"] == "private, no-store"
    assert f"MLFLOW_TRACKING_TOKEN={secret}" in text(response)
    assert secret not in everything_stored()
    assert secret not in str(dora.client.cookies)
    assert dora.key.events.first().actor == dora.user
    dora.key.refresh_from_db()
    assert dora.key.state == "rotating"

    again = dora.client.post(page_of(dora.key, "rotate"), answers)
    assert "The new secret cannot be shown again." in text(again)
    assert not SECRET.search(text(again))
    assert not SECRET.search(text(dora.client.get(page_of(dora.key))))
    assert dora.key.events.filter(kind="rotated").count() == 1


def test_the_keys_page_says_who_still_uses_the_old_secret(dora):
    rotate(dora, "7d")
    ApiKey.objects.filter(pk=dora.key.pk).update(
        previous_used_at=timezone.now(), previous_used_address="192.0.2.9"
    )

    shown = text(dora.client.get(page_of(dora.key)))

    assert "The old secret" in shown
    assert "from 192.0.2.9" in shown


def test_a_key_that_has_ended_is_not_rotated(dora):
    actions.revoke(key=dora.key)

    response = dora.client.post(page_of(dora.key, "rotate"), {"overlap": "now", "form_id": "x"}, follow=True)

    assert "is revoked and cannot be rotated." in text(response)
    assert not SECRET.search(text(response))


def test_an_overlap_that_is_none_is_refused(dora):
    _, response = rotate(dora, "1y")

    assert "is not one of the available choices" in text(response)
    assert not dora.key.events.filter(kind="rotated").exists()


def test_revoking_asks_for_the_keys_name(dora):
    total(dora.key, span="hour", calls=1200)
    assert "1,200 calls: the key is still in use" in text(dora.client.get(page_of(dora.key, "revoke")))
    wrong = dora.client.post(page_of(dora.key, "revoke"), {"confirmation": "another"})

    assert "This is not the key&#x27;s name. Nothing was revoked." in text(wrong)
    dora.key.refresh_from_db()
    assert dora.key.revoked_at is None

    done = dora.client.post(
        page_of(dora.key, "revoke"), {"confirmation": "dora's key", "reason": "laptop lost"}, follow=True
    )

    assert "is revoked. Calls with it are refused from now on." in text(done)
    assert "laptop lost" in text(done)
    dora.key.refresh_from_db()
    assert dora.key.state == "revoked"
    assert dora.key.events.first().actor == dora.user


def test_opening_a_page_changes_nothing(dora):
    before = everything_stored()

    for name in ("rotate", "revoke", "key"):
        dora.client.get(page_of(dora.key, name))

    assert everything_stored() == before


def test_keys_are_not_issued_here_unless_the_operator_says_so(dora):
    for method in (dora.client.get, dora.client.post):
        assert method("/account/keys/issue/").status_code == 404
    assert "Issue a key" not in text(dora.client.get("/account/"))


def issue(holder, **changes):
    path = "/account/keys/issue/"
    answers = {"name": "laptop", "preset": "reader", "days": "30", "form_id": form_id(holder.client, path)}
    return holder.client.post(path, {**answers, **changes})


def test_a_holder_issues_a_key_to_themselves_and_sees_it_once(dora, settings):
    settings.SELF_SERVICE = True

    response = issue(dora, purpose="my own machine")

    [secret] = set(SECRET.findall(text(response)))
    key = ApiKey.objects.get(name="laptop")
    assert (key.owner, key.created_by, key.any_owner) == (dora.user, dora.user, False)
    assert key.scopes == ["tracking:read", "registry:read", "artifacts:read", "traces:read"]
    assert timezone.now() + datetime.timedelta(days=29) < key.expires_at
    assert secret not in everything_stored()
    assert not SECRET.search(text(dora.client.get("/account/")))


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ({"preset": "full"}, "not one of the available choices"),
        ({"days": "365"}, "not one of the available choices"),
        ({"name": ""}, "This field is required"),
        ({"form_id": ""}, "It is incomplete"),
    ],
)
def test_what_is_not_offered_is_not_issued(dora, settings, answer, words):
    settings.SELF_SERVICE = True

    response = issue(dora, **answer)

    assert words in text(response)
    assert "The form was not accepted." in text(response)
    assert ApiKey.objects.filter(owner=dora.user).count() == 1


def test_over_the_number_of_keys_the_page_says_what_to_do(dora, settings):
    settings.SELF_SERVICE, settings.SELF_SERVICE_KEYS = True, 1

    assert "You have reached the maximum number of keys." in text(dora.client.get("/account/keys/issue/"))
    assert "revoke one that you no longer use" in text(issue(dora))
    assert ApiKey.objects.filter(owner=dora.user).count() == 1
