#!/usr/bin/env python3
"""Runs `tributary demo` and holds it to its word: in step, every site accounted for.

Arguments are passed on, for example `--import FOLDER`.
"""

import json
import sys

from tributary_site import command

COLUMNS = [
    "records",
    "sent",
    "received",
    "merged",
    "conflicts",
    "parked",
    "wire_bytes",
    "raw_bytes",
]


def main():
    run = command("demo", "--quiet", "--json", *sys.argv[1:], timeout=600)
    table = json.loads(run.stdout)
    print(json.dumps(table, indent=1))
    assert table["in_step"] is True, "the sites are not in step"
    apart = table["apart"]
    clinics = min(3, len(table["sites"]) - 1)
    assert apart["sites"] == clinics + 1, f"{apart['sites']} sites edited one patient"
    assert apart["rounds"] <= 2, "the sites took longer than a round after the links returned"
    if clinics > 1:
        assert apart["conflicts"] >= 2, "a birth date and a deletion were contested"
        assert apart["decided"] == 1, "a person decided one conflict, and it is not closed"
    assert apart["timeline"] > 2 * clinics, "the timeline of the patient lacks edits"
    sites = table["sites"]
    assert len(sites) >= 2, "a demo needs a centre and a clinic"
    for site in sites:
        missing = [column for column in COLUMNS if not isinstance(site.get(column), int)]
        assert not missing, f"{site.get('site')} says nothing of {missing}"
        assert site["records"] > 0, f"{site['site']} holds nothing"
        assert site["parked"] == 0, f"{site['site']} has parked {site['parked']}"
    assert sum(site["sent"] for site in sites) > 0, "nothing was sent"
    assert sum(site["received"] for site in sites) > 0, "nothing was received"
    assert any(site["merged"] for site in sites), "the story merges, the table does not"
    assert any(site["conflicts"] for site in sites), "the story has a conflict, the table none"
    print(f"in step after {table['seconds']} s")


if __name__ == "__main__":
    main()
