"""A Tributary site as a separate process, driven by its commands and its HTTP interface.

Used by the checks beside this file. Needs nothing but Python's own library. The program is
what the environment variable TRIBUTARY names, else the release build of this checkout.
"""

import contextlib
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent
FHIR_JSON = "application/fhir+json"


def program():
    """The program to test, as an absolute path."""
    named = os.environ.get("TRIBUTARY", str(ROOT / "target" / "release" / "tributary"))
    path = (ROOT / named).resolve()
    if not path.exists():
        sys.exit(f"{path} is not there: cargo build --release -p node")
    return str(path)


def command(*arguments, expect=0, timeout=120):
    """Runs a verb and gives what it printed; `expect=None` takes any exit code."""
    run = subprocess.run(
        [program(), *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    if expect is not None and run.returncode != expect:
        shown = " ".join(map(str, arguments))
        raise AssertionError(
            f"`tributary {shown}` ended with {run.returncode}, not {expect}\n"
            f"{run.stdout}{run.stderr}"
        )
    return run


def free_port():
    """A port of loopback that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def secret_in(text):
    """The credential or code in what a verb printed: its longest word without a slash."""
    words = [word.strip("\"',.:`") for word in text.split()]
    return max((word for word in words if "/" not in word), key=len)


class Answer:
    """What came back for one request."""

    def __init__(self, status, headers, body):
        self.status = status
        self.headers = headers
        self.body = body

    def json(self):
        return json.loads(self.body)

    def __repr__(self):
        return f"{self.status} {self.body[:300]!r}"


class Site:
    """One site with a folder of its own."""

    def __init__(self, folder, name):
        self.name = name
        self.dir = pathlib.Path(folder) / name
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.token = None
        self.process = None
        self.log = None
        command("init", "--dir", self.dir, "--site", name, "--listen", f"127.0.0.1:{self.port}")

    def set_limits(self, limits):
        """Changes limits in the site's settings, before it starts."""
        settings = self.dir / "tributary.toml"
        text = settings.read_text()
        for name, value in limits.items():
            text, count = re.subn(rf"(?m)^{name} = .*$", f"{name} = {value}", text)
            assert count == 1, f"{name} stands {count} times in {settings}"
        settings.write_text(text)

    def verb(self, *arguments, **options):
        """Runs a verb on this site's folder."""
        return command(*arguments, "--dir", self.dir, **options)

    def add_token(self, scope="fhir-write"):
        """Makes a credential for `request` to use."""
        self.token = secret_in(self.verb("token", "add", "check", "--scope", scope).stdout)

    def start(self):
        """Starts `serve` and waits until it answers."""
        self.log = open(self.dir / "serve.log", "ab")
        self.process = subprocess.Popen(
            [program(), "serve", "--dir", str(self.dir)],
            stdin=subprocess.DEVNULL,
            stdout=self.log,
            stderr=subprocess.STDOUT,
        )
        self.wait_until(lambda: self.request("GET", "/health").status == 200, 30, "serve")

    def kill(self):
        """Ends `serve` as a power failure would."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.log.close()

    def stop(self):
        """Asks `serve` to end and gives its exit code."""
        if self.process is None or self.process.poll() is not None:
            return None
        self.process.terminate()
        try:
            return self.process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise AssertionError(f"{self.name} did not stop within 20 s of being asked") from None
        finally:
            self.log.close()

    def wait_until(self, holds, seconds, what):
        """Waits until `holds()`; connection errors count as not yet."""
        deadline = time.monotonic() + seconds
        while True:
            with contextlib.suppress(OSError):
                if holds():
                    return
            if self.process is not None and self.process.poll() is not None:
                raise AssertionError(f"{self.name} ended by itself:\n{self.last_words()}")
            if time.monotonic() > deadline:
                raise AssertionError(
                    f"{self.name}: {what} has not come within {seconds} s\n{self.last_words()}"
                )
            time.sleep(0.05)

    def last_words(self):
        log = self.dir / "serve.log"
        return log.read_text(errors="replace")[-3000:] if log.exists() else "(no log)"

    def request(self, method, path, body=None, headers=None, timeout=30):
        """One request; an error status is an answer, a broken connection is an OSError."""
        url = path if path.startswith("http") else self.url + path
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(url, data=data, method=method)
        if data is not None:
            request.add_header("Content-Type", FHIR_JSON)
        if self.token:
            request.add_header("Authorization", f"Bearer {self.token}")
        for name, value in (headers or {}).items():
            request.add_header(name, value)
        try:
            with urllib.request.urlopen(request, timeout=timeout) as answer:
                return Answer(answer.status, answer.headers, answer.read())
        except urllib.error.HTTPError as error:
            with error:
                return Answer(error.code, error.headers, error.read())
        except (urllib.error.URLError, TimeoutError, ConnectionError):
            raise
        except Exception as error:  # a body cut short is http.client's own kind of error
            raise OSError(f"{method} {path}: {error}") from error


@contextlib.contextmanager
def folder():
    """A temporary folder; it is kept, and named, where the check fails."""
    path = tempfile.mkdtemp(prefix="tributary-check-")
    try:
        yield path
    except BaseException:
        print(f"kept for a look: {path}", file=sys.stderr)
        raise
    shutil.rmtree(path)


def patient(identity, version=0, **more):
    """A synthetic patient that is told apart by `identity`."""
    return {
        "resourceType": "Patient",
        "id": identity,
        "identifier": [{"system": "urn:tributary:check", "value": identity}],
        "name": [{"family": "Otieno", "given": [f"Check{version}"]}],
        "gender": "unknown",
        "birthDate": "1980-02-29",
        **more,
    }


def observation(identity, subject, value):
    """A weight of a patient; the value keeps its final zero on the way."""
    return {
        "resourceType": "Observation",
        "id": identity,
        "identifier": [{"system": "urn:tributary:check", "value": identity}],
        "status": "final",
        "code": {"coding": [{"system": "http://loinc.org", "code": "29463-7"}]},
        "subject": {"reference": f"Patient/{subject}"},
        "valueQuantity": {"value": value, "unit": "kg"},
    }
