"""A key that is used from a network that it was never used from is told of: once, and not of its first one."""

import datetime
import importlib

import pytest
from django.db import IntegrityError, connection, transaction

from keys import alerts
from keys.alerts.wording import MANY_NETWORKS, describe_alert
from keys.models import Alert, ApiKey, KeyNetwork
from proxy.models import Call
from proxy.usage import networks
from tests.proxy.logs import NOON, a_connection, finished_call, key_of

pytestmark = [pytest.mark.postgresql, pytest.mark.django_db(transaction=True)]

MINUTE = datetime.timedelta(minutes=1)
HOME, OFFICE, CLOUD = "192.0.2.7", "198.51.100.7", "2001:db8:1:2::7"


@pytest.fixture
def alice():
    return key_of("alice")


def used(writer, key: ApiKey, *addresses: str, **changes) -> None:
    for address in addresses:
        finished_call(key, Call.objects.count(), address=address, **changes).record()
        writer.run_once()


def told() -> list[str]:
    return [alert.occasion for alert in Alert.objects.filter(kind="new_network").order_by("id")]


def test_the_first_network_is_no_news_and_each_further_one_is_told_once(writer, alice):
    used(writer, alice, HOME, "192.0.2.200")
    assert alerts.check_keys() == 0

    used(writer, alice, OFFICE, CLOUD, HOME, "198.51.100.8", "2001:db8:1:2:3::")
    assert [alerts.check_keys(), alerts.check_keys()] == [2, 0]
    used(writer, alice, OFFICE, CLOUD)
    assert alerts.check_keys() == 0

    assert told() == ["198.51.100.0/24", "2001:db8:1:2::/64"]


def test_several_networks_of_one_batch_have_the_earliest_for_the_first(writer, alice):
    for number, address in enumerate((OFFICE, HOME, CLOUD)):
        finished_call(alice, number, address=address, at=NOON + number * MINUTE).record()
    writer.run_once()
    alerts.check_keys()

    assert KeyNetwork.objects.get(is_first=True).network == "198.51.100.0/24"
    assert sorted(told()) == ["192.0.2.0/24", "2001:db8:1:2::/64"]


def test_each_key_has_networks_of_its_own(writer, alice):
    bob = key_of("bob")
    used(writer, alice, HOME, OFFICE)
    used(writer, bob, OFFICE)
    alerts.check_keys()

    assert [alert.key for alert in Alert.objects.all()] == [alice]


def test_a_call_refused_with_401_does_not_count_but_one_refused_for_its_network_does(writer, alice):
    used(writer, alice, HOME)
    used(writer, alice, OFFICE, status=401, reason="key_revoked")
    assert alerts.check_keys() == 0
    used(writer, alice, CLOUD, status=403, reason="network")
    alerts.check_keys()

    assert told() == ["2001:db8:1:2::/64"]


def test_a_network_is_told_once_though_a_process_has_forgotten_that_it_knows_it(writer, alice):
    used(writer, alice, HOME, OFFICE)
    alerts.check_keys()
    writer.networks.pairs.clear()
    used(writer, alice, OFFICE, HOME)

    assert (alerts.check_keys(), KeyNetwork.objects.count()) == (0, 2)


def test_what_was_told_but_not_marked_so_is_not_told_again(writer, alice):
    used(writer, alice, HOME, OFFICE)
    alerts.check_keys()
    KeyNetwork.objects.update(is_told=False)

    assert (alerts.check_keys(), KeyNetwork.objects.without_alert().count()) == (0, 0)


def test_of_two_processes_one_makes_the_first_network(alice):
    """The second one waits for the first one's commit, and then writes a further network."""
    with a_connection() as one, a_connection() as other, one.transaction():
        networks.write(one.cursor(), {(alice.pk, "192.0.2.0/24"): NOON})
        other.execute("set lock_timeout = '100ms'")
        with pytest.raises(Exception, match="lock timeout"), other.transaction():
            networks.write(other.cursor(), {(alice.pk, "198.51.100.0/24"): NOON})
    with a_connection() as other:
        networks.write(other.cursor(), {(alice.pk, "198.51.100.0/24"): NOON})

    assert alerts.check_keys() == 1
    assert told() == ["198.51.100.0/24"]


def test_networks_are_remembered_though_postgresql_refuses_a_call_of_the_batch(writer, alice):
    finished_call(alice, 1, address=HOME, operation="x" * 500).record()
    used(writer, alice, OFFICE)

    assert "198.51.100.0/24" in KeyNetwork.objects.values_list("network", flat=True)
    assert Call.objects.count() == 1


def test_so_many_networks_are_remembered_and_the_last_alert_says_so(writer, alice, monkeypatch):
    monkeypatch.setattr(networks, "MAX_NETWORKS", 3)
    monkeypatch.setattr("keys.alerts.wording.MAX_NETWORKS", 3)
    used(writer, alice, *(f"203.0.{number}.1" for number in range(5)))
    assert alerts.check_keys() == 2

    words = [describe_alert(alert)[1] for alert in Alert.objects.order_by("id")]
    assert [MANY_NETWORKS in text for text in words] == [False, True]
    assert "203.0.1.0/24 on 2026-03-04 12:30 UTC" in words[0]


def test_what_a_process_remembers_is_bounded():
    known = networks.KnownNetworks(limit=2)
    for number in range(5):
        known.add(known.select_unknown({(1, f"203.0.{number}.1"): NOON}))
        assert len(known.pairs) <= 2
    assert known.select_unknown({(1, "203.0.4.9"): NOON, (1, ""): NOON}) == {}


def test_the_network_of_the_last_use_before_the_upgrade_is_no_news(writer, alice):
    bob = key_of("bob")
    ApiKey.objects.filter(pk=alice.pk).update(last_used_at=NOON, last_used_address=HOME)
    ApiKey.objects.filter(pk=bob.pk).update(last_used_at=NOON, last_used_address=CLOUD)
    with connection.cursor() as cursor:
        cursor.execute(importlib.import_module("keys.migrations.0008_networks").SEED)
    used(writer, alice, OFFICE, HOME)
    used(writer, bob, CLOUD)
    alerts.check_keys()

    assert told() == ["198.51.100.0/24"]


@pytest.mark.parametrize(
    ("constraint", "fields"),
    [
        ("one_network_of_a_key", {"network": "192.0.2.0/24"}),
        ("one_first_network_of_a_key", {"network": "198.51.100.0/24", "is_first": True}),
        ("key_network_not_empty", {"network": ""}),
    ],
)
def test_postgresql_holds_what_a_network_is(alice, constraint, fields):
    KeyNetwork.objects.create(key=alice, network="192.0.2.0/24", at=NOON, is_first=True)
    with pytest.raises(IntegrityError, match=constraint), transaction.atomic():
        KeyNetwork.objects.create(key=alice, at=NOON, **fields)
