"""`hand_over` and `share_experiment`."""

import io
import json

import pytest
from django.core.management import CommandError, call_command

from proxy.models import Owner
from proxy.policy import owner_actions
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


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_sees_how_far_it_has_got_and_a_pipe_does_not(owned, monkeypatch):
    monkeypatch.setattr(owner_actions, "BATCH", 1)
    Owner.objects.create(environment="live", kind="experiment", name="8", user=owned.user)
    seen = {}
    for name, stderr in (("bob", Terminal()), ("dora", io.StringIO())):
        call_command("hand_over", {"bob": "dora", "dora": "bob"}[name], name, stderr=stderr)
        seen[name] = stderr.getvalue()

    assert seen == {"bob": "1 of 2 objects handed over …\n2 of 2 objects handed over …\n", "dora": ""}


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
