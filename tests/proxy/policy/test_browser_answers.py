"""What comes back to MLflow's own pages: files that were uploaded never become pages of this host."""

import http.client
from pathlib import Path

import mlflow
import pytest

from keys.credentials.caller import Caller
from keys.models import Organisation, User
from proxy.policy import browser_responses
from tests.echo import Script
from tests.proxy.policy.test_browser import ARTIFACT, HTML, SEARCH
from tests.sessions import sign_in


def session_of(user: User) -> Caller:
    return Caller.by_session(user, organisation=Organisation(pk=2, slug="lab", name="The Lab"))


@pytest.fixture(scope="module")
def bob(echo_portal):
    """Who is signed in and has no key."""
    return sign_in(echo_portal, "browsing-bob")


@pytest.mark.parametrize(
    "sent", [None, 'inline; filename="report.html"', 'Attachment; filename="report.html"']
)
@pytest.mark.parametrize(
    "target",
    [
        ARTIFACT,
        "/mlflow/model-versions/get-artifact?name=m&version=1&path=report.html",
        "/mlflow/api/2.0/mlflow-artifacts/artifacts/1/0af1/artifacts/report.html",
        "/mlflow/ajax-api/2.0/mlflow/logged-models/m-1/artifacts/files?artifact_file_path=report.html",
        "/mlflow/ajax-api/3.0/mlflow/get-trace-artifact?request_id=tr-1&path=report.html",
    ],
)
def test_an_artifact_never_becomes_a_page(bob, echo, target, sent):
    disposition = [("Content-Disposition", sent)] if sent else []
    echo.script = Script(body=b"<script>1</script>", headers=[("Content-Type", "text/html"), *disposition])

    reply = bob.call("GET", target, Accept=HTML, Sec_Fetch_Site="none", Sec_Fetch_Dest="document")

    assert reply.body == b"<script>1</script>"
    assert reply.headers["Content-Security-Policy"] == "default-src 'none'; frame-ancestors 'none'; sandbox"
    assert reply.headers["X-Content-Type-Options"] == "nosniff"
    assert reply.headers["Content-Disposition"].lower().startswith("attachment")
    assert reply.headers["Cross-Origin-Resource-Policy"] == "same-origin"


UPLOADED = "/mlflow/get-artifact?path=x.mjs&run_uuid=0af1"
DESTINATIONS = ("script", "style", "worker", "sharedworker", "serviceworker", "audioworklet", "paintworklet")
EMBEDDED = ("object", "embed", "frame", "iframe", "manifest", "xslt", "Script")


@pytest.mark.parametrize("destination", [*DESTINATIONS, *EMBEDDED])
def test_no_page_of_ours_takes_an_artifact_as_a_part_of_itself(bob, echo, echo_portal, destination):
    """`script-src 'self'` lets the admin pages run what this origin serves."""
    reply = bob.call("GET", UPLOADED, Sec_Fetch_Site="same-origin", Sec_Fetch_Dest=destination)

    assert reply.status == 403
    assert "which no page may do" in reply.json()["message"]
    assert echo.received == []
    [call] = echo_portal.calls(request_id=reply.headers["X-Request-ID"])
    assert call["reason"] == "not_for_pages"


@pytest.mark.parametrize("destination", ["empty", "image", "video", "audio", "document"])
def test_artifacts_are_downloaded_and_previewed(bob, echo, destination):
    echo.script = Script(body=b"1", headers=[("Content-Type", "image/png")])
    reply = bob.call("GET", UPLOADED, Sec_Fetch_Site="same-origin", Sec_Fetch_Dest=destination)

    assert (reply.status, reply.body, reply.headers["Content-Type"]) == (200, b"1", "image/png")


@pytest.mark.parametrize("destination", ["script", "style", "worker"])
def test_the_pages_own_files_are_parts_of_them(bob, echo, destination):
    echo.script = Script(body=b"1", headers=[("Content-Type", "text/javascript; charset=utf-8")])
    reply = bob.call("GET", "/mlflow/static-files/static/js/main.c2f5f8d4.js", Sec_Fetch_Dest=destination)

    assert (reply.status, reply.headers["Content-Type"]) == (200, "text/javascript; charset=utf-8")


@pytest.mark.parametrize(
    "kind",
    [
        "text/javascript",
        "application/x-javascript; charset=utf-8",
        "text/JavaScript1.5",
        "application/ecmascript",
        "text/jscript",
        "text/livescript",
        "text/css; charset=utf-8",
    ],
)
def test_scripts_and_styles_that_were_uploaded_come_as_text(bob, echo, kind):
    echo.script = Script(body=b"alert(1)", headers=[("Content-Type", kind)])
    reply = bob.call("GET", UPLOADED)

    assert (reply.status, reply.body) == (200, b"alert(1)")
    assert reply.headers["Content-Type"] == "text/plain; charset=utf-8"


