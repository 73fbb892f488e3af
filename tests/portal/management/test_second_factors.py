"""`manage.py reencrypt_second_factors`: second factors under the newest pepper."""

import pytest
from allauth.mfa.models import Authenticator
from allauth.mfa.utils import decrypt, encrypt
from cryptography.fernet import InvalidToken
from django.core.management import CommandError, call_command

from keys.models import User


@pytest.mark.django_db
def test_second_factors_move_to_the_newest_pepper(settings, capsys):
    bob = User.objects.create_user("bob")
    old, new = ["o" * 40], ["n" * 40]
    settings.KEY_PEPPERS = old
    Authenticator.objects.create(user=bob, type="totp", data={"secret": encrypt("of an app")})
    Authenticator.objects.create(user=bob, type="recovery_codes", data={"seed": encrypt("x"), "used_mask": 1})
    Authenticator.objects.create(user=bob, type="webauthn", data={"credential": {}})
    settings.KEY_PEPPERS = new
    with pytest.raises(CommandError, match="not in KEY_PEPPERS"):
        call_command("reencrypt_second_factors")

    settings.KEY_PEPPERS = new + old
    call_command("reencrypt_second_factors")
    assert capsys.readouterr().out == "2 second factors are encrypted under the newest pepper.\n"
    stored = Authenticator.objects.get(type="totp").data["secret"]
    settings.KEY_PEPPERS = new
    assert decrypt(stored) == "of an app"
    settings.KEY_PEPPERS = old
    with pytest.raises(InvalidToken):
        decrypt(stored)
