"""The sign-in page has the cursor where the person types next."""

import re

import pytest
from django.test import Client

pytestmark = [pytest.mark.postgresql, pytest.mark.django_db]


def focused(page: str) -> list[str]:
    fields = re.findall(r"<input[^>]*\bautofocus\b[^>]*>", page)
    return [name for field in fields for name in re.findall(r'name="(\w+)"', field)]


def test_the_cursor_is_in_the_first_field_and_after_a_wrong_password_in_the_passwords():
    client = Client()

    assert focused(client.get("/account/login/").content.decode()) == ["login"]
    wrong = client.post("/account/login/", {"login": "dora", "password": "x"})
    assert focused(wrong.content.decode()) == ["password"]
