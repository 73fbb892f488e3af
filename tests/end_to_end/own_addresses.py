"""The portal's own pages, lists and exports, as addresses that name objects of one organisation."""

import io
import itertools
import json
from collections.abc import Iterator

from django.urls import NoReverseMatch, URLPattern, reverse

from portal.account.urls import urlpatterns
from portal.api.urls import ADDRESSES
from tests.portals import Reply

FORMS = ("csv", "jsonl", "parquet")
VERSION = "name={name}&version=1&organisation={slug}"
CHOICES = {
    "what": ("calls", "registrations", "usage"),
    "file_form": FORMS,
    "form": FORMS,
    "verb": ("pause", "accept", "withdraw"),
    "kind": ("scope",),
    "pk": ("1",),
    "secret": ("hkc_none",),
}


def account_addresses(names: dict[str, str]) -> Iterator[str]:
    """Each account page; lists and files also with a query that names the objects. `names`: their ids, by the
    argument's name."""
    query = "name={name}&version=1&organisation={slug}&user={person}&key={key_id}&q={name}".format(**names)
    for pattern in urlpatterns:
        for arguments in arguments_of(pattern, names):
            try:
                address = reverse(pattern.name or "", kwargs=arguments)
            except NoReverseMatch:
                continue
            yield address
            if not arguments or "form" in "".join(arguments):
                yield f"{address}?{query}"


def arguments_of(pattern: URLPattern, names: dict[str, str]) -> Iterator[dict[str, str]]:
    wanted = list(pattern.pattern.regex.groupindex)
    values = [CHOICES.get(name) or ids_of(name, names) for name in wanted]
    for chosen in itertools.product(*values):
        yield dict(zip(wanted, chosen, strict=True))


def ids_of(name: str, names: dict[str, str]) -> list[str]:
    return [names["key_id"], names["user_id"]] if name == "public_id" else [names.get(name, "1")]


def api_addresses(names: dict[str, str]) -> Iterator[str]:
    """Each list, object and export of the management API; lists also with filters that name the objects."""
    for address, view in ADDRESSES.items():
        if "GET" not in getattr(view, "rules", {}):
            continue
        is_export, filters = address.endswith("export"), [] if "<" in address else filters_of(names)
        for name in ("slug", "key_id", "user_id", "request_id"):
            address = address.replace(f"<str:{name}>", names[name])
        for query in ("", *filters, *(f"?form={form}" for form in FORMS if is_export)):
            yield f"/api/v1/{address}{query}"


def write_addresses(names: dict[str, str]) -> Iterator[str]:
    """Each address of an account page that names an object, and each write of the management API."""
    for pattern in urlpatterns:
        if pattern.pattern.regex.groupindex:
            for arguments in arguments_of(pattern, names):
                try:
                    yield reverse(pattern.name or "", kwargs=arguments)
                except NoReverseMatch:
                    continue
    for address, view in ADDRESSES.items():
        if "POST" in getattr(view, "rules", {}) and "<" in address:
            for name in ("slug", "key_id", "user_id", "request_id"):
                address = address.replace(f"<str:{name}>", names[name])
            yield f"/api/v1/{address}"


def filters_of(names: dict[str, str]) -> list[str]:
    fields = ("organisation={slug}", "user={person}", "key={key_id}", VERSION)
    return [f"?{field.format(**names)}" for field in fields]


def text_of(reply: Reply) -> str:
    """The response's body; a Parquet file, which is compressed, as JSON."""
    if not reply.body.startswith(b"PAR1"):
        return reply.body.decode(errors="replace")
    from pyarrow import parquet

    return json.dumps(parquet.read_table(io.BytesIO(reply.body)).to_pylist(), default=str)
