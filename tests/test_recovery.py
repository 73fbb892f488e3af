"""docs/recovery.md has the commands that `make operate` takes out of it. The small form of those proofs."""

import re

import pytest
from django.db import connection

from tests.operate import front, guide

# Per section: how many blocks of commands the proofs expect, and the example values that they replace.
SECTIONS = {
    "Back up": (2, ["/backup/", "/srv/mlflow/artifacts"]),
    "Restore a dump": (2, ["/backup/", "/srv/mlflow/artifacts", "db.internal"]),
    "Restore to a point in time": (2, ["/backup/", "2026-11-30 09:41:00+00"]),
    "Failover": (4, ["/srv/standby", "db-1.internal,db-2.internal"]),
    "`KEY_PEPPERS`": (2, ["2026-11-30T10:00:00Z"]),
}


@pytest.mark.parametrize("section", SECTIONS)
def test_the_guide_has_the_commands_that_the_proofs_run(section):
    count, examples = SECTIONS[section]
    blocks = guide.commands(section, replace=dict.fromkeys(examples, "(replaced)"))

    assert len(blocks) == count
    assert not any(example in block for example in examples for block in blocks)


def test_the_proofs_put_their_replicas_into_the_file_of_deploy():
    text = front.configuration(8080, ["127.0.0.1:1", "127.0.0.1:2"])

    assert "bind 127.0.0.1:8080\n" in text
    assert re.findall(r"server replica-\d (\S+) check", text) == ["127.0.0.1:1", "127.0.0.1:2"]


@pytest.mark.postgresql
@pytest.mark.django_db
def test_a_restore_does_not_give_the_numbers_of_lost_keys_again(django_user_model):
    before = django_user_model.objects.create_user("before").pk
    [statement] = re.findall(r'-c "(SELECT setval.+?)"', guide.commands("Restore a dump")[1], re.DOTALL)
    with connection.cursor() as cursor:
        cursor.execute(statement)
        assert len(cursor.fetchall()) == 3

    assert django_user_model.objects.create_user("after").pk > before + 100_000
