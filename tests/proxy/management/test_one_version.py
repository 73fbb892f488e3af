"""The commands about one version find it by its name, number, environment and organisation."""

import pytest
from django.core.management import CommandError, call_command

from keys.models import Namespace
from proxy.management.commands import verify_version
from proxy.models import Manifest

pytestmark = [pytest.mark.postgresql, pytest.mark.django_db]


@pytest.mark.parametrize("command", ["export_signature", "verify_version"])
def test_a_version_without_a_manifest_is_named_with_the_command_that_makes_one(command):
    with pytest.raises(
        CommandError, match=r"fraud 3 has no manifest: manage\.py hash_artifacts --name fraud"
    ):
        call_command(command, "fraud", "3")


@pytest.mark.parametrize("command", ["export_signature", "verify_version"])
def test_an_organisation_that_does_not_exist_is_refused(command):
    with pytest.raises(CommandError, match="there is no organisation “nobodys”"):
        call_command(command, "fraud", "3", "--organisation", "nobodys")


def test_files_cannot_be_compared_without_an_mlflow_server(settings, monkeypatch):
    settings.MLFLOW_TEST_URL = ""
    found = (Namespace.shared("test"), Manifest())
    monkeypatch.setattr(verify_version, "manifest_of", lambda options: found)

    with pytest.raises(CommandError, match="No MLflow server is set for the environment “test”"):
        call_command("verify_version", "fraud", "3", "--environment", "test")
