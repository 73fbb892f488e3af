"""What the pages tell people to run, run as it stands: only the key is filled in."""

import html
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from django.template.loader import render_to_string

from proxy.models import tag_rules
from tests.direct import DirectClient
from tests.portals import Portal

pytestmark = [pytest.mark.mlflow, pytest.mark.postgresql]
BLOCK = re.compile(r'<pre id="([\w-]+)"(?: data-language="(\w+)")?(?: tabindex[^>]*)?>(.*?)</pre>', re.DOTALL)
LISTED = "an experiment that the pages list"
PLACEHOLDER = "hk_live_…"


@dataclass
class Reader:
    """Somebody with a key, an empty folder and a shell, who copies from the pages."""

    portal: Portal
    key: str
    folder: Path

    def blocks(self, path: str) -> list[tuple[str, str]]:
        """The page's code, with its language, as its copy buttons copy it."""
        page = self.portal.request("GET", path, headers=[("Accept", "text/html")])
        assert page.status == 200
        found = BLOCK.findall(page.body.decode())
        return [(language, html.unescape(code).replace(PLACEHOLDER, self.key)) for _, language, code in found]

    def run(self, script: str, **environment: str) -> str:
        """What the script prints in a fresh shell; it has to succeed."""
        result = subprocess.run(
            ["sh", "-e", "-c", script],
            env={
                "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
                "HOME": str(self.folder),
                "NO_PROXY": "127.0.0.1",
                **environment,
            },
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert result.returncode == 0, (result.stdout + result.stderr)[-3000:]
        return result.stdout


@pytest.fixture
def reader(mlflow_portal, tmp_path) -> Reader:
    key = mlflow_portal.issue("reader")["key"]
    create = "/api/mlflow/api/2.0/mlflow/experiments/create"
    made = mlflow_portal.request("POST", create, key=key, body={"name": LISTED})
    assert made.status == 200 or made.json()["error_code"] == "RESOURCE_ALREADY_EXISTS"
    return Reader(mlflow_portal, key, tmp_path)


def test_the_front_pages_three_lines_list_the_experiments(reader):
    [(_, lines)] = reader.blocks("/")

    assert LISTED in reader.run(lines)


def test_the_quickstart_from_the_first_line_to_the_last(reader, mlflow_server):
    (sh, connect), (sh2, check), (python, script), (workflow, job), (sh3, curl) = reader.blocks(
        "/docs/quickstart/"
    )
    assert (sh, sh2, python, workflow, sh3) == ("sh", "sh", "python", "yaml", "sh")

    assert LISTED in reader.run(f"{connect}\n{check}")

    (reader.folder / "quickstart.py").write_text(script)
    printed = reader.run(f"{connect}\npython quickstart.py")
    [(name, number)] = re.findall(r"registered (\S+), version (\d+)", printed)
    direct = DirectClient(mlflow_server.url)
    version = direct.get_model_version(name, number)
    assert tag_rules.check_tags(version.tags).state == tag_rules.COMPLETE
    assert direct.get_run(version.run_id).data.metrics == {"accuracy": 0.93}

    printed = as_a_job(reader, yaml.safe_load(job))
    assert f"registered {name}, version {int(number) + 1}" in printed

    assert '"name": "quickstart"' in reader.run(f"{connect}\n{curl}")


def test_what_stands_beside_a_new_key_runs_as_it_is(reader):
    key = SimpleNamespace(owner=SimpleNamespace(username="reader"), public_id="key_1")
    known = {"key": key, "secret": reader.key, "public_url": reader.portal.url}
    code = {
        name: html.unescape(text)
        for name, text in re.findall(
            r'<pre id="([\w-]+)"[^>]*>(.*?)</pre>', render_to_string("keys/connect.html", known), re.DOTALL
        )
    }

    assert LISTED in reader.run(code["connect"])
    assert LISTED in reader.run(f"python - <<'END'\n{code['connect-python']}\nEND")  # in no file
    assert reader.key not in code["connect-ci"] + code["connect-job"]
    assert set(yaml.safe_load(code["connect-job"])["env"]) == {"MLFLOW_TRACKING_URI", "MLFLOW_TRACKING_TOKEN"}


def as_a_job(reader: Reader, workflow: dict) -> str:
    """What the workflow's steps print, but for those of GitHub's own and the installation."""
    assert workflow[True]["push"] == {"branches": ["main"]}  # YAML 1.1 reads “on” as true
    [job] = workflow["jobs"].values()
    secret = "${{ secrets.MLFLOW_TRACKING_TOKEN }}"
    assert job["env"]["MLFLOW_TRACKING_TOKEN"] == secret
    environment = {name: value.replace(secret, reader.key) for name, value in job["env"].items()}
    scripts = [step["run"] for step in job["steps"] if "run" in step and step["name"] != "Install"]
    return reader.run("\n".join(scripts), **environment)
