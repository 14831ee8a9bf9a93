#!/usr/bin/env python3
"""Holds the messages that a site gives to third parties, the parent's answers to them, and the rows of
its audit as AuditEvents against the FHIR R4 models of fhir.resources."""

import collections
import json
import re
import sys
import urllib.request

from check_generator import fault_of, generated
from tributary_site import ROOT, Site, folder, secret_in

FIXTURES = ROOT / "crates" / "protocol" / "fixtures" / "v1"
COHORT = "kisumu-east"


def main():
    with folder() as path:
        texts, events = carried(path)
    texts += [(FIXTURES / name).read_text() for name in ("message.json", "message-answer.json")]
    counts = collections.Counter()
    faults = []
    for text in texts:
        bundle = json.loads(text)
        faults += filter(None, [fault_of(bundle), *map(fault_of_entry, bundle["entry"])])
        faults += rules(bundle)
        counts.update(entry["resource"]["resourceType"] for entry in bundle["entry"])
    faults += filter(None, map(fault_of, events))
    print(len(events), "AuditEvents")
    assert len(events) > 50, "hardly any row of the audit came as an AuditEvent"
    for fault in faults[:20]:
        print(fault)
    print(len(texts), "messages and answers:", dict(counts))
    for wanted in ["MessageHeader", "Provenance", "Patient", "Observation", "OperationOutcome"]:
        assert counts[wanted], f"no message has a {wanted}"
    assert not faults, f"{len(faults)} faults in {len(texts)} messages"


def carried(path):
    """Messages of generated records and the answers to them, and the parent's AuditEvents."""
    records = generated(f"{path}/demo")
    parent, child = Site(path, "centre"), Site(path, COHORT)
    try:
        parent.verb("cohort", "set", COHORT, "--all")
        code = secret_in(parent.verb("child", "add", COHORT, "--cohort", COHORT).stdout)
        carry = ["token", "add", "carrier", "--scope", "carry", "--child", COHORT]
        carry = secret_in(parent.verb(*carry).stdout)
        parent.start()
        child.verb("join", parent.url, "--code", code)
        settings = child.dir / "tributary.toml"
        settings.write_text(re.sub('up = "direct"', 'up = "carried"', settings.read_text()))
        outbox = secret_in(child.verb("token", "add", "carrier", "--scope", "outbox").stdout)
        lines = child.dir / "records.ndjson"
        lines.write_text("".join(json.dumps(record) + "\n" for record in records))
        child.verb("import", lines)
        child.add_token()
        child.start()
        gone = next(record for record in records if record["resourceType"] == "Observation")
        answer = child.request("DELETE", f"/fhir/Observation/{gone['id']}")
        assert answer.status in (200, 204), answer
        texts = all_messages(child, outbox, carry)
        desk = secret_in(parent.verb("token", "add", "desk", "--scope", "administer").stdout)
        return texts, audit_events(f"{parent.url}/fhir/AuditEvent?_count=200", desk)
    finally:
        child.stop()
        parent.stop()


def all_messages(child, outbox, carry):
    texts = []
    while True:
        # As JSON this time: what is valid as text is valid so, and must be the same.
        leased = json.loads(post(f"{child.url}/outbox/lease", outbox, '{"max": 100}'))["messages"]
        if not leased:
            return texts
        for message in leased:
            text = json.dumps(message["message"])
            answer = post(message["target"], carry, text, "application/fhir+json")
            said = json.dumps({"lease": message["lease"], "evidence": json.loads(answer)})
            post(f"{child.url}/outbox/{message['id']}/delivered", outbox, said)
            texts += [text, answer]


def audit_events(url, token):
    """The newest rows of the audit as resources, some pages of them."""
    events = []
    for _ in range(5):
        request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"})
        with urllib.request.urlopen(request, timeout=30) as answer:
            bundle = json.load(answer)
        assert fault_of(bundle) is None, fault_of(bundle)
        events += [entry["resource"] for entry in bundle.get("entry", [])]
        links = {link["relation"]: link["url"] for link in bundle["link"]}
        if "next" not in links:
            break
        url = links["next"]
    return events


def post(url, token, text, kind="application/json"):
    headers = {"Authorization": f"Bearer {token}", "Content-Type": kind}
    request = urllib.request.Request(url, text.encode(), headers, method="POST")
    with urllib.request.urlopen(request, timeout=30) as answer:
        return answer.read().decode()


def fault_of_entry(entry):
    return fault_of(entry["resource"])


def rules(bundle):
    """What R4 demands of a message and its models do not check."""
    entries = bundle["entry"]
    urls = [entry["fullUrl"] for entry in entries]
    name = bundle.get("id", "(an answer)")
    if bundle["type"] != "message" or entries[0]["resource"]["resourceType"] != "MessageHeader":
        yield f"{name}: bdl-12, a message begins with a MessageHeader"
    if len(set(urls)) != len(urls):
        yield f"{name}: bdl-7, an URL stands twice"
    if any({"request", "response", "search"} & set(entry) for entry in entries):
        yield f"{name}: bdl-2 to bdl-4, an entry has what a message must not have"
    held = {f"{r['resourceType']}/{r.get('id')}" for r in (entry["resource"] for entry in entries)}
    for focus in entries[0]["resource"].get("focus", []):
        if focus["reference"] not in held:
            yield f"{name}: the focus {focus['reference']} is not in the message"


if __name__ == "__main__":
    sys.exit(main())
