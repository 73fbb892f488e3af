"""An organisation's trust and its people, for the tests of the pages, the API and the command."""

from django.test import Client

from keys.actions import organisations
from keys.models import Trust, User
from keys.organisations.trusts import create_trust
from tests.issuers import AUDIENCE, Issuer
from tests.keys.people import by, signed_in

ISSUER = Issuer()
FIELDS = {"issuer": ISSUER.url, "audience": AUDIENCE, "conditions": {"repository": ["acme/*"]}}
FIELDS |= {"key_set": ISSUER.key_set}


def make_trust() -> Trust:
    """Olga's, who owns the organisation; max maintains it."""
    lab = organisations.create_organisation(slug="lab", name="The Lab")
    for name, role in (("olga", "owner"), ("max", "maintainer"), ("mia", "member")):
        organisations.add_member(organisation=lab, user=User.objects.create_user(name), role=role)
    olga = User.objects.get(username="olga")
    return create_trust(organisation=lab, name="nightly", actor=by(olga), **FIELDS)


def client_of(name: str) -> Client:
    return signed_in(User.objects.get(username=name))
