import pytest
from django.contrib.sessions.models import Session
from django.test import Client

pytestmark = pytest.mark.django_db


def test_sessions_survive_a_rotation_of_the_secret_key_in_requests_at_once(
    client, django_user_model, settings
):
    client.force_login(django_user_model.objects.create_user("bob"))
    cookie = client.cookies["sessionid"].value
    old, new = settings.SECRET_KEY, "n" * 50
    for settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS in ((new, [old]), (old, [new]), (new, [old])):
        for _ in range(2):  # as two requests of a page, which have the same cookie
            page = Client(headers={"cookie": f"sessionid={cookie}"}).get("/account/")
            assert page.status_code == 200
    settings.SECRET_KEY_FALLBACKS = []
    assert Client(headers={"cookie": f"sessionid={cookie}"}).get("/account/").status_code == 200
    assert Session.objects.count() == 1

    settings.SECRET_KEY = "m" * 50
    assert Client(headers={"cookie": f"sessionid={cookie}"}).get("/account/").status_code == 302
