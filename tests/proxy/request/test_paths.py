"""Paths and queries: decoded once, checked, and forwarded as they were checked."""

from urllib.parse import unquote, unquote_to_bytes

import pytest
from django.core.handlers.wsgi import get_path_info
from hypothesis import given
from hypothesis import strategies as st

from keys.refusals import Refusal
from proxy.request import paths
from tests.proxy.forwarding.test_forwarding import GET_EXPERIMENT, request
from tests.proxy.request.variants import escaped, escaped_twice

SEGMENT = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"], exclude_characters="/\\;"), min_size=1
).filter(lambda text: text not in (".", "..") and not paths.STILL_ENCODED.search(text))
PATH = st.lists(SEGMENT, min_size=1).map(lambda segments: "/" + "/".join(segments))
# Ordinary paths after `/api/mlflow`; each bad path is one of them with one thing that the rule forbids.
ORDINARY = "/api/2.0/mlflow/experiments/get"
ARTIFACT = "/api/2.0/mlflow-artifacts/artifacts/0/part"
SEGMENTS = {"dot": ".", "dots": "..", "empty segment": ""}
CHARACTERS = {"semicolon": ";", "backslash": "\\"}
CONTROLS = {"nul": "\0", "newline": "\n", "return": "\r", "control": "\x01", "delete": "\x7f"}
NOT_UTF8 = {
    "a stray byte": b"\xff",
    "a surrogate": "\ud800".encode("utf-8", "surrogatepass"),
    "an overlong form": bytes([0xC0 | ord(".") >> 6, 0x80 | ord(".") & 0x3F]),
}


def characters_of(path: str) -> dict[str, str]:
    """A file's name may contain a semicolon."""
    return {name: one for name, one in CHARACTERS.items() if one != ";" or path != ARTIFACT}


def bad_paths() -> dict[str, str]:
    found = {}
    for path in (ORDINARY, ARTIFACT):
        first, *middle, last = path.strip("/").split("/")
        for name, segment in SEGMENTS.items():
            for spelling in dict.fromkeys([segment, escaped(segment), segment[:1] + escaped(segment[1:])]):
                inside = "/".join([first, *middle, spelling, last])
                found |= {
                    f"{name} at the start: /{spelling}/{path[1:]}": f"/{spelling}/{path[1:]}",
                    f"{name} inside: {inside}": f"/{inside}",
                    f"{name} between escaped slashes: {inside}": f"/{inside}".replace(
                        f"/{spelling}/", escaped("/") + spelling + escaped("/"), 1
                    ),
                }
                if segment:
                    found[f"{name} at the end of {path}: {spelling}"] = f"{path}/{spelling}"
        for name, character in characters_of(path).items():
            found |= {
                f"{name} in {path}": f"{path}{character}part",
                f"{name} first in {path}": f"/{character}{path}",
            }
        for name, character in {**characters_of(path), **CONTROLS, "C1 control": "\x85"}.items():
            found[f"{name} escaped in {path}"] = path + escaped(character)
        for name, content in NOT_UTF8.items():
            found[f"{name} in {path}"] = path + "".join(f"%{byte:02x}" for byte in content)
        for character in (last[0], ".", "/"):
            found[f"{character} escaped twice in {path}"] = path + escaped_twice(character)
    return found


BAD_PATHS = bad_paths()
RAW_BAD_PATHS = {name: ORDINARY + control for name, control in CONTROLS.items() if control not in "\r\n"}
# Controls are dropped by Python's urlsplit, and so by the server; bytes beyond ASCII it takes for Latin-1.
RAW_BYTES = [
    "/experiments/get\xff",
    "/experiments/get\xc3\xbc",
    "/experiments/get?a=\xff",
    "/experiments/\tget",
    "/experiments/get\rX",
    "/experiments/get?a=\t1",
    "/experiments/get?a\r=1",
]
QUERIES = [
    "experiment_id=0",
    "a=%2f&b=%2F&c=/",
    "a=1+2&b=1%202",
    "a=1&a=2&b=&a=3",
    "a&b&&c=",
    "",
    "=x",
    "a=b=c",
    "a=%E4%BD%A0&b=%e4%bd%a0",
    "a=%zz&b=%",
    "a=;b=2",
    "filter=name%20ILIKE%20'%25x%25'",
    "a=[1]&b={2}&c=|^`~!$'()*,:@",
    "a=//x/../y",
    "?a=1",
    "a=%00",
    "a=" + "x" * 4000,
]


