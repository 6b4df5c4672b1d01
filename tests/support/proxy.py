"""A proxy before PostgreSQL that speaks enough of its protocol to lose the answer to a COMMIT, or refuse one.

Source: PostgreSQL's documentation, chapter 55 (Frontend/Backend Protocol). Connections must not be encrypted.
"""

from __future__ import annotations

import random
import socket
import struct
import threading
from collections import Counter

_COMMIT = b"Q" + struct.pack("!i", 4 + len(b"COMMIT\0")) + b"COMMIT\0"


class Proxy:
    """Forwards connections to *target*, and breaks some of them at their COMMIT while it `is_hostile`."""

    def __init__(self, target: tuple[str, int], chance: random.Random, share: float = 0.1) -> None:
        self._target, self._chance, self._share = target, chance, share
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._pairs: set[tuple[socket.socket, socket.socket]] = set()
        self.port = self._listener.getsockname()[1]
        self.is_hostile = False
        self.done: Counter[str] = Counter()
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()
        self.sever()

    def sever(self) -> None:
        """Break all connections."""
        for pair in list(self._pairs):
            _break(*pair)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._target)
            except OSError:
                return
            pair = client, server
            self._pairs.add(pair)
            answered = threading.Event()
            is_swallowing = threading.Event()
            threading.Thread(target=self._forward, args=(pair, is_swallowing, answered), daemon=True).start()
            threading.Thread(target=self._back, args=(pair, is_swallowing, answered), daemon=True).start()

    def _forward(
        self,
        pair: tuple[socket.socket, socket.socket],
        is_swallowing: threading.Event,
        answered: threading.Event,
    ) -> None:
        client, server = pair
        try:
            while data := client.recv(65536):
                if data.endswith(_COMMIT) and self.is_hostile and self._chance.random() < self._share:
                    if self._chance.random() < 0.5:
                        self.done["lost"] += 1
                        is_swallowing.set()
                        server.sendall(data)
                        answered.wait(5)
                    else:
                        self.done["refused"] += 1
                    break
                server.sendall(data)
        except OSError:
            pass
        self._pairs.discard(pair)
        _break(client, server)

    def _back(
        self,
        pair: tuple[socket.socket, socket.socket],
        is_swallowing: threading.Event,
        answered: threading.Event,
    ) -> None:
        client, server = pair
        try:
            while data := server.recv(65536):
                if is_swallowing.is_set():
                    answered.set()
                    break
                client.sendall(data)
        except OSError:
            pass
        answered.set()
        if not is_swallowing.is_set():
            _break(client, server)


def _break(*connections: socket.socket) -> None:
    for connection in connections:
        try:
            connection.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        connection.close()
