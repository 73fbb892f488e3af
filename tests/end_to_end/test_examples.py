"""Every example runs against a portal with a real MLflow behind it, with the two variables and no others."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from mlflow import MlflowClient

from proxy.models import tag_rules
from tests.direct import DirectClient
from tests.portals import Portal

pytestmark = [pytest.mark.mlflow, pytest.mark.postgresql]
EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
REGISTERED = re.compile(r"^registered (\S+), version (\d+)$", re.MULTILINE)


@pytest.fixture(scope="module")
def key(mlflow_portal) -> dict:
    return mlflow_portal.issue("example", "--preset", "contributor")


@pytest.fixture
def direct(mlflow_server) -> DirectClient:
    return DirectClient(mlflow_server.url)


def run(portal: Portal, key: dict, home: Path, *command: str) -> str:
    """What the command prints, in an empty folder."""
    result = subprocess.run(
        command,
        env={
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "HOME": str(home),
            "MLFLOW_TRACKING_URI": f"{portal.url}/api/mlflow",
            "MLFLOW_TRACKING_TOKEN": key["key"],
        },
        cwd=home,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert result.returncode == 0, (result.stdout + result.stderr)[-5000:]
    assert key["key"] not in result.stdout + result.stderr
    return result.stdout


def registered(direct: MlflowClient, printed: str, key: dict):
    """The version that an example says it registered, as MLflow has it, and its run."""
    [(name, number)] = REGISTERED.findall(printed)
    version = direct.get_model_version(name, number)
    made = direct.get_run(version.run_id)
    for tags in (version.tags, made.data.tags):
        assert tags["hokusai.user_id"] == key["user_id"]
    assert made.info.status == "FINISHED"
    assert direct.get_experiment(made.info.experiment_id).name == name
    return version, made


def test_autolog(mlflow_portal, key, direct, tmp_path):
    printed = run(mlflow_portal, key, tmp_path, sys.executable, str(EXAMPLES / "autolog.py"))

    version, made = registered(direct, printed, key)
    assert version.name == "example-diabetes"
    assert made.data.params["n_estimators"] == "20"
    assert made.data.metrics["training_r2_score"] > 0.5


def test_lora_adapter(mlflow_portal, key, direct, tmp_path):
    script = str(EXAMPLES / "lora_adapter.py")
    printed = run(mlflow_portal, key, tmp_path, sys.executable, script, "--megabytes", "48")

    version, made = registered(direct, printed, key)
    assert tag_rules.check_tags(version.tags).state == tag_rules.COMPLETE
    files = {file.path: file.file_size for file in direct.list_artifacts(made.info.run_id, "adapter")}
    assert files["adapter/adapter_model.safetensors"] > 48 * 2**20
    assert "adapter/adapter_config.json" in files
    assert "downloaded and compared" in printed


def test_curl(mlflow_portal, key, direct, tmp_path):
    weights = tmp_path / "weights ä.bin"
    weights.write_bytes(os.urandom(100_000))
    script = str(EXAMPLES / "register.sh")
    first = run(mlflow_portal, key, tmp_path, "sh", script)
    second = run(mlflow_portal, key, tmp_path, "sh", script, "example-curl", str(weights))

    assert registered(direct, first, key)[0].version == "1"
    version, made = registered(direct, second, key)
    assert version.version == "2"
    assert made.data.metrics == {"accuracy": 0.9}
    assert tag_rules.check_tags(version.tags).state == tag_rules.COMPLETE
    back = direct.download_artifacts(made.info.run_id, "model/weights.bin", str(tmp_path))
    assert Path(back).read_bytes() == weights.read_bytes()


def test_curl_says_why_it_was_refused(mlflow_portal, tmp_path):
    reader = mlflow_portal.issue("example", "--preset", "reader")
    with pytest.raises(AssertionError) as refused:
        run(mlflow_portal, reader, tmp_path, "sh", str(EXAMPLES / "register.sh"))

    assert "/mlflow/runs/create: status 403: runs.create needs the scope tracking:write" in str(refused.value)


def test_manage_keys(mlflow_portal, tmp_path):
    mlflow_portal.manage(
        "shell", "-c", "from keys.models import User; User.objects.create_superuser('example-admin')"
    )
    admin = mlflow_portal.issue("example-admin", "--scope", "portal:admin")
    mlflow_portal.issue("example")
    result = subprocess.run(
        ["sh", str(EXAMPLES / "manage_keys.sh"), "example"],
        env={"PATH": os.environ["PATH"], "PORTAL": mlflow_portal.url, "PORTAL_KEY": admin["key"]},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    issued, active, rotated, revoked = result.stdout.splitlines()
    assert re.fullmatch(r"issued key_\w{16}; its secret ends with \w{4}", issued)
    assert (active, revoked) == ("it is active", "it is revoked")
    assert re.fullmatch(r"rotated; the new secret ends with \w{4}", rotated)
    assert not re.search(r"hk_live_\w{32}", result.stdout + result.stderr)


def test_scikit_learn_as_the_job_of_github_actions_runs_it(mlflow_portal, key, direct, tmp_path):
    """The workflow's form, and what its steps run, but for the installation."""
    workflow = yaml.safe_load((EXAMPLES / "github-actions.yml").read_text())
    assert workflow[True]["push"] == {"branches": ["main"]}  # YAML 1.1 reads “on” as true
    assert workflow["permissions"] == {"contents": "read"}
    [job] = workflow["jobs"].values()
    assert job["runs-on"] == "ubuntu-latest"
    assert job["env"]["MLFLOW_TRACKING_URI"] == "${{ vars.MLFLOW_TRACKING_URI }}"
    steps = job["steps"]
    assert all(("run" in step) != ("uses" in step) for step in steps)
    assert all(re.fullmatch(r"[\w-]+/[\w-]+@v\d+", step["uses"]) for step in steps if "uses" in step)
    secret = "${{ secrets.MLFLOW_TRACKING_TOKEN }}"
    assert [step["name"] for step in steps if step.get("env", {}).get("MLFLOW_TRACKING_TOKEN") == secret] == [
        "Train and register"
    ]
    (tmp_path / "scikit_learn.py").write_text((EXAMPLES / "scikit_learn.py").read_text())
    scripts = [step["run"] for step in steps if "run" in step and step["name"] != "Install"]
    assert len(scripts) == 2

    printed = run(mlflow_portal, key, tmp_path, "bash", "-e", "-o", "pipefail", "-c", "\n".join(scripts))

    version, made = registered(direct, printed, key)
    assert version.name == "example-iris"
    assert made.data.metrics["accuracy"] > 0.9
    assert made.data.params == {"C": "0.5", "max_iter": "500"}


def test_every_example_is_listed_and_tested():
    here = Path(__file__).read_text()
    listed = (EXAMPLES / "README.md").read_text()
    files = {path.name for path in EXAMPLES.iterdir() if path.is_file()} - {"README.md", "ruff.toml"}

    assert set(re.findall(r"\]\(([\w.-]+)\)", listed)) == files
    notes = {"r.md", "java.md"}
    assert [name for name in files - notes if name not in here] == []
    for name in notes:
        assert "this project's tests do not run it" in (EXAMPLES / name).read_text()
