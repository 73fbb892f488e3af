"""MLflow servers with workspaces, whose files are on disk or in an S3 stand-in (moto).

SERVERS=… and STORES=… select some.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from portal.one_machine.ports import free_port
from portal.one_machine.supervisor import minimal_environment, start, wait_until_ready
from tests.field.compat import selected
from tests.field.environments import Environment, environment, mlflow
from tests.field.servers import START_SECONDS, Field
from tests.field.sides import ask

SERVERS = selected("SERVERS", ("3.17.2", "3.18.0"))
DISK, S3 = "disk", "s3"
STORES = selected("STORES", (DISK, S3))
BOTO = "boto3==1.42.1"
MOTO = ("install", BOTO, "moto[server]==5.1.18")
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "any",
    "AWS_SECRET_ACCESS_KEY": "any",
    "AWS_DEFAULT_REGION": "us-east-1",
}


def mlflow_for(release: str) -> Environment:
    """MLflow with what it needs for S3. Raises InstallError."""
    return mlflow(release, BOTO)


@contextmanager
def moto(field: Field, folder: Path, bucket: str) -> Iterator[dict[str, str]]:
    """An S3 stand-in with this bucket: the variables with which programs use it."""
    program, port = environment("moto", MOTO).folder / "bin" / "moto_server", free_port()
    url = f"http://127.0.0.1:{port}"
    child = start(
        "moto",
        [str(program), "--host", "127.0.0.1", "--port", str(port)],
        log=folder / "moto.log",
        watchdog=field.watchdog,
        environment=minimal_environment(),
        directory=str(folder),
    )
    try:
        wait_until_ready(child, lambda: ask(url, "PUT", f"/{bucket}")[0] == 200, seconds=START_SECONDS)
        yield CREDENTIALS | {"MLFLOW_S3_ENDPOINT_URL": url}
    finally:
        child.stop()


class FieldWithStore(Field):
    """A field of MLflow servers with workspaces, which store files in `place`."""

    isolation = "required"
    options = ("--enable-workspaces",)
    place = DISK

    @contextmanager
    def store(self, folder: Path) -> Iterator[tuple[str, dict[str, str]]]:
        if self.place == DISK:
            yield str(folder / "artifacts"), {}
            return
        with moto(self, folder, "store") as variables:
            yield "s3://store", variables
