"""The portal does the same work for an id of another organisation as for a made-up one: as many queries. With more, the
time of the response would tell the two apart; `make organisations` measures that."""

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from keys.actions.organisations import add_member, create_organisation
from keys.models import Trust, User
from tests.end_to_end.own_addresses import account_addresses, api_addresses
from tests.end_to_end.sides import other_of_its_form
from tests.keys.trusts import client_of, make_trust

pytestmark = [pytest.mark.postgresql, pytest.mark.django_db]


@pytest.fixture
def trust(db) -> Trust:
    return make_trust()


def count_queries(client: Client, address: str) -> tuple[int, int]:
    """The status of the response, and how many queries it took."""
    with CaptureQueriesContext(connection) as queries:
        status = client.get(address, headers={"Sec-Fetch-Site": "same-origin"}).status_code
    return status, len(queries)


@pytest.mark.parametrize("addresses", [account_addresses, api_addresses])
def test_another_organisations_id_takes_as_many_queries_as_a_made_up_one(trust, addresses):
    key = trust.key
    names = {
        "slug": key.organisation.slug,
        "key_id": key.public_id,
        "user_id": key.owner.public_id,
        "person": key.owner.username,
        "name": "churn",
        "request_id": f"req_{1:032x}",
    }
    made_up = {name: other_of_its_form(value) for name, value in names.items()}
    own = create_organisation(slug="own", name="Dora's")
    add_member(organisation=own, user=User.objects.create_user("dora"), role="owner")
    dora, different, count = client_of("dora"), [], 0
    for pair in zip(addresses(names), addresses(made_up), strict=True):
        if pair[0] == pair[1]:
            continue
        count += 1
        for address in pair:
            count_queries(dora, address)  # what is read once for both
        found = [count_queries(dora, address) for address in pair]
        if found[0] != found[1]:
            different.append((pair[0], *found))
    assert count > 20
    assert not different
