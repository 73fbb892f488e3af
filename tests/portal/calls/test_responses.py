"""gunicorn's requests and responses, with less to do for each."""

import types

import pytest
from gunicorn.config import Config
from gunicorn.http.errors import InvalidHeader, InvalidHeaderName
from gunicorn.http.unreader import IterUnreader

from portal.calls import dispatcher
from portal.calls.responses import Request, Response

HEAD = (
    b"GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Ssl: on\r\nScript-Name: /x\r\n\r\n"
)


def response() -> Response:
    request = types.SimpleNamespace(method="GET", version=(1, 1), should_close=lambda: False)
    return Response(request, None, Config())


def test_only_constant_headers_are_not_checked_again():
    made = response()
    sent = [*dispatcher.ALWAYS[False], dispatcher.UNCACHED, ("Connection", "close"), ("Content-Length", "3")]
    made.start_response("200 OK", sent)

    assert made.headers == [pair for pair in sent if pair[0] != "Connection"]
    assert made.response_length == 3
    for header, error in (
        (("X-A", "b\r\nX-C: d"), InvalidHeader),
        (("X A", "b"), InvalidHeaderName),
        (("Cache-Control", "private, no-store\r\n"), InvalidHeader),
    ):
        with pytest.raises(error):
            response().start_response("200 OK", [header])


@pytest.mark.parametrize("address", ["127.0.0.1", "198.51.100.7"])
def test_no_clients_headers_decide_the_scheme_or_another_variable(address):
    config = Config()
    config.set("forwarded_allow_ips", "")
    config.set("header_map", "drop")
    request = Request(config, IterUnreader(iter([HEAD])), (address, 1), 1)

    assert request.scheme == "http"
    assert ("HOST", "a") in request.headers