def path_info(path: str) -> str:
    """What Django makes of a path in a request line."""
    return get_path_info({"PATH_INFO": unquote_to_bytes(path.encode("latin-1")).decode("latin-1")})


@given(PATH)
def test_a_path_is_decoded_and_encoded_without_loss(path):
    encoded = paths.encode(path)

    assert encoded.isascii()
    assert unquote(encoded, errors="strict") == path
    assert paths.decode(path_info(encoded)) == path


@given(st.text())
def test_whatever_is_let_through_is_forwarded_in_the_form_that_was_checked(text):
    try:
        path = paths.decode(text)
    except Refusal:
        return
    encoded = paths.encode(path)
    assert paths.decode(path_info(encoded)) == path
    assert not set(encoded) & set(" ?#;\\\x7f\r\n")


@pytest.mark.parametrize(
    "path", [*BAD_PATHS.values(), *RAW_BAD_PATHS.values()], ids=[*BAD_PATHS, *RAW_BAD_PATHS]
)
def test_what_two_readers_may_read_differently_is_refused(path):
    with pytest.raises(Refusal) as caught:
        paths.decode(path_info(path))

    assert (caught.value.status, caught.value.error_code) == (400, "INVALID_PARAMETER_VALUE")


@pytest.mark.parametrize(
    "path", ["/a/...", "/a/.b", "/a/b..", "/a/..b", "/a b/ü/你", "/a/50%", "/a/%zz", "/"]
)
def test_what_only_looks_like_it_passes(path):
    assert paths.decode(path) == path


@pytest.mark.parametrize(
    ("name", "target"),
    [
        ("a;b", "a;b"),
        ("a%17b", "a%2517b"),
        ("ü%17", "%C3%BC%2517"),
        ("50%", "50%25"),
    ],
)
def test_a_files_name_may_contain_semicolons_and_percent_signs(name, target):
    folder = "/api/mlflow/api/2.0/mlflow-artifacts/artifacts/0/"

    assert paths.decode(folder + name, folder + target) == folder + name
    assert paths.decode(folder + name, f"http://x{folder}{target}?a=%FF") == folder + name


def test_bytes_that_are_not_utf8_are_no_percent_sign_in_a_name():
    target = "/api/2.0/mlflow-artifacts/artifacts/0/a%F0b"
    with pytest.raises(Refusal):
        paths.decode(path_info(target), target)


@pytest.mark.parametrize("query", QUERIES)
def test_a_query_is_returned_as_it_came(query):
    assert paths.check_query(query) == query


@pytest.mark.parametrize("query", ["a=\xff", "a= ", "a=\n", "a=\x00", "a=\x7f"])
def test_a_query_that_no_request_line_may_hold_is_refused(query):
    with pytest.raises(Refusal) as caught:
        paths.check_query(query)

    assert (caught.value.status, caught.value.reason) == (400, "bad_query")


