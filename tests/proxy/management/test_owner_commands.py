"""`hand_over` and `share_experiment`."""

import json

import pytest
from django.core.management import CommandError, call_command

from proxy.models import Owner
from tests.keys.people import make_cast

pytestmark = [pytest.mark.postgresql, pytest.mark.django_db]


@pytest.fixture
def owned(db):
    cast = make_cast()
    return Owner.objects.create(environment="live", kind="experiment", name="7", user=cast["dora"])


def test_what_a_user_owns_is_counted_and_handed_over(owned, capsys):
    call_command("hand_over", "dora", "bob", "--dry-run")
    assert capsys.readouterr().out == "1 objects of dora would belong to bob.\n"
    assert Owner.objects.get().user.username == "dora"

    call_command("hand_over", "dora", "bob", "--json")
    assert json.loads(capsys.readouterr().out) == {"objects": 1, "done": True}
    assert Owner.objects.get().user.username == "bob"


@pytest.mark.parametrize(("taker", "problem"), [("dora", "same user"), ("nobody", "no user “nobody”")])
def test_it_goes_to_another_user_who_is_there(owned, taker, problem):
    with pytest.raises(CommandError, match=problem):
        call_command("hand_over", "dora", taker)


def test_an_experiment_is_shared_and_no_longer(owned, capsys):
    call_command("share_experiment", "7")
    assert Owner.objects.get().is_shared
    call_command("share_experiment", "7", "--undo", "--json")
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["is_shared"] is False
    with pytest.raises(CommandError, match="number"):
        call_command("share_experiment", "x")
