"""The search of the account pages finds what is the holder's own, and nothing else."""

import pytest
from django.test import Client
from django.utils import timezone

from keys import actions
from proxy.models import Owner, UncalledRequest
from tests.portal.account.conftest import Holder

pytestmark = [pytest.mark.postgresql, pytest.mark.django_db]

PALETTE = "/account/palette/"


def found(of: Holder, text: str) -> str:
    response = of.client.post(PALETTE, {"text": text})
    assert (response.status_code, response["Cache-Control"]) == (200, "private, no-store")
    return response.content.decode()


def test_it_finds_ones_own_keys_by_name_and_by_the_ends_of_every_secret(dora, mallory):
    page = f'href="/account/keys/{dora.key.public_id}/"'
    before = dora.key.prefix[-4:], dora.key.last4
    for text in (dora.key.name, dora.key.masked, *before):
        assert page in found(dora, text)
        assert page not in found(mallory, text)

    _, secret = actions.rotate(key=dora.key, overlap="now")
    for text in before:
        assert page in found(dora, text)
        assert "an old secret of it" in found(dora, text)
    assert page in found(dora, f"Bearer {secret}")
    assert "No results." in found(mallory, secret)
    assert secret not in found(dora, secret)


def test_it_finds_ones_own_calls_models_and_the_pages(dora, mallory):
    Owner.objects.create(environment="live", kind="registered_model", name="churn-forecast", user=dora.user)
    request_id = f"req_{'b' * 32}"
    UncalledRequest.objects.create(
        request_id=request_id, at=timezone.now(), status=401, reason="no_key", method="GET", path="/"
    )

    link = "/account/registrations/model/?name=churn-forecast&amp;environment=live&amp;organisation=shared"
    assert f'href="{link}"' in found(dora, "FORE")
    assert f'href="/account/calls/{dora.call.request_id}/"' in found(dora, f" {dora.call.request_id} ")
    assert "Request that became no call: 401 no_key" in found(dora, request_id)
    assert 'href="/account/usage/"' in found(dora, "usa")
    assert "No results." in found(mallory, "FORE")
    assert "No results." in found(mallory, dora.call.request_id)


def test_it_is_for_who_is_signed_in_and_sent_by_post(dora):
    assert Client().post(PALETTE, {"text": "x"}).status_code == 302
    assert dora.client.get(PALETTE).status_code == 405
    assert "data-palette" in dora.client.get("/account/").content.decode()
