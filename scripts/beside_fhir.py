#!/usr/bin/env python3
"""A site beside a FHIR server that was not written here: a record that is made, edited or deleted on
either side is so on the other.

The server is Medplum's FHIR router by Node (`--modules FOLDER`, where `scripts/fhir_servers/package.json`
is installed), or any other one (`--url URL`). It is tried with the ids of the site, and with its own
(`--ids keep map`).
"""

import json
import os
import urllib.error
import urllib.request
import uuid

from foreign_fhir import at_server, parse, server
from tributary_site import FHIR_JSON, Site, folder, observation, patient


def main():
    options = parse(__doc__, ids)
    with folder() as path, server(options) as url:
        print(f"server: {url}")
        for whose in options.ids:
            site = Site(path, f"clinic-{whose}-{os.getpid()}")
            try:
                run(site, url, whose)
            finally:
                site.stop()


def ids(parser):
    parser.add_argument("--ids", nargs="+", choices=["keep", "map"], default=["keep", "map"])


def somebody(url, method, record, body=None):
    """What a program of the server's own does there."""
    data = None if body is None else json.dumps(body).encode()
    headers = {"Content-Type": FHIR_JSON}
    request = urllib.request.Request(f"{url}/{record}", data, headers, method=method)
    with urllib.request.urlopen(request, timeout=30) as answer:
        assert answer.status in (200, 201, 204), f"{method} {record}: {answer.status}"


def by_tag(url, record):
    """The record there that says to be this one of the site."""
    kind, name = record.split("/")
    found = at_server(url, f"{kind}?_tag=urn:tributary:record%7C{name}").get("entry", [])
    assert len(found) < 2, f"{record} is there {len(found)} times"
    return found[0]["resource"] if found else None


def run(site, url, whose):
    settings = site.dir / "tributary.toml"
    emr = f'[emr]\nkind = "fhir"\nurl = "{url}"\nevery_ms = 300\n\n[emr.fhir]\nids = "{whose}"\n'
    settings.write_text(settings.read_text() + "\n" + emr)
    here, there = (f"{site.name}-{name}" for name in ("here", "there"))
    if whose == "map":
        # Its own ids are unique: they stay, and what is made here gets one of them.
        there = str(uuid.uuid4())
    somebody(url, "PUT", f"Patient/{there}", patient(there))
    site.add_token()
    site.start()

    def given(record, body):
        found = body(record)
        return found and found["name"][0]["given"][0]

    def ours(record):
        answer = site.request("GET", f"/fhir/{record}")
        return answer.json() if answer.status == 200 else None

    def theirs(record):
        made_here = whose == "map" and record.endswith(here)
        return by_tag(url, record) if made_here else at_server(url, record)

    def until(what, holds):
        site.wait_until(holds, 60, what)
        print(f"ok    {what}")

    until("what was there comes here", lambda: given(f"Patient/{there}", ours) == "Check0")
    somebody(url, "PUT", f"Patient/{there}", patient(there, 1))
    until("an edit there comes here", lambda: given(f"Patient/{there}", ours) == "Check1")
    site.request("PUT", f"/fhir/Patient/{there}", patient(there, 2))
    until("an edit here goes there", lambda: given(f"Patient/{there}", theirs) == "Check2")

    site.request("PUT", f"/fhir/Patient/{here}", patient(here))
    site.request("PUT", f"/fhir/Observation/{here}", observation(here, here, 60.5))
    until("what is made here goes there", lambda: theirs(f"Observation/{here}") is not None)
    assert given(f"Patient/{here}", theirs) == "Check0"
    held = theirs(f"Patient/{here}")
    subject = theirs(f"Observation/{here}")["subject"]["reference"]
    assert subject == f"Patient/{held['id']}" and (held["id"] == here) == (whose == "keep"), subject
    edited = {**patient(held["id"], 1), "meta": {"tag": held.get("meta", {}).get("tag", [])}}
    somebody(url, "PUT", f"Patient/{held['id']}", edited)
    until("an edit there of what was made here", lambda: given(f"Patient/{here}", ours) == "Check1")
    site.request("DELETE", f"/fhir/Observation/{here}")
    until("a deletion here goes there", lambda: theirs(f"Observation/{here}") is None)
    statement = theirs("metadata")["rest"][0]
    if any(one["code"] == "history-system" for one in statement["interaction"]):
        somebody(url, "DELETE", f"Patient/{there}")
        until("a deletion there comes here", lambda: ours(f"Patient/{there}") is None)
    wanted = {f"Patient/{there}": 4, f"Patient/{here}": 2, f"Observation/{here}": 2}
    for record, most in wanted.items():
        versions = site.request("GET", f"/fhir/{record}/_history").json()["entry"]
        assert len(versions) <= most, f"{record} has {len(versions)} versions: something echoes"
    print(site.verb("status").stdout.strip())


if __name__ == "__main__":
    main()
