"""MLflow's response as the caller may see it."""

import json
import re
from collections.abc import Callable, Collection, Iterator
from typing import Any
from urllib.parse import parse_qsl

from django.conf import settings

from keys.refusals import Refusal
from proxy.answers import ERROR_CODES
from proxy.policy import direct_artifacts
from proxy.request import headers
from proxy.routes.operations import Operation
from proxy.routes.ui_links import ROOT
from proxy.upstream.client import UpstreamResponse
from proxy.upstream.failures import bad_gateway

PAGES = ROOT.rstrip("/")  # the mount of MLflow's pages

# Parts of an error message that reveal MLflow's database: addresses, statements, drivers.
DATABASE_ADDRESS = re.compile(r"\b(?:postgresql|mysql|mssql|sqlite)(?:\+\w+)?:/[^\s'\"`<>()\[\]{},;]*")
DATABASE_TEXT = re.compile(
    r"\[SQL: |sqlalche\.me/|\bpsycopg|\b(?:sqlite3|pymysql|MySQLdb|pyodbc|mysql\.connector)\."
)
QUOTES = "'\"`"
# MLflow's words before the old and the new value of a param: the old one is not in the request, but it is the run's.
PARAM_CHANGED = "Changing param values is not allowed. "
# The reasons in the words of PostgreSQL's, MySQL's and SQLite's drivers, which SQLAlchemy puts first.
CAUSES = {
    r"UniqueViolation|UNIQUE constraint|Duplicate entry": "an object with this name or id already exists",
    r"StringDataRightTruncation|Data too long": "one may be too long",
    r"NumericValueOutOfRange|Out of range|too large to convert": "a number is out of range",
    r"ForeignKeyViolation|(?i:foreign key constraint)": "one of them refers to an object that does not exist",
    r"NotNullViolation|NOT NULL constraint|cannot be null": "one of them is missing",
    r"UntranslatableCharacter|Incorrect string value": "it cannot store one of the characters",
}
MEANINGS = {
    "RESOURCE_ALREADY_EXISTS": "An object with this name or id already exists. Use it, or choose another name.",
    "RESOURCE_DOES_NOT_EXIST": "MLflow does not have the object that the call names.",
    "TEMPORARILY_UNAVAILABLE": "Its database is unavailable or busy for the moment. Check before you try again.",
    "INTERNAL_ERROR": "MLflow or its database failed. Send your administrator the request id.",
}


def refuse_unpresentable(
    response: UpstreamResponse, operation: Operation, *, sent: Callable[[], Collection[str]]
) -> None:
    """Raise Refusal in place of an error response that concerns only the operator, or that reveals internals. `sent`
    returns the texts in the caller's request, which MLflow's message may quote."""
    content_type = response.headers.get("Content-Type", "")
    if response.status in (401, 407) or (response.status == 403 and "text/plain" in content_type):
        response.close()
        raise bad_gateway(
            "upstream_refused_portal",
            "MLflow refused the portal itself (its credential or its Host header). "
            "Your key is valid; tell your administrator.",
        )
    if response.status < 400:
        return
    if "text/html" in content_type:
        response.close()
        raise upstream_error(response.status, operation)
    if "json" in content_type:
        refuse_internals(response, operation, sent)


def refuse_internals(
    response: UpstreamResponse, operation: Operation, sent: Callable[[], Collection[str]]
) -> None:
    """Raise Refusal with MLflow's status and error code, and a message that fits them, if MLflow's own message reveals
    its database."""
    text = response.peek().decode(errors="replace")
    error_code, message = read_error(text)
    if message.startswith(PARAM_CHANGED) or not is_internal(message) or not is_internal(message, sent()):
        return
    raise upstream_error(response.status, operation, describe_error(error_code, message), error_code)


def read_error(text: str) -> tuple[str, str]:
    """MLflow's error code ("" if there is none) and its message, or all of the text if it has another form."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        return "", text
    if not isinstance(content, dict) or not isinstance(content.get("message"), str):
        return "", text
    error_code = content.get("error_code")
    return error_code if isinstance(error_code, str) else "", content["message"]


def is_internal(message: str, sent: Collection[str] = ()) -> bool:
    """Whether the message contains an address, a statement or a driver's name that does not come from the caller.

    An address is the caller's if the request contains it as a whole; other parts only within quotation marks, so that
    nobody makes the portal show MLflow's own statement by sending its first words.
    """
    addresses = [found[0].rstrip(".:") for found in DATABASE_ADDRESS.finditer(message)]
    if any(not any(address in text for text in sent) for address in addresses):
        return True
    quoted = [range(start, end) for text in sent for start, end in find_quotations(message, text)]
    return any(not any(found.start() in span for span in quoted) for found in DATABASE_TEXT.finditer(message))


def find_quotations(message: str, text: str) -> Iterator[tuple[int, int]]:
    """Where the message contains the text within quotation marks."""
    if not DATABASE_TEXT.search(text):
        return
    for found in re.finditer(re.escape(text), message):
        start, end = found.span()
        if start > 0 and end < len(message) and message[start - 1] in QUOTES and message[end] in QUOTES:
            yield start, end


def describe_error(error_code: str, message: str) -> str:
    """A sentence for the caller in place of a message with internals."""
    if error_code in MEANINGS:
        return MEANINGS[error_code]
    own_words = message.partition("[SQL: ")[0]  # the parameters behind it are the caller's
    for pattern, cause in CAUSES.items():
        if re.search(pattern, own_words):
            return f"Its database rejected the values: {cause}."
    return "Its database rejected the values: one may be too long. MLflow's log has the details."


def upstream_error(status: int, operation: Operation, detail: str = "", error_code: str = "") -> Refusal:
    """The refusal in place of MLflow's own text, which is of no use to the caller or confidential."""
    return Refusal(
        status=status,
        error_code=error_code or ERROR_CODES.get(status, "INTERNAL_ERROR"),
        reason="upstream_error",
        message=f"MLflow responded to {operation.name} with status {status}. {detail}".rstrip(),
    )


def texts_sent(body: bytes, query: str, path: str) -> set[str]:
    """The texts in a request: the strings in its JSON, the values in its query, and its path."""
    found = {path, *(value for _, value in parse_qsl(query))}
    try:
        waiting: list[Any] = [json.loads(body)] if body else []
    except (ValueError, RecursionError):
        waiting = []
    while waiting:
        match waiting.pop():
            case str() as text:
                found.add(text)
            case dict() as content:
                waiting += [*content.keys(), *content.values()]
            case list() as items:
                waiting += items
    return found


def rewrite(response: UpstreamResponse, operation: Operation, *, url: str, mount: str) -> None:
    """Filter the headers, and the body of `server-info`, for the caller. `url` is MLflow's, `mount` the portal's
    path in front of MLflow's paths."""
    if operation.name == "meta.server-info":
        content_type = response.headers.get("Content-Type", "") or "application/json"
        # On MLflow's pages, the portal's bar chooses the organisation, not MLflow's own list of workspaces.
        content = direct_artifacts.filter_flags(
            response.data, direct_artifacts=settings.DIRECT_ARTIFACTS, has_workspaces=mount != PAGES
        )
        response.replace(content, content_type=content_type)
        return
    upstream = url + settings.MLFLOW_STATIC_PREFIX
    response.keep(headers.to_caller(response.headers.iteritems(), upstream=upstream, mount=mount))
