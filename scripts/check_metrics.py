#!/usr/bin/env python3
"""Reads the metrics of a centre and a clinic with the parser of Prometheus's own Python library.

What docs/metrics.md lists is what both show: names, types, units and labels; and the numbers are
those of what was written.
"""

import pathlib
import re

from prometheus_client.openmetrics.parser import text_string_to_metric_families

from tributary_site import ROOT, Site, folder, patient, secret_in

PATIENTS = 5


def main():
    with folder() as path:
        centre, clinic = Site(path, "centre"), Site(path, "clinic")
        centre.verb("cohort", "set", "everyone", "--all")
        code = secret_in(centre.verb("child", "add", "clinic", "--cohort", "everyone").stdout)
        centre.start()
        clinic.verb("join", centre.url, "--code", code)
        clinic.start()
        try:
            check(centre, clinic)
        finally:
            clinic.stop()
            centre.stop()


def check(centre, clinic):
    for site in (centre, clinic):
        monitor = site.verb("token", "add", "prometheus", "--scope", "metrics").stdout
        site.monitor = {"Authorization": f"Bearer {secret_in(monitor)}"}
    assert centre.request("GET", "/metrics").status == 401
    clinic.add_token()
    for number in range(PATIENTS):
        answer = clinic.request("PUT", f"/fhir/Patient/p{number}", patient(f"p{number}"))
        assert answer.status == 201, answer
    centre.wait_until(lambda: has(centre, "tributary_patients", PATIENTS), 30, "all patients")
    clinic.wait_until(lambda: nothing_waits(clinic), 30, "an empty queue")
    documented = table()
    shown = {}
    for site in (centre, clinic):
        found = families(site)
        shown.update(found)
        assert set(found) == set(documented), set(found) ^ set(documented)
        for name, family in found.items():
            kind, unit, labels = documented[name]
            assert (family.type, family.unit) == (kind, unit), f"{name}: {family}"
            for sample in family.samples:
                assert set(sample.labels) - {"le"} == labels, sample
        assert value(found, "tributary_patients", {}) == PATIENTS
        assert value(found, "tributary_disk_free_bytes", {}) > 0
        text = site.request("GET", "/metrics", headers=site.monitor).body.decode()
        assert "Otieno" not in text and "p0" not in text, text
    counts = families(centre)
    assert value(counts, "tributary_applied_lines_total", {"from": "child", "outcome": "applied"}) > 0
    sent = value(counts, "tributary_link_bytes_total", {"link": "clinic", "direction": "sent"})
    received = value(counts, "tributary_link_bytes_total", {"link": "clinic", "direction": "received"})
    assert sent > 0 and received > 0, (sent, received)
    assert value(counts, "tributary_child_info", None) == 1
    assert value(families(clinic), "tributary_rounds_total", {"outcome": "ok"}) > 0
    print(f"{len(shown)} metrics, as docs/metrics.md lists them")


def table():
    """The table of the document: types, units and labels by the families' names."""
    rows = {}
    text = (pathlib.Path(ROOT) / "docs" / "metrics.md").read_text()
    for line in re.findall(r"(?m)^\| `tributary_.*$", text):
        name, kind, unit, labels, _ = (cell.strip().strip("`") for cell in line.strip("|").split("|"))
        ending = {"counter": "_total", "info": "_info"}.get(kind, "")
        labels = {label.strip().strip("`") for label in labels.split(",") if label.strip()}
        rows[name.removesuffix(ending)] = (kind, unit, labels)
    return rows


def families(site):
    answer = site.request("GET", "/metrics", headers=site.monitor)
    assert answer.status == 200, answer
    assert answer.headers["Content-Type"].startswith("application/openmetrics-text"), answer.headers
    return {family.name: family for family in text_string_to_metric_families(answer.body.decode())}


def value(found, name, labels):
    """The one sample of this name and these labels; `None`: whatever its labels are."""
    samples = [sample for family in found.values() for sample in family.samples]
    fitting = [s for s in samples if s.name == name and (labels is None or s.labels == labels)]
    assert len(fitting) == 1, f"{name} {labels}: {fitting}"
    return fitting[0].value


def has(site, name, expected):
    return value(families(site), name, {}) == expected


def nothing_waits(site):
    return all(
        value(families(site), "tributary_queue_changes", {"state": state}) == 0
        for state in ("ready", "retry", "parked")
    )


if __name__ == "__main__":
    main()
