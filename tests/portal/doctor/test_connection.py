"""How the doctor tells a wrong address, a name that is none, a proxy and a bad certificate."""

import pytest

from keys.credentials import tokens
from portal.doctor.address import parse_address
from portal.doctor.outcomes import OK, Failed
from portal.doctor.steps import STEPS
from portal.one_machine.ports import free_port
from tests.portal.doctor.test_steps import command, doctor, failures, steps
from tests.portal.far_ends import Authority, forwarder
from tests.portals import Portal


@pytest.fixture(scope="module")
def authority(tmp_path_factory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


# The address


@pytest.mark.parametrize(
    "path",
    ["/api/mlfow", "/registry", "/api", "/api/2.0/mlflow", "/api/mlflow/api/2.0", "/x/mlflow", "/health"],
)
def test_a_wrong_prefix_names_the_right_one(mlflow_portal, full, path):
    results = doctor(mlflow_portal.url + path, full["key"])

    assert failures(results) == {
        "prefix": f"The prefix “{path}” is wrong: the portal is on this host, but not under this prefix. "
        f"Use {mlflow_portal.url}/api/mlflow."
    }
    assert results["key"].detail == "because “prefix” failed"


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("", "No address was given"),
        ("registry.example/api/mlflow", "Write https://registry.example/api/mlflow"),
        ("file:///tmp", "not a web address"),
        ("https://registry.example:port", "cannot be read"),
        ("https://me:secret@registry.example", "would send that in place of your key"),
        ("https://registry.example/mlflow/#/experiments/0", "Use https://registry.example/mlflow."),
        ("https://registry.example//api/mlflow", "Use https://registry.example/api/mlflow."),
        pytest.param(
            f"https://registry.example/?k={tokens.generate().secret}", "contains an API key", id="key"
        ),
    ],
)
def test_an_address_that_is_none(url, words):
    results = doctor(url)

    assert words in failures(results)["address"]
    assert "secret" not in repr(results)
    assert not tokens.KEY_LIKE_PATTERN.search(repr(results))


def test_addresses_taken_apart():
    assert (
        str(parse_address("https://Registry.example:443/api/mlflow/"))
        == "https://registry.example/api/mlflow"
    )
    assert str(parse_address("http://[::1]:8000")) == "http://[::1]:8000"
    assert (parse_address("https://h/base/mlflow").root, parse_address("https://h/base/mlflow").mount) == (
        "/base",
        "/mlflow",
    )
    with pytest.raises(Failed):
        parse_address("https://")


def test_nothing_listens_and_no_such_name():
    port = free_port()
    assert f"Nothing listens on 127.0.0.1, port {port}" in failures(doctor(f"http://127.0.0.1:{port}"))["TCP"]
    assert "The name nowhere.invalid is not known" in failures(doctor("https://nowhere.invalid"))["DNS"]


def test_plain_http_to_another_machine_is_a_warning():
    [warning] = doctor("http://nowhere.invalid")["address"].warnings
    assert warning.startswith("Plain http: your key")


def test_a_proxy_that_does_not_answer(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "")
    monkeypatch.setenv("no_proxy", "")
    monkeypatch.setenv("http_proxy", f"http://me:secret@127.0.0.1:{free_port()}")

    results = doctor("http://registry.example")
    assert results["DNS"].detail.startswith("the proxy 127.0.0.1:")
    assert "The proxy that this machine's settings name" in failures(results)["prefix"]
    assert "secret" not in repr(results)


# TLS


def over_tls(portal: Portal, authority: Authority, key: str, *, host="127.0.0.1", ca=True, **certificate):
    names = certificate.pop("names", ("127.0.0.1", "localhost"))
    with forwarder(portal.port, certificate=authority.certificate(*names, **certificate)) as port:
        url = f"https://{host}:{port}/api/mlflow"
        return doctor(url, key, ca=str(authority.file) if ca else "", write=True)


def test_a_trusted_certificate_passes_every_step(mlflow_portal, authority, full):
    results = over_tls(mlflow_portal, authority, full["key"], ends=30)

    assert steps(results, OK) == {step.name for step in STEPS}
    assert results["TLS"].detail.startswith("TLSv1.3; the certificate is trusted, and valid for 30 more days")
    assert results["TLS"].warnings == ()


def test_a_certificate_that_soon_ends_is_a_warning(mlflow_portal, authority, full):
    [warning] = over_tls(mlflow_portal, authority, full["key"])["TLS"].warnings
    assert warning.startswith("The certificate ends in 5.0 days")


@pytest.mark.parametrize(
    ("certificate", "words"),
    [
        ({"ca": False}, "is not trusted: it is signed by an authority that this machine does not know"),
        ({"own": True}, "is not trusted: it is signed by itself"),
        ({"begins": -9, "ends": -1}, "The certificate of 127.0.0.1 has expired."),
        ({"begins": 1}, "The certificate of 127.0.0.1 is not valid yet."),
        ({"names": ("other.example",)}, "not for the host name 127.0.0.1. It is for other.example."),
        (
            {"names": ("127.0.0.1",), "host": "localhost"},
            "not for the host name localhost. It is for 127.0.0.1.",
        ),
    ],
)
def test_a_bad_certificate_is_told_in_words_and_the_key_stays_here(
    mlflow_portal, authority, full, certificate, words
):
    results = over_tls(mlflow_portal, authority, full["key"], **certificate)

    assert list(failures(results)) == ["TLS"]
    assert words in failures(results)["TLS"]
    assert results["key"].detail == "because “TLS” failed"


def test_the_variable_of_mlflows_client_is_heeded(mlflow_portal, authority, reader, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_SERVER_CERT_PATH", str(authority.file))
    with forwarder(mlflow_portal.port, certificate=authority.certificate("127.0.0.1")) as port:
        assert failures(doctor(f"https://127.0.0.1:{port}", reader["key"])) == {}


def test_http_and_https_mixed_up(mlflow_portal, authority, monkeypatch):
    monkeypatch.setattr(
        "portal.doctor.connection.CONNECT_TIMEOUT", 0.5
    )  # how long a plain server is waited for
    assert "does not speak TLS" in failures(doctor(mlflow_portal.url.replace("http:", "https:")))["TLS"]
    with forwarder(mlflow_portal.port, certificate=authority.certificate("127.0.0.1")) as port:
        assert "write https://" in failures(doctor(f"http://127.0.0.1:{port}"))["prefix"]


def test_a_file_that_holds_no_certificates(tmp_path):
    (tmp_path / "ca.pem").write_text("nothing")
    with forwarder(9) as port:
        problems = failures(doctor(f"https://127.0.0.1:{port}", ca=str(tmp_path / "ca.pem")))
    assert list(problems) == ["TLS"]
    assert "cannot be used" in problems["TLS"]
    assert "cannot be read" in command("--url", "https://h", "--ca", "/nonexistent.pem").stderr
