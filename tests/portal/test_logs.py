"""No key stands in a log, whoever wrote it there."""

import logging

from keys import tokens
from portal.logs import WithoutKeys

KEY = tokens.generate().secret


def line(message, *arguments, error=None) -> str:
    exc_info = (type(error), error, error.__traceback__) if error else None
    record = logging.LogRecord("django.request", logging.WARNING, "x.py", 1, message, arguments, exc_info)
    assert WithoutKeys().filter(record)
    return logging.Formatter().format(record)


def test_a_key_in_a_message_or_its_arguments_is_hidden():
    assert KEY not in line(f"Not Found: /{KEY}") + line("Not Found: %s", f"/api/mlflow/{KEY}")
    assert line("Not Found: %s", "/x") == "Not Found: /x"


def test_a_key_in_a_traceback_is_hidden():
    try:
        raise ValueError(KEY)
    except ValueError as error:
        shown = line("failed", error=error)

    assert "ValueError" in shown
    assert KEY not in shown


def test_a_key_in_a_path_is_in_no_log_and_no_answer(echo_portal):
    replies = [echo_portal.request("GET", f"{path}/{KEY}") for path in ("", "/api/mlflow", "/admin")]
    replies.append(echo_portal.request("GET", f"/api/mlflow/{KEY}", key=echo_portal.issue("alice")["key"]))

    assert [reply.status for reply in replies] == [404, 401, 302, 404]
    assert KEY not in echo_portal.log.read_text()
    assert not [reply for reply in replies if KEY.encode() in reply.body and reply.status != 302]
