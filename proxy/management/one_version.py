"""What the commands about one model version share."""

from typing import Any

from django.core.management.base import CommandError, CommandParser

from keys.management.one_organisation import add_organisation, namespace_of
from keys.models import ApiKey, Namespace
from proxy.models import Manifest


def add_version(parser: CommandParser) -> None:
    parser.add_argument("name", metavar="NAME")
    parser.add_argument("version", metavar="VERSION")
    parser.add_argument("--environment", choices=ApiKey.Environment.values, default="live")
    add_organisation(parser)


def manifest_of(options: dict[str, Any]) -> tuple[Namespace, Manifest]:
    """Where the version that the options name is, and its manifest. Raises CommandError if it has none."""
    name, version = options["name"], options["version"]
    namespace = namespace_of(options["environment"], options["organisation"])
    manifest = Manifest.objects.of_version(namespace, name, version)
    if manifest is None:
        raise CommandError(
            f"{name} {version} has no manifest: manage.py hash_artifacts --name {name} makes one"
        )
    return namespace, manifest
