"""Where a key's secret must never be."""

import json

import pytest

from tests.environment import postgres_url
from tests.issuers import Issuer
from tests.keys.credentials.forms import GET_EXPERIMENT, UNKNOWN, basic
from tests.keys.credentials.mutations import mutations
from tests.portals import Portal, Reply, portal
from tests.stored import everything_stored

pytestmark = pytest.mark.postgresql


class TestTheSecret:
    """It is in the answer to the request that made it, and nowhere else."""

    def test_is_found_nowhere_after_issuing(self, echo_server, other_echo_server, settings):
        settings.MLFLOW_TEST_URL = other_echo_server.url
        given = {"DEBUG": "true", "MLFLOW_TEST_URL": other_echo_server.url}
        with portal(mlflow_url=echo_server.url, **given) as running:
            issued = [running.issue("alice"), running.issue("bob", "--environment", "test")]
            rotated = json.loads(running.manage("rotate_key", issued[0]["id"], "--json").stdout)
            secrets = [key["key"] for key in (*issued, rotated)]
            replies = [reply for secret in secrets for reply in use(running, secret)]
            token = Issuer().token()
            replies += [send(running, each) for each in mutations(token, 30) if each.isascii()]
            listing = running.manage("list_keys").stdout + running.manage("list_keys", "--json").stdout
            assert running.calls(at_least=len(secrets))
            stored = everything_stored(postgres_url(running.database))
        written = "".join(
            file.read_text(errors="replace") for file in running.log.parent.rglob("*") if file.is_file()
        )

        assert {reply.status for reply in replies} >= {200, 400, 401, 404}
        assert issued[0]["id"] in stored
        assert rotated["masked"][-4:] in stored
        assert "django_session" in stored
        assert "GET" in written or "gunicorn" in written
        answers = "".join(str(reply.headers) + reply.body.decode() for reply in replies)
        for secret in secrets:
            for place, text in (
                ("log", written),
                ("database", stored),
                ("list", listing),
                ("answer", answers),
            ):
                assert secret not in text, place
                assert secret[8:34] not in text, place
                assert basic("", secret)[2:-4] not in text, place
        for part in token.split("."):  # of the mutated tokens; `make identity` sends 10,000
            for text in (written, stored, answers):
                assert part[:40] not in text


def send(running: Portal, token: str) -> Reply:
    """The response to a request with this token; without control characters, which are invalid HTTP."""
    return running.request("GET", GET_EXPERIMENT, key="".join(filter(str.isprintable, token))[:7000])


def use(running: Portal, secret: str):
    """Use a key as it should be used, and in the ways in which people do."""
    typo = secret[:-1] + ("a" if secret[-1] != "a" else "b")
    json_type = [("Accept", "application/json")]
    html = [("Accept", "text/html")]
    yield running.request("GET", GET_EXPERIMENT, key=secret)
    yield running.request("GET", GET_EXPERIMENT, headers=[("Authorization", f"Basic {basic('', secret)}")])
    yield running.request("GET", "/api/mlflow/api/2.0/mlflow/nothing", key=secret)
    yield running.request("GET", "/nothing", key=secret, headers=html)
    yield running.request("GET", f"{GET_EXPERIMENT}&api_key={secret}", headers=json_type)
    yield running.request("GET", f"/mlflow/?token={secret}", headers=html)
    yield running.request("GET", GET_EXPERIMENT, key=typo)
    yield running.request("GET", GET_EXPERIMENT, key=secret, headers=[("X-API-Key", UNKNOWN)])
    yield running.request("GET", GET_EXPERIMENT, headers=[("Authorization", f"Token {secret}")])
    yield running.request("POST", "/account/login/", key=secret, body={"key": secret}, headers=html)
