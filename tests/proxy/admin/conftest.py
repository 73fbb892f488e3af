import pytest
from django.contrib.auth.models import Permission
from django.test import Client

from keys.models import User


@pytest.fixture
def auditor() -> Client:
    """May look at everything and has every other permission on the ledger too."""
    user = User.objects.create_user("audrey", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(content_type__model="registration"))
    client = Client()
    client.force_login(user)
    return client