@pytest.mark.postgresql
class TestOnTheWire:
    @pytest.mark.parametrize("path", BAD_PATHS.values(), ids=BAD_PATHS)
    def test_a_bad_path_is_refused_and_nothing_arrives(self, path, echo, echo_portal, echo_key):
        reply = echo_portal.exchange(request("GET", f"/api/mlflow{path}", echo_key))

        assert (reply.status, reply.json()["error_code"]) == (400, "INVALID_PARAMETER_VALUE")
        assert not echo.arriving

    @pytest.mark.parametrize("path", RAW_BAD_PATHS.values(), ids=RAW_BAD_PATHS)
    def test_raw_bytes_that_no_path_holds_are_refused(self, path, echo, echo_portal, echo_key):
        reply = echo_portal.exchange(request("GET", f"/api/mlflow{path}", echo_key))

        assert reply.status == 400
        assert not echo.arriving

    @pytest.mark.parametrize("path", RAW_BYTES)
    def test_raw_bytes_that_are_read_in_different_ways_are_refused(self, path, echo, echo_portal, echo_key):
        reply = echo_portal.exchange(request("GET", f"/api/mlflow/api/2.0/mlflow{path}", echo_key))

        assert reply.status == 400
        assert not echo.arriving

    def test_without_a_key_a_bad_path_says_no_more_than_that(self, echo, echo_portal):
        reply = echo_portal.exchange(request("GET", "/api/mlflow/../x", None))

        assert reply.status == 401
        assert not echo.arriving

    @pytest.mark.parametrize(
        ("path", "forwarded"),
        [
            ("/api/2.0/mlflow/experiments%2Fget", "/api/2.0/mlflow/experiments/get"),
            ("/api/2.0/mlflow/exp%65riments/get", "/api/2.0/mlflow/experiments/get"),
            ("/api/2.0/mlflow-artifacts/artifacts/0/a%20b", "/api/2.0/mlflow-artifacts/artifacts/0/a%20b"),
            ("/api/2.0/mlflow-artifacts/artifacts/0/%c3%bc", "/api/2.0/mlflow-artifacts/artifacts/0/%C3%BC"),
            ("/api/2.0/mlflow/logged-models/a%3Fb", "/api/2.0/mlflow/logged-models/a%3Fb"),
            ("/api/2.0/mlflow/logged-models/a%23b", "/api/2.0/mlflow/logged-models/a%23b"),
            ("/api/2.0/mlflow-artifacts/artifacts/0/a+b", "/api/2.0/mlflow-artifacts/artifacts/0/a+b"),
            ("/api/2.0/mlflow-artifacts/artifacts/0/a;b", "/api/2.0/mlflow-artifacts/artifacts/0/a%3Bb"),
            (
                "/api/2.0/mlflow-artifacts/artifacts/0/a%2517b",
                "/api/2.0/mlflow-artifacts/artifacts/0/a%2517b",
            ),
            ("/api/2.0/mlflow/logged-models/m-1", "/api/2.0/mlflow/logged-models/m-1"),
        ],
    )
    def test_a_path_is_forwarded_as_it_was_matched(self, path, forwarded, echo, echo_portal, echo_key):
        reply = echo_portal.exchange(request("GET", f"/api/mlflow{path}", echo_key))

        assert (reply.status, echo.last.target) == (200, forwarded)

    @pytest.mark.parametrize("query", [query for query in QUERIES if query])
    def test_a_query_arrives_byte_for_byte(self, query, echo, echo_portal, echo_key):
        target = "/api/mlflow/api/2.0/mlflow/experiments/search"
        reply = echo_portal.exchange(request("GET", f"{target}?{query}", echo_key))

        assert reply.status == 200
        assert echo.last.target == f"/api/2.0/mlflow/experiments/search?{query}"

    def test_an_absolute_target_counts_by_its_path_alone(self, echo, echo_portal, echo_key):
        for target in (f"http://127.0.0.1{GET_EXPERIMENT}", f"http://evil.example{GET_EXPERIMENT}"):
            reply = echo_portal.exchange(request("GET", target, echo_key))
            assert reply.status in (200, 400)
            if reply.status == 200:
                assert echo.last.target == "/api/2.0/mlflow/experiments/get?experiment_id=0"
                assert echo.last.values("Host") == [f"127.0.0.1:{echo.server_port}"]

    @pytest.mark.parametrize("target", ["*", "api/mlflow/health", "127.0.0.1:80", "@evil.example/", "#x"])
    def test_a_target_that_is_no_path_is_refused(self, target, echo, echo_portal, echo_key):
        reply = echo_portal.exchange(request("GET", target, echo_key))

        assert reply.status in (400, 404)
        assert not echo.arriving
