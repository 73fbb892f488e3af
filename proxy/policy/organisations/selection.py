"""The organisation in which a call acts: the key's own, or another one that the key's list contains.

A caller states another one with MLflow's header (`MLFLOW_WORKSPACE`), or in the address, `/api/mlflow/w/ORG`, for
clients that cannot send the header. The address may also name an organisation that publishes models for the caller's
(`proxy.policy.organisations.published`). An organisation that the caller may not use gets the same refusal as one that
does not exist.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from keys.credentials import cache
from keys.credentials.caller import Caller
from keys.database import database_required
from keys.models import Organisation
from keys.refusals import Refusal, forbidden
from proxy.policy.organisations import published

PROGRAMS = "/api/mlflow"
IN_ADDRESS = re.compile(rf"{PROGRAMS}/w/([^/]+)(?=/|\Z)")
HEADER = "HTTP_X_MLFLOW_WORKSPACE"

known_organisations: cache.RowCache[Organisation] = cache.RowCache()


def drop_changed(kind: str, name: str) -> None:
    if kind == "organisation":
        known_organisations.distrust_all()


cache.caches.append(known_organisations)
cache.change_listeners.append(drop_changed)


def split_mount(path: str, mount: str) -> tuple[str, str]:
    """The mount with the organisation that the address names, and that organisation's slug; "" if it names none."""
    if mount == PROGRAMS and (named := IN_ADDRESS.match(path)):
        return named[0], named[1]
    return mount, ""


def select(caller: Caller, meta: Mapping[str, Any], in_address: str) -> Caller:
    """The caller in the organisation that the call states. Raises Refusal (403) for one that the caller may not use.

    The address counts more than the header, which a client sends with every call. A session's organisation is chosen in
    the header bar of MLflow's pages, which send what their browser remembers.
    """
    if caller.key is None:
        return caller
    own, in_header = caller.organisation.slug, meta.get(HEADER, "").strip()
    wanted = in_address or in_header or own
    is_contradiction = in_header not in ("", own, wanted)
    if wanted == own and not is_contradiction:
        return caller
    if is_contradiction:
        raise other_organisation(caller)
    if organisation := allowed_organisation(caller, wanted):
        return replace(caller, organisation=organisation)
    if in_address and (reader := published.as_reader(caller, in_address)):
        return reader
    raise other_organisation(caller)


def allowed_organisation(caller: Caller, slug: str) -> Organisation | None:
    """The organisation of this slug if it is on the list of the caller's key, whose user must be staff."""
    if caller.key is None or slug not in caller.key.also_organisations or not caller.user.is_staff:
        return None
    found = find_organisation(slug)
    return found if found is not None and found.closed_at is None else None


def find_organisation(slug: str) -> Organisation | None:
    """Raises Refusal (429) if PostgreSQL is unavailable and the organisation is not in memory."""
    with database_required(
        "The portal cannot look up the organisation just now. Try again in a few seconds."
    ):
        return known_organisations.get(slug, lambda: Organisation.objects.filter(slug=slug).first())


def other_organisation(caller: Caller) -> Refusal:
    return forbidden(
        "other_organisation",
        f"{caller} acts in the organisation “{caller.organisation.slug}” only, and the call names another one. Unset "
        f"MLFLOW_WORKSPACE, or use the address {PROGRAMS}; to work elsewhere, use a key of that organisation.",
    )
