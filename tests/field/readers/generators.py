"""Clients that are generated from the schema: each generator without a warning, and the examples with a real portal."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from tests.field.environments import Environment, environment, node_modules, variables
from tests.field.readers.results import Result
from tests.field.servers import OPENER, ROOT, Field

EXAMPLES = ROOT / "examples" / "generated_client"
NODE = ("openapi-typescript@7.13.0", "@hey-api/openapi-ts@0.95.0", "orval@7.13.0", "openapi-fetch@0.17.0")
NODE += ("typescript@5.9.3", "@types/node@20")
EXPECTED = ("issued key_", "it is active", "rotated; ", "it is revoked", " calls since ")
TYPED = ["--strict", "--module", "nodenext", "--target", "es2022", "--skipLibCheck"]


def run() -> list[Result]:
    python = environment("generators", ("install", "openapi-python-client==0.29.1", "ruff"))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with (
            Field(folder / "field") as field,
            field.server("portal", Environment(folder=ROOT / ".venv")) as portal,
        ):
            with OPENER.open(f"{portal.url}/api/v1/schema/", timeout=60) as response:
                (folder / "openapi.json").write_bytes(response.read())
            portal.issue("alice", "a key", "--preset", "reader")
            portal.issue("admin", "none", "--preset", "reader")
            portal.manage("set_role", "admin", "superuser")
            key = portal.issue("admin", "for programs", "--scope", "portal:admin")
            settings = {"PORTAL": portal.url, "PORTAL_KEY": key, "NO_PROXY": "127.0.0.1"}
            return [with_python(python, folder, settings), *with_node(folder, settings)]


def said(command: list[str | Path], folder: Path, settings: dict[str, str]) -> tuple[bool, str]:
    """Whether the command succeeded, and all that it printed."""
    done = subprocess.run(
        command,
        cwd=folder,
        env=settings,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
    )
    return done.returncode == 0, done.stdout


def finished(output: str) -> bool:
    return all(words in output for words in EXPECTED)


def with_python(where: Environment, folder: Path, settings: dict[str, str]) -> Result:
    own = variables(where.folder) | settings
    generate = [where.folder / "bin" / "openapi-python-client", "generate", "--path", "openapi.json"]
    ok, output = said([*generate, "--output-path", "hokusai_client", "--meta", "none"], folder, own)
    is_quiet = ok and "warning" not in output.lower() and "Unable" not in output
    if is_quiet:
        shutil.copy(EXAMPLES / "manage_keys.py", folder)
        ok, output = said([where.python, "manage_keys.py", "alice"], folder, own)
    works = is_quiet and ok and finished(output)
    text = "generates without a warning; issues, lists, rotates and revokes a key, and reads usage"
    version = where.versions()["openapi-python-client"]
    return Result(
        program="openapi-python-client", version=version, text=text if works else output[-1500:], works=works
    )


def with_node(folder: Path, settings: dict[str, str]) -> list[Result]:
    modules = node_modules(*NODE)
    if modules is None:
        return [Result(program="generators of TypeScript", version="", text="install Node", could_run=False)]
    (folder / "node_modules").symlink_to(modules / "node_modules")
    (folder / "package.json").write_text('{"type": "module"}')
    own = {"PATH": os.environ["PATH"], "HOME": str(folder), **settings}
    hey_api = ["openapi-ts", "-i", "openapi.json", "-o", "heyapi", "-c", "@hey-api/client-fetch"]
    orval = ["orval", "--input", "openapi.json", "--output", "orval.ts", "--client", "fetch"]
    return [
        with_types(folder, own),
        with_compiler("@hey-api/openapi-ts", "0.95.0", hey_api, "heyapi/index.ts", folder, own),
        with_compiler("orval", "7.13.0", orval, "orval.ts", folder, own),
    ]


def with_types(folder: Path, settings: dict[str, str]) -> Result:
    """The example, compiled and run."""
    shutil.copy(EXAMPLES / "manage_keys.ts", folder)
    output = ""
    for command in (
        ["npx", "--no-install", "openapi-typescript", "openapi.json", "-o", "portal.d.ts"],
        ["npx", "--no-install", "tsc", *TYPED, "manage_keys.ts"],
        ["node", "manage_keys.js", "alice"],
    ):
        ok, printed = said(command, folder, settings)
        output += printed
        if not ok:
            break
    works = ok and finished(output)
    text = "compiles; issues, lists, rotates and revokes a key, and reads usage, with openapi-fetch 0.17.0"
    return Result(
        program="openapi-typescript", version="7.13.0", text=text if works else output[-1500:], works=works
    )


def with_compiler(
    program: str, version: str, generate: list[str], made: str, folder: Path, settings: dict[str, str]
) -> Result:
    """Only generated and compiled."""
    ok, output = said(["npx", "--no-install", *generate], folder, settings)
    is_quiet = ok and "warn" not in output.lower()
    if is_quiet:
        strict = [
            "--strict",
            "--noEmit",
            "--skipLibCheck",
            "--target",
            "es2022",
            "--lib",
            "es2022,dom,dom.iterable",
        ]
        bundled = ["--module", "esnext", "--moduleResolution", "bundler"]
        ok, output = said(["npx", "--no-install", "tsc", *strict, *bundled, made], folder, settings)
    works = is_quiet and ok
    text = "generates without a warning, and compiles"
    return Result(program=program, version=version, text=text if works else output[-1500:], works=works)
