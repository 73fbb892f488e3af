"""Log formats, JSON for machines and text for people, and the filter that removes API keys from every line.

The name of an event is constant, and its details are fields: `logger.warning("listener_lost", extra={…})`.
"""

import datetime
import json
import logging
from collections.abc import Iterator
from contextlib import nullcontext
from contextvars import ContextVar
from typing import Any

from pythonjsonlogger.core import RESERVED_ATTRS
from pythonjsonlogger.json import JsonFormatter

from keys.credentials.tokens import hide

OWN = frozenset(RESERVED_ATTRS) | {"color_message", "request", "server_time", "status_code"}

request_id: ContextVar[str] = ContextVar("request_id", default="")


class WithoutKeys(logging.Filter):
    """Hides everything that looks like an API key: Django logs paths, and people paste keys into them.

    It changes the record itself, so that every formatter gets it without the key, and adds the id of the request.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = hide(record.getMessage()), ()
        if record.exc_info and not record.exc_text:
            record.exc_text = logging.Formatter().formatException(record.exc_info)
        if record.exc_text:
            record.exc_text, record.exc_info = hide(record.exc_text), None
        if record.stack_info:
            record.stack_info = hide(record.stack_info)
        for name, value in list(fields(record)):
            record.__dict__[name] = hidden(value)
        if (current := request_id.get()) and "request_id" not in record.__dict__:
            record.request_id = current
        return True


class Json(JsonFormatter):
    """`time`, `level`, `logger`, `event`, then the fields; a traceback as `exception`."""

    def __init__(self) -> None:
        super().__init__("%(levelname)s %(name)s %(message)s", reserved_attrs=[*OWN])

    def process_log_record(self, log_data: dict[str, Any]) -> dict[str, Any]:
        first = {
            "time": log_data.pop("time"),
            "level": log_data.pop("levelname", "").lower(),
            "logger": log_data.pop("name", ""),
            "event": log_data.pop("message", ""),
        }
        if trace := log_data.pop("exc_info", None):
            log_data["exception"] = trace
        return first | log_data

    def add_fields(
        self, log_data: dict[str, Any], record: logging.LogRecord, message_dict: dict[str, Any]
    ) -> None:
        super().add_fields(log_data, record, message_dict)
        log_data["time"] = timestamp(record)


def json_handler() -> "logging.StreamHandler[Any] | None":
    """The handler of all lines, if it is the only one and writes JSON without conditions: as in production, and not
    while a test or another tool listens."""
    root = logging.getLogger()
    handlers = root.handlers
    if len(handlers) != 1 or logging.getLogger("portal.access").handlers or root.level > logging.INFO:
        return None
    handler = handlers[0]
    is_usual = isinstance(handler, logging.StreamHandler) and type(handler.formatter) is Json
    return handler if is_usual else None  # type: ignore[return-value]


def write_line(handler: "logging.StreamHandler[Any]", name: str, event: str, values: dict[str, Any]) -> None:
    """Write the line that the logger `name` would write at INFO, in a tenth of the time. `values` are numbers and
    strings without keys."""
    time = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
    line = json.dumps({"time": time, "level": "info", "logger": name, "event": event, **values})
    with handler.lock or nullcontext():
        handler.stream.write(f"{line}\n")
        handler.flush()


class Text(logging.Formatter):
    """Time, level, event, then the fields as `name=value`, for a terminal."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  logging's name
        words = [f"{name}={quote(value)}" for name, value in fields(record) if value not in ("", None)]
        return " ".join(
            [timestamp(record)[:23], f"{record.levelname:7}", record.name, record.getMessage(), *words]
        )


def quote(value: Any) -> str:
    """A value as one word, so that it cannot forge another field or line."""
    text = str(value)
    return text if text.isprintable() and not set(text) & set(' ="') else json.dumps(text)


def timestamp(record: logging.LogRecord) -> str:
    """The time of the record: ISO 8601, UTC."""
    return datetime.datetime.fromtimestamp(record.created, datetime.UTC).isoformat(timespec="milliseconds")


def fields(record: logging.LogRecord) -> Iterator[tuple[str, Any]]:
    """Name and value of each field given as `extra`."""
    for name, value in record.__dict__.items():
        if name not in OWN:
            yield name, value


def hidden(value: Any) -> Any:
    match value:
        case None | bool() | int() | float():
            return value
        case dict():
            return {hidden(name): hidden(item) for name, item in value.items()}
        case list() | tuple() | set() | frozenset():
            return [hidden(item) for item in value]
    return hide(str(value))
