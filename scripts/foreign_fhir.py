#!/usr/bin/env python3
"""A site whose parent is a FHIR server that was not written here: what is written, edited, refused
and deleted at the site comes to be so on the server.

The server is Medplum's FHIR router by Node (`--modules FOLDER`, where `scripts/fhir_servers/package.json`
is installed), or any other one (`--url URL`; it should be empty), for example `hfs` or HAPI.
"""

import argparse
import contextlib
import json
import os
import subprocess
import urllib.error
import urllib.request

from tributary_site import FHIR_JSON, ROOT, Site, folder, observation, patient

PATIENTS = 150


def main():
    options = parse(__doc__)
    with folder() as path, server(options) as url:
        print(f"server: {url}")
        for way in options.way:
            site = Site(path, f"clinic-{way}")
            try:
                run(site, url, way)
            finally:
                site.stop()


def parse(what, more=lambda parser: None):
    parser = argparse.ArgumentParser(description=what)
    parser.add_argument("--url", help="a FHIR server that runs already")
    parser.add_argument("--modules", help="the folder with Medplum's node_modules")
    parser.add_argument("--way", nargs="+", default=["offered", "put"])
    more(parser)
    return parser.parse_args()


@contextlib.contextmanager
def server(options):
    if options.url:
        yield options.url.rstrip("/")
        return
    script = ROOT / "scripts" / "fhir_servers" / "medplum.cjs"
    environment = {**os.environ, "NODE_PATH": str(options.modules)}
    process = subprocess.Popen(
        ["node", str(script)], env=environment, stdout=subprocess.PIPE, text=True
    )
    try:
        yield process.stdout.readline().strip()
    finally:
        process.terminate()
        process.wait()


def at_server(url, record):
    """The record there, `None` where it is gone or never was."""
    request = urllib.request.Request(f"{url}/{record}", headers={"Accept": FHIR_JSON})
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            assert error.code in (404, 410), f"{record}: {error.code}"
            return None


def run(site, url, way):
    settings = site.dir / "tributary.toml"
    parent = f'[parent]\nup = "fhir"\nurl = "{url}"\nsite = "registry"\n\n[parent.fhir]\nway = "{way}"\n'
    settings.write_text(settings.read_text() + "\n" + parent)
    print(site.verb("doctor").stdout.strip())
    site.add_token()
    site.start()
    names = [f"{way}-{number}" for number in range(PATIENTS)]
    for name in names:
        assert site.request("PUT", f"/fhir/Patient/{name}", patient(name)).status == 201
        weight = observation(f"o-{name}", name, 60.5)
        assert site.request("PUT", f"/fhir/Observation/o-{name}", weight).status == 201
    in_step(site)
    for name in names:
        assert at_server(url, f"Patient/{name}")["name"][0]["given"] == ["Check0"]
        weight = at_server(url, f"Observation/o-{name}")
        assert weight["subject"]["reference"] == f"Patient/{name}", weight
    print(f"{way}: {2 * PATIENTS} records came")

    edited, deleted = names[0], names[1]
    site.request("PUT", f"/fhir/Patient/{edited}", patient(edited, 1))
    for record in (f"Observation/o-{deleted}", f"Patient/{deleted}"):
        assert site.request("DELETE", f"/fhir/{record}").status in (200, 204)
    in_step(site)
    assert at_server(url, f"Patient/{edited}")["name"][0]["given"] == ["Check1"]
    for record in (f"Observation/o-{deleted}", f"Patient/{deleted}"):
        assert at_server(url, record) is None, f"{record} is still there"
    print(f"{way}: an edit and two deletions came")

    print(site.verb("status").stdout.strip())


def in_step(site):
    site.wait_until(lambda: waiting(site) == 0, 120, "what was written")


def waiting(site):
    told = json.loads(site.verb("status", "--json").stdout)
    return sum(count for state, count in told["deliveries"].items() if state != "done")


if __name__ == "__main__":
    main()
