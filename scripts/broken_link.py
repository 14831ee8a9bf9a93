"""A link on loopback that behaves as badly as links do: a TCP proxy for the checks here.

It can be cut in mid-transfer, refuse, be slow, end after so many bytes, take connections and
never answer, or go silent in one direction while the other works.
"""

import contextlib
import socket
import threading
import time

UP, DOWN = "up", "down"


class Weather:
    """How the link behaves for the time being; by itself it is good."""

    def __init__(self, *, delay=0.0, rate=None, cut_after=None, silent=(), deaf=False):
        self.delay = delay  # seconds that each portion waits
        self.rate = rate  # bytes a second, each direction
        self.cut_after = cut_after  # bytes after which a connection is reset
        self.silent = frozenset(silent)  # directions in which nothing comes through
        self.deaf = deaf  # takes connections and never says a word


class BrokenLink:
    """Carries connections to a port, until it is cut; whole again it carries new ones."""

    def __init__(self, port):
        self.port = port
        self.whole = True
        self.weather = Weather()
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
        self._reset(cut)

    def mend(self):
        with self.lock:
            self.whole = True

    def turn(self, weather):
        """Connections that are open have the new weather, too; those that hung go on hanging."""
        with self.lock:
            self.weather = weather

    def close(self):
        self.cut()
        self.listener.close()

    @staticmethod
    def _reset(connections):
        for connection in connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()

    def _accept(self):
        while True:
            try:
                near, _ = self.listener.accept()
            except OSError:
                return
            if self.weather.deaf:
                with self.lock:
                    self.open.add(near)
                continue
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
            budget = Budget()
            for source, target, direction in [(near, far, UP), (far, near, DOWN)]:
                threading.Thread(
                    target=self._carry, args=(source, target, direction, budget), daemon=True
                ).start()

    def _carry(self, source, target, direction, budget):
        swallowed = False
        with contextlib.suppress(OSError):
            while data := source.recv(16384):
                weather = self.weather
                # A direction that lost something is lost for good: no network mends a stream.
                swallowed |= direction in weather.silent
                if swallowed:
                    continue
                if weather.delay:
                    time.sleep(weather.delay)
                if weather.rate:
                    time.sleep(len(data) / weather.rate)
                if weather.cut_after is not None:
                    left = weather.cut_after - budget.take(len(data))
                    if left < len(data):
                        target.sendall(data[: max(left, 0)])
                        break
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


class Budget:
    """Bytes that one connection has carried, both directions together."""

    def __init__(self):
        self.carried = 0
        self.lock = threading.Lock()

    def take(self, count):
        """Counts, and gives how many went before."""
        with self.lock:
            before = self.carried
            self.carried += count
            return before
