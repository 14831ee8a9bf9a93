"""A link on loopback that can be cut in mid-transfer: a TCP proxy for the checks here."""

import contextlib
import socket
import threading


class BrokenLink:
    """Carries connections to a port, until it is cut; whole again it carries new ones."""

    def __init__(self, port):
        self.port = port
        self.whole = True
        self.lock = threading.Lock()
        self.open = set()
        self.carried = 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self):
        """Resets what is being carried, and refuses what comes."""
        with self.lock:
            self.whole = False
            cut, self.open = self.open, set()
        for connection in cut:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()

    def mend(self):
        with self.lock:
            self.whole = True

    def close(self):
        self.cut()
        self.listener.close()

    def _accept(self):
        while True:
            try:
                near, _ = self.listener.accept()
            except OSError:
                return
            try:
                far = socket.create_connection(("127.0.0.1", self.port), timeout=5)
                far.settimeout(None)
            except OSError:
                near.close()
                continue
            with self.lock:
                if not self.whole:
                    near.close()
                    far.close()
                    continue
                self.open |= {near, far}
            for source, target in [(near, far), (far, near)]:
                threading.Thread(target=self._carry, args=(source, target), daemon=True).start()

    def _carry(self, source, target):
        with contextlib.suppress(OSError):
            while data := source.recv(16384):
                self.carried += len(data)
                target.sendall(data)
        # One direction that ends, ends both: HTTP has no use for half a connection.
        for connection in (source, target):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        with self.lock:
            gone = {connection for connection in (source, target) if connection in self.open}
            self.open -= gone
        for connection in gone:
            connection.close()
