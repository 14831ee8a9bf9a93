#!/usr/bin/env python3
"""Holds the demo's synthetic records against the FHIR R4 models of fhir.resources."""

import collections
import json
import pathlib
import sys

from fhir.resources.R4B import get_fhir_model_class

from tributary_site import command, folder

SEED = 7
PATIENTS = 40


def main():
    with folder() as path:
        records = generated(f"{path}/demo")
    counts = collections.Counter(record["resourceType"] for record in records)
    faults = [fault for record in records if (fault := fault_of(record))]
    for fault in faults[:20]:
        print(fault)
    print(dict(counts))
    for wanted in ["Patient", "Encounter", "Observation", "Location", "Practitioner"]:
        assert counts[wanted], f"the generator makes no {wanted}"
    assert not faults, f"{len(faults)} of {len(records)} records are not valid R4"
    print(f"{len(records)} records are valid R4")


def generated(demo_dir):
    """Everything that the demo's centre holds at the end of its story."""
    command("demo", "--quiet", "--json", "--dir", demo_dir, "--seed", SEED, "--patients", PATIENTS)
    exported = pathlib.Path(demo_dir) / "centre.ndjson"
    command("export", "--dir", f"{demo_dir}/centre", exported)
    return [json.loads(line) for line in exported.read_text().splitlines()]


def fault_of(record):
    """What the model says against a record, in one line; `None` where it is valid."""
    try:
        get_fhir_model_class(record["resourceType"]).model_validate(record)
    except Exception as error:
        reference = f"{record['resourceType']}/{record.get('id')}"
        return f"{reference}: {' '.join(str(error).split())[:300]}"
    return None


if __name__ == "__main__":
    sys.exit(main())
