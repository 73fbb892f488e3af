"""Verification of the ledger together with its time-stamps, and with the manifests whose digests it contains."""

from collections.abc import Callable

from proxy.ledger import stamps, verification
from proxy.ledger.triggers import find_trigger_problem
from proxy.ledger.verification import Head, Verdict
from proxy.models import Manifest, Registration
from proxy.models.manifests import OPERATION

TRIGGERS = frozenset({"manifest_keep", "manifest_keep_all", "artifact_event_keep", "artifact_event_keep_all"})


def verify(heads: list[Head] | None = None, *, on_rows: Callable[[int], None] = lambda rows: None) -> Verdict:
    """Check the chain, every time-stamp of a head, and every manifest against the digest in its row of the ledger."""
    verdict = verification.verify([*(heads or []), *stamps.stamped_heads()], on_rows=on_rows)
    verdict.stamps, problem = stamps.verify()
    verdict.problem = (
        verdict.problem
        or problem
        or find_trigger_problem("manifests", TRIGGERS, "proxy_manifest", "proxy_artifactevent")
        or find_manifest_problem()
    )
    return verdict


def find_manifest_problem() -> str:
    """The first problem of a manifest; "" if there is none."""
    manifests = Manifest.objects.select_related("row").order_by("id")
    for manifest in manifests.iterator(chunk_size=500):
        name = f"the manifest of {manifest.object_name} {manifest.version}"
        if (
            manifest.computed_digest != manifest.digest
            or manifest.row.detail.get("manifest") != manifest.digest
        ):
            return f"{name} was changed: its content does not match its digest in the ledger"
        if manifest.row.sequence is None:
            return f"{name} is not in the chain"
    lost = Registration.objects.in_chain().filter(operation=OPERATION, manifest_of_row=None).first()
    if lost:
        return (
            f"the manifest of {lost.object_name} {lost.version} is missing, which row {lost.sequence} states"
        )
    return ""