@pytest.mark.parametrize("kind", ["text/html", "application/json", "text/csv", "text/markdown"])
def test_other_files_keep_their_kind(bob, echo, kind):
    echo.script = Script(body=b"1", headers=[("Content-Type", kind)])
    assert bob.call("GET", UPLOADED).headers["Content-Type"] == kind


def test_whatever_else_mlflow_answers_is_no_page_either(bob, echo):
    echo.script = Script(body=b"<script>1</script>", headers=[("Content-Type", "text/html")])

    reply = bob.call("POST", SEARCH, {})

    assert reply.headers["Content-Security-Policy"].endswith("sandbox")


def test_the_pages_files_are_kept_by_the_browser(bob, echo):
    reply = bob.call("GET", "/mlflow/static-files/static/js/main.c2f5f8d4.js")

    assert reply.headers["Cache-Control"].startswith("private, max-age=")
    assert "connect-src 'self'" in reply.headers["Content-Security-Policy"]  # of a worker it is its own


def test_no_cookie_of_mlflows_comes_back(bob, echo):
    echo.script = Script(headers=[("Set-Cookie", "a=b")])

    reply = bob.call("POST", SEARCH, {})

    assert isinstance(reply.headers, http.client.HTTPMessage)
    assert reply.headers.get_all("Set-Cookie") is None


INDEX = b'<!doctype html><html><head><title>MLflow</title></head><body><div id="root" class="x"></div></body></html>'
PAGE_HEADERS = [("Content-Type", "text/html; charset=utf-8"), ("ETag", '"1"'), ("Last-Modified", "yesterday")]


class TestBar:
    def page(
        self, browser, echo, body: bytes = INDEX, target: str = "/mlflow/", method: str = "GET", headers=None
    ):
        echo.script = Script(body=body, headers=headers or PAGE_HEADERS)
        return browser.call(method, target, Accept=HTML, Sec_Fetch_Site="none", Sec_Fetch_Dest="document")

    def test_mlflows_page_names_the_user_and_leads_back(self, bob, echo):
        reply = self.page(bob, echo)
        page = reply.body.decode()

        assert "Signed in as <strong>browsing-bob</strong>" in page
        assert 'href="/account/"' in page
        assert 'href="/admin/"' not in page
        assert page.index("/static/portal/mlflow.js") < page.index("<title>MLflow")
        assert page.index('class="portal-bar"') < page.index('<div id="root" class="x">')
        assert "<style" not in page
        assert page.count("<script") == page.count('<script src="/static/')
        assert reply.headers["Content-Length"] == str(len(reply.body))
        assert (reply.headers["ETag"], reply.headers["Last-Modified"]) == (None, None)
        assert "script-src 'self' 'unsafe-eval'" in reply.headers["Content-Security-Policy"]

    def test_a_users_name_is_text(self):
        page = browser_responses.with_bar(INDEX, session_of(User(username="<b>&", is_staff=True))).decode()

        assert "<strong>&lt;b&gt;&amp;</strong>" in page
        assert 'href="/admin/"' in page
        assert '<span class="organisation">The Lab</span>' in page

    @pytest.mark.parametrize(
        "changed",
        [
            {"body": INDEX.replace(b"<head>", b"<head ><head >")},
            {"body": INDEX + INDEX},
            {"body": INDEX.replace(b'id="root"', b'id="app"')},
            {"body": INDEX + b" " * browser_responses.MOST_PAGE_BYTES},
            {"headers": [("Content-Type", "text/plain")]},
            {"headers": [*PAGE_HEADERS, ("Content-Encoding", "br")]},
            {"target": "/mlflow/static-files/index.html"},
        ],
    )
    def test_anything_else_stays_as_it_is(self, bob, echo, changed):
        reply = self.page(bob, echo, **changed)

        assert reply.status == 200
        assert reply.body == changed.get("body", INDEX)

    def test_a_head_request_has_no_bar(self, bob, echo):
        assert self.page(bob, echo, method="HEAD").body == b""

    def test_an_artifact_that_looks_like_the_page_has_none(self, bob, echo):
        assert self.page(bob, echo, target=ARTIFACT).body == INDEX

    def test_the_installed_mlflows_page_is_as_expected(self):
        index = Path(mlflow.__file__).parent / "server" / "js" / "build" / "index.html"

        assert b"portal-bar" in browser_responses.with_bar(
            index.read_bytes(), session_of(User(username="dora"))
        )
