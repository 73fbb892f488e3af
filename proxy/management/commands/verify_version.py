"""Read every file of a model version from MLflow's store and compare it with the version's manifest."""

import dataclasses
import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from keys.formatting import tables
from proxy.management.one_version import add_version, manifest_of
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
        add_version(parser)
        tables.add_forms(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        namespace, manifest = manifest_of(options)
        if (registry := registry_of(namespace)) is None:
            raise CommandError(f"No MLflow server is set for the environment “{namespace.environment}”.")
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
