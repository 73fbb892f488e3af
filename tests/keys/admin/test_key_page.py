"""What a key's own page says about it: rights in words, last use, the old secret, what changed."""

from datetime import timedelta

from django.urls import reverse
from django.utils import timezone

from keys import actions
from keys.models import ApiKey
from keys.rights.scopes import Preset
from tests.keys.people import by, page_of, queries
from tests.proxy.ledger_rows import row


def test_it_says_in_words_what_the_key_may_do(bob, key):
    page = bob.get(page_of(key)).content.decode()
    assert "Contributor" in page
    assert "Create and change experiments, runs, metrics" in page
    assert "It may write only objects that belong to dora" in page
    assert "From anywhere" in page

    rights = {"networks": ["10.0.0.0/8"], "patterns": ["fraud-*"], "any_owner": True}
    actions.change(key=key, scopes=["traces:delete"], **rights)
    page = bob.get(page_of(key)).content.decode()
    assert "Delete traces and their assessments" in page
    assert "it may also write objects that belong to others" in page
    assert '<code class="line">10.0.0.0/8</code>' in page
    assert '<code class="line">fraud-*</code>' in page


def test_it_says_who_used_it_last(bob, key):
    assert "Last used" in bob.get(page_of(key)).content.decode()
    ApiKey.objects.filter(pk=key.pk).update(
        last_used_at="2026-11-23T16:40:00Z", last_used_address="192.0.2.9", last_used_client="<client/1>"
    )

    page = bob.get(page_of(key)).content.decode()

    assert "2026-11-23 16:40 UTC from 192.0.2.9 with &lt;client/1&gt;" in page


def test_it_says_until_when_the_old_secret_works_and_who_still_uses_it(bob, key):
    used_before = timezone.now() - timedelta(hours=1)
    ApiKey.objects.filter(pk=key.pk).update(last_used_at=used_before, last_used_address="192.0.2.9")
    old = ApiKey.objects.get()
    actions.rotate(key=key, overlap="7d")
    ends = f"ends on {timezone.now() + timedelta(days=7):%Y-%m-%d}"

    page = bob.get(page_of(key)).content.decode()
    assert f"{old.masked}</code> {ends}" in page
    assert f"Last used: {used_before:%Y-%m-%d %H:%M} UTC from 192.0.2.9 (not since the rotation)" in page

    ApiKey.objects.filter(pk=key.pk).update(previous_used_at=timezone.now())
    assert "(still in use since the rotation)" in bob.get(page_of(key)).content.decode()

    ApiKey.objects.filter(pk=key.pk).update(previous_ends_at=timezone.now())
    assert "</code> ended on " in bob.get(page_of(key)).content.decode()


def test_after_a_rotation_the_last_use_is_the_old_secrets_until_the_new_one_is_used(bob, key):
    before = timezone.now() - timedelta(hours=1)
    ApiKey.objects.filter(pk=key.pk).update(last_used_at=before, last_used_address="192.0.2.9")
    actions.rotate(key=key, overlap="7d")
    words = f"{before:%Y-%m-%d %H:%M} UTC from 192.0.2.9, with the secret before the last rotation"

    assert words in bob.get(page_of(key)).content.decode()
    ApiKey.objects.filter(pk=key.pk).update(last_used_at=timezone.now())
    assert words not in bob.get(page_of(key)).content.decode()


def test_the_old_secret_of_a_revoked_key_has_ended_with_it(bob, key):
    actions.rotate(key=key, overlap="7d")
    actions.revoke(key=key)
    page = bob.get(page_of(key)).content.decode()

    assert f"</code> ended on {timezone.now():%Y-%m-%d}" in page
    assert "ends on" not in page


def test_it_tells_what_changed_from_what_to_what(cast, bob, key):
    actions.change(
        key=key,
        actor=by(cast["bob"], "192.0.2.7"),
        scopes=Preset.READER.scopes,
        networks=["10.0.0.0/8"],
        any_owner=True,
        name="<weekly>",
    )

    page = bob.get(page_of(key)).content.decode()

    for line in (
        "Scopes: Contributor → Reader",
        "Networks: any → 10.0.0.0/8",
        "Any owner: no → yes",
        "Name: “nightly training” → “&lt;weekly&gt;”",
    ):
        assert f'<span class="line">{line}</span>' in page
    assert "192.0.2.7" in page


def test_it_takes_as_many_queries_for_30_changes_as_for_3(cast, bob, key):
    actions.rotate(key=key)
    counts = []
    for number, changes in enumerate((3, 27)):
        for change in range(changes):
            actions.change(key=key, actor=by(cast["bob"]), name=f"name {number} {change}")
        counts.append(queries(lambda: bob.get(page_of(key))))

    assert counts[0] == counts[1]


def test_it_has_the_latest_registrations_for_those_who_see_them(alice, bob, key):
    made = row(key, "registered-models.create", "fraud")
    address = f'href="{reverse("admin:proxy_registration_change", args=[made.pk])}"'

    assert address in alice.get(page_of(key)).content.decode()
    assert address not in bob.get(page_of(key)).content.decode()
