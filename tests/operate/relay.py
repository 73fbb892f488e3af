"""A TCP relay in front of a server, which cuts one portal off from it."""

import socket
import threading
from contextlib import suppress

PIECE = 65536


class Relay:
    """Forwards connections to a port of this machine until it is cut, and again after it is joined."""

    def __init__(self, target: int) -> None:
        self.target = target
        self.listener: socket.socket | None = None
        self.connections: set[socket.socket] = set()
        self.port = 0
        self.join()

    def join(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", self.port), backlog=200)
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, args=[self.listener], daemon=True).start()

    def cut(self) -> None:
        """Refuse new connections and end those that there are."""
        if self.listener is not None:
            with suppress(OSError):
                self.listener.shutdown(socket.SHUT_RDWR)
            self.listener.close()
            self.listener = None
        for each in list(self.connections):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def accept(self, listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                caller = listener.accept()[0]
                threading.Thread(target=self.serve, args=[caller], daemon=True).start()

    def serve(self, caller: socket.socket) -> None:
        try:
            server = socket.create_connection(("127.0.0.1", self.target), 5)
        except OSError:
            caller.close()
            return
        server.settimeout(None)
        self.connections |= {caller, server}
        with caller, server:
            back = threading.Thread(target=self.pump, args=[server, caller], daemon=True)
            back.start()
            self.pump(caller, server)
            back.join()
        self.connections -= {caller, server}

    def pump(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while piece := source.recv(PIECE):
                sink.sendall(piece)
        with suppress(OSError):
            sink.shutdown(socket.SHUT_WR)
