"""The examples for workload identity: the files are valid, and their parts do what they say without a CI."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest
import yaml

from tests.issuers import Issuer

FOLDER = Path(__file__).resolve().parents[1] / "examples" / "workload_identity"


@pytest.fixture
def provider():
    spec = spec_from_file_location(
        "hokusai_mlflow_auth", FOLDER / "hokusai_mlflow_auth" / "hokusai_mlflow_auth.py"
    )
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.TokenProvider()


class Request:
    def __init__(self) -> None:
        self.headers: dict[str, str] = {}


def sent(provider) -> str:
    return provider.get_auth()(Request()).headers["Authorization"]


def test_the_plugin_reads_the_file_again_for_each_request(provider, monkeypatch, tmp_path):
    (file := tmp_path / "token").write_text("first\n")
    monkeypatch.setenv("HOKUSAI_TOKEN_FILE", str(file))
    assert (provider.get_name(), sent(provider)) == ("hokusai", "Bearer first")
    file.write_text("second\n")
    assert sent(provider) == "Bearer second"


def test_the_plugin_fetches_from_github_only_when_the_token_is_about_to_end(provider, monkeypatch):
    tokens, asked, issuer = [], [], Issuer()

    class GitHub(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append((self.path, self.headers["Authorization"]))
            body = json.dumps({"value": tokens.pop(0)}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: object) -> None:
            pass

    now = issuer.claims()["iat"]
    tokens += [ending := issuer.token(exp=now + 30), lasting := issuer.token()]
    server = ThreadingHTTPServer(("127.0.0.1", 0), GitHub)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    monkeypatch.setenv("ACTIONS_ID_TOKEN_REQUEST_URL", f"http://127.0.0.1:{server.server_port}/?v=1")
    monkeypatch.setenv("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "of the job")
    monkeypatch.setenv("HOKUSAI_AUDIENCE", "https://registry.example/api/mlflow/w/acme")
    try:
        assert [sent(provider) for _ in range(3)] == [f"Bearer {ending}", *[f"Bearer {lasting}"] * 2]
    finally:
        server.shutdown()
        server.server_close()
    audience = "audience=https%3A%2F%2Fregistry.example%2Fapi%2Fmlflow%2Fw%2Facme"
    assert asked == [(f"/?v=1&{audience}", "Bearer of the job")] * 2


def test_the_files_of_platforms_are_valid_and_name_one_audience():
    audience = "https://registry.example/api/mlflow/w/acme"
    action = yaml.safe_load((FOLDER / "github_action" / "action.yml").read_text())
    assert (action["runs"]["using"], set(action["inputs"])) == (
        "composite",
        {"registry", "organisation", "exchange"},
    )
    workflow = yaml.safe_load((FOLDER / "github-workflow.yml").read_text())
    assert workflow["jobs"]["train"]["permissions"]["id-token"] == "write"
    gitlab = yaml.safe_load((FOLDER / "gitlab-include.yml").read_text())
    assert gitlab[".registry"]["id_tokens"]["MLFLOW_TRACKING_TOKEN"]["aud"] == audience
    job = yaml.safe_load((FOLDER / "kubernetes-job.yaml").read_text())
    [source] = job["spec"]["template"]["spec"]["volumes"][0]["projected"]["sources"]
    assert source["serviceAccountToken"]["audience"] == audience
