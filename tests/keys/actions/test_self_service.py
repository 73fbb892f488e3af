"""Keys that holders issue to themselves stay within the operator's limits, however they are asked for."""

import datetime
import threading

import pytest
from django.db import connection
from django.utils import timezone

from keys import actions
from keys.actions import ActionError, self_service
from keys.models import User
from keys.rights.scopes import Preset
from tests.keys.people import by

pytestmark = pytest.mark.postgresql
DAY = datetime.timedelta(days=1)


@pytest.fixture(autouse=True)
def _offered(settings):
    settings.SELF_SERVICE = True
    settings.SELF_SERVICE_KEYS, settings.SELF_SERVICE_DAYS = 2, 90
    settings.SELF_SERVICE_PRESET = "contributor"


def issue(user: User, *, address: str | None = None, **changes):
    asked = {"name": "laptop", "preset": Preset.READER, "expires_in": 30 * DAY}
    return self_service.issue(**{**asked, **changes}, actor=by(user, address))


@pytest.mark.django_db
def test_a_key_of_ones_own_is_recorded_as_any_other():
    user = User.objects.create_user("dora")

    key, secret = issue(user, purpose="my machine", address="192.0.2.7")

    assert secret.startswith("hk_live_")
    event = key.events.get()
    assert (event.kind, event.actor, event.address) == ("issued", user, "192.0.2.7")


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"preset": Preset.FULL}, "at most the rights of contributor"),
        ({"expires_in": 91 * DAY}, "at most 90 days"),
        ({"expires_in": 0 * DAY}, "at most 90 days"),
        ({"any_owner": True}, "you cannot set any_owner yourself"),
        ({"scopes": ["registry:delete"]}, "you cannot set scopes yourself"),
    ],
)
def test_what_is_over_a_limit_is_refused_in_words(asked, words):
    user = User.objects.create_user("dora")

    with pytest.raises(ActionError, match=words):
        issue(user, **asked)

    assert not user.api_keys.exists()


@pytest.mark.django_db
def test_nothing_is_issued_where_it_is_not_offered(settings):
    settings.SELF_SERVICE = False

    with pytest.raises(ActionError, match="only administrators issue keys"):
        issue(User.objects.create_user("dora"))


@pytest.mark.django_db
def test_keys_that_have_ended_make_room():
    user = User.objects.create_user("dora")
    first, _ = issue(user)
    second, _ = issue(user)
    with pytest.raises(ActionError, match="at most 2 keys"):
        issue(user)

    actions.revoke(key=first)
    issue(user)
    type(second).objects.filter(pk=second.pk).update(expires_at=timezone.now() - DAY)

    assert self_service.keys_left(user) == 1


@pytest.mark.django_db(transaction=True)
def test_two_at_once_do_not_make_one_too_many(settings):
    settings.SELF_SERVICE_KEYS = 1
    user = User.objects.create_user("dora")
    start = threading.Barrier(4)
    refused = []

    def ask() -> None:
        try:
            start.wait()
            issue(user)
        except ActionError as error:
            refused.append(str(error))
        finally:
            connection.close()

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert user.api_keys.count() == 1
    assert len(refused) == 3
