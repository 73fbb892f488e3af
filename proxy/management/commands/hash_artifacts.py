"""Read the files of versions that the portal has not seen, and record their digests as read later."""

import json
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from keys.formatting.invisible import escape
from keys.management.one_organisation import add_organisation, namespace_of
from keys.models import ApiKey
from proxy.models import Registration
from proxy.provenance import reading
from proxy.upstream.registry import RegistryError, registry_of


class Command(BaseCommand):
    help = (
        "Read the files of versions that have not passed through the portal, record their digests as read later, and "
        "make manifests with them. Files that were recorded before an interruption are not read again."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        whose = parser.add_mutually_exclusive_group(required=True)
        whose.add_argument("--name", help="the versions of this registered model")
        whose.add_argument("--all", action="store_true", help="every version in the ledger")
        parser.add_argument("--environment", choices=ApiKey.Environment.values, default="live")
        parser.add_argument("--json", action="store_true", help="print one JSON object at the end")
        add_organisation(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        environment = options["environment"]
        namespace = namespace_of(environment, options["organisation"])
        registry = registry_of(namespace)
        if registry is None:
            raise CommandError(f"there is no {environment} registry")
        rows = Registration.objects.versions().within(namespace).with_people().order_by("id")
        if not options["all"]:
            rows = rows.filter(object_name=options["name"])
        files, failed = [], 0
        for row in rows.iterator(chunk_size=500):
            try:
                for path, sha256 in reading.hash_unseen(row, registry):
                    files.append(
                        {"name": row.object_name, "version": row.version, "path": path, "sha256": sha256}
                    )
                    if not options["json"]:
                        line = f"{row.object_name} {row.version} {path} {sha256 or 'not recorded'}"
                        self.stdout.write(escape(line))
            except RegistryError as error:
                failed += 1
                self.stderr.write(escape(f"{row.object_name} {row.version}: {error}"))
        recorded = sum(bool(file["sha256"]) for file in files)
        if options["json"]:
            self.stdout.write(json.dumps({"files": files, "recorded": recorded, "failed": failed}))
        else:
            self.stdout.write(f"{recorded} files recorded.")
        if failed:
            raise CommandError(f"{failed} versions could not be read; run the command again")
