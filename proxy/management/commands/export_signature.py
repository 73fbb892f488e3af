"""Write the signature of a model version, for `model_signing verify key`."""

import json
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from keys.formatting.invisible import escape, escape_json
from proxy.management.one_version import add_version, manifest_of
from proxy.models import Manifest


class Command(BaseCommand):
    help = (
        "Write the signature of a version's files in the OpenSSF Model Signing format. `model_signing verify key` "
        "verifies a downloaded folder with it and with the public key from /.well-known/model-signing-key.pem."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        add_version(parser)
        parser.add_argument("--output", type=Path, metavar="FILE", help="standard output if left out")
        parser.add_argument(
            "--json",
            action="store_true",
            help="print one JSON object with the signature and its public key's id",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        name, version = options["name"], options["version"]
        _, manifest = manifest_of(options)
        if not manifest.signature:
            raise CommandError(f"{name} {version} is not signed: {reason(manifest)}")
        output: Path | None = options["output"]
        if options["json"]:
            signature = json.loads(manifest.signature)
            key_id = signature["verificationMaterial"]["publicKey"]["hint"]
            told = {"name": name, "version": version, "key_id": key_id, "signature": signature}
            self.stdout.write(json.dumps(told))
        if output is None and not options["json"]:
            self.stdout.write(escape_json(manifest.signature))
        if output is None:
            return
        try:
            output.write_text(manifest.signature, encoding="utf-8")
        except OSError as error:
            raise CommandError(f"{output} cannot be written: {error.strerror}") from None
        if not options["json"]:
            self.stdout.write(escape(f"The signature of {name} {version} is in {output}."))


def reason(manifest: Manifest) -> str:
    """Why the manifest has no signature."""
    if not manifest.files:
        return "it has no files in MLflow's own store"
    if not manifest.is_complete:
        return "the portal has no digest of some files; manage.py hash_artifacts reads them"
    return "no SIGNING_KEY was set when its manifest was made"
