"""Read every file of a model version from MLflow's store and compare it with the version's manifest."""

import dataclasses
import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from keys.formatting import tables
from keys.management.one_organisation import add_organisation, namespace_of
from keys.models import ApiKey
from proxy.models import Manifest
from proxy.provenance import reading
from proxy.provenance.reading import Verified
from proxy.upstream.registry import RegistryError, registry_of

FIELDS = [field.name for field in dataclasses.fields(Verified)]


class Command(BaseCommand):
    help = (
        "Read every file of a version from MLflow's store and compare it with the manifest. Exit status 0 if all are "
        "what was registered, 1 if a file differs, is missing or was added, 2 if a file could not be compared."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", metavar="NAME")
        parser.add_argument("version", metavar="VERSION")
        parser.add_argument("--environment", choices=ApiKey.Environment.values, default="live")
        add_organisation(parser)
        tables.add_forms(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        environment, name, version = options["environment"], options["name"], options["version"]
        namespace = namespace_of(environment, options["organisation"])
        manifest, registry = Manifest.objects.of_version(namespace, name, version), registry_of(namespace)
        if manifest is None or registry is None:
            raise CommandError(
                f"{name} {version} has no manifest: manage.py hash_artifacts --name {name} makes one"
            )
        try:
            verified = list(reading.verify(manifest, registry))
        except RegistryError as error:
            raise CommandError(f"The files cannot be read: {error}") from None
        rows = [dataclasses.asdict(file) for file in verified]
        if options["csv"] or options["jsonl"]:
            tables.print_file(self, FIELDS, rows, options)
        else:
            tables.show(self, FIELDS, rows, as_json=options["json"], empty="The version has no files.")
        verdicts = {file.verdict for file in verified}
        if verdicts & set(reading.BROKEN):
            sys.exit(1)
        if reading.NOT_SEEN in verdicts or manifest.extent == Manifest.Extent.UNLISTED:
            sys.exit(2)
