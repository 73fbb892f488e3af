"""What the rating of a version's files means for its publication: a warning, or a refusal if its organisation requires
it.

An organisation that requires it publishes only versions whose pickles were all examined to their end, and none of whose
files is rated dangerous, and so only single versions: nobody has examined those that are registered later. Files
of other formats are rated by their names, and count as examined.
"""

from django.db import transaction

from keys.actions import organisations
from keys.actions.actor import COMMAND, Actor
from keys.actions.errors import ActionError
from keys.actions.history import log
from keys.models import Membership, Namespace, Organisation
from keys.organisations.maintainers import require_role
from proxy.models import ArtifactEvent, Manifest, Publication
from proxy.upstream.workspaces import present_root

Rule = Organisation.PublicationRule
Kind = ArtifactEvent.Kind
DANGEROUS = "at least one of its files can run code when it is loaded"


def find_problem(namespace: Namespace, name: str, version: str) -> str:
    """Why the version does not count as safe to load, in words; "" if its pickles were all examined to their end, and
    none of its files is rated dangerous."""
    manifest = Manifest.objects.of_version(namespace, name, version)
    if manifest is None:
        return "the portal has no list of its files yet"
    scan = getattr(manifest, "scan", None)
    if scan is None:
        return "its files were not examined yet"
    if scan.rating == scan.Rating.DANGEROUS:
        return DANGEROUS
    if not scan.is_whole:
        return "not all of its files were examined"
    root = present_root(manifest)
    events = ArtifactEvent.objects.below(manifest.environment, root).filter(at__gt=scan.at)
    if root and events.exclude(kind__in=(Kind.READ, Kind.KEPT)).exists():
        return "its files were written after they were examined"
    return ""


def require(organisation: Organisation, environment: str, name: str, version: str) -> None:
    """Raises ActionError if the organisation's rule does not let the version be published, or with version="" the whole
    model."""
    if organisation.publication_rule != Rule.REFUSE:
        return
    words = f"{organisation} requires that versions are examined before they are published: "
    if not version:
        raise ActionError(f"version: {words}publish single versions, because later ones are not examined")
    if problem := find_problem(Namespace.of(environment, organisation), name, version):
        raise ActionError(f"version: {words}{problem}")


@transaction.atomic
def set_rule(*, organisation: Organisation, rule: str, actor: Actor = COMMAND) -> Organisation:
    """Set what happens when a version that is rated dangerous, or was not examined, is to be published: `warn` or
    `refuse`. Raises ActionError while something is published that the rule would refuse, and NotAllowed."""
    require_role(actor, organisation, Membership.Role.OWNER)
    if rule not in Rule.values:
        raise ActionError(f"rule: give one of {', '.join(Rule.values)}")
    organisation = organisations.lock(organisation)
    if organisation.publication_rule == rule:
        return organisation
    organisation.publication_rule = rule
    for row in Publication.objects.in_force().filter(organisation=organisation).order_by("id"):
        try:
            require(organisation, row.environment, row.name, row.version)
        except ActionError as error:
            raise ActionError(f"withdraw the publication of {row} first: {error}") from None
    organisation.save(update_fields=["publication_rule"])
    log(organisation, f"Changed publication_rule to {rule}.", actor=actor)
    return organisation
