#!/usr/bin/env python3
"""Two sites in two processes, set up as the README says, written to from both sides while
either is killed at random moments and the link between them is as bad as links are: cut in
mid-transfer, slow, refusing, silent in one direction or both. Both also edit the same patients.

Nothing acknowledged may be lost, nothing may come twice, nobody has to do anything by hand; both
hold the same bytes in the end, and no edit has gone without a word.
"""

import argparse
import contextlib
import json
import pathlib
import random
import threading
import time

from broken_link import DOWN, UP, BrokenLink, Weather
from shared_patients import PATIENTS, Editor, check_edits, first_state
from tributary_site import Site, folder, observation, patient, secret_in

COHORT = "kisumu-east"
SETTLE_SECONDS = 120
# Silence is noticed within seconds here, so that there is much of it.
LIMITS = {"request_seconds": 6, "poll_seconds": 3, "backoff_max_seconds": 5}


def main():
    options = parse()
    print(f"seed {options.seed}")
    chance = random.Random(options.seed)
    with folder() as path:
        parent = Site(path, "centre")
        child = Site(path, COHORT)
        for site in (parent, child):
            site.set_limits(LIMITS)
        link = BrokenLink(parent.port)
        try:
            enrol(parent, child, link)
            check_both_ways(parent, child)
            away = write_while_away(parent, child, path, options.away)
            share(parent, child)
            writers = [Writer(parent, options.seed + 1), Writer(child, options.seed + 2)]
            editors = [Editor(parent, 0, options.seed + 3), Editor(child, 1, options.seed + 4)]
            trouble(chance, parent, child, link, writers, editors, options)
            settle(parent, child)
            check_equal(parent, child, writers, away)
            check_histories(writers)
            check_edits(parent, child, editors)
        finally:
            link.close()
            for site in (child, parent):
                with contextlib.suppress(AssertionError):
                    site.stop()


def parse():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=120, help="how long the trouble lasts")
    parser.add_argument("--records", type=int, default=1000, help="write at least so many")
    parser.add_argument("--away", type=int, default=10_000, help="changes while nobody listens")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    return parser.parse_args()


def enrol(parent, child, link):
    """The README's set-up, with the link between the two in our hands."""
    parent.verb("cohort", "set", COHORT, "--all")
    code = secret_in(parent.verb("child", "add", COHORT, "--cohort", COHORT).stdout)
    parent.add_token()
    child.add_token()
    parent.start()
    child.verb("join", link.url, "--code", code)
    again = child.verb("join", link.url, "--code", code, expect=None)
    assert again.returncode != 0, "a code was taken twice"
    child.start()


def check_both_ways(parent, child):
    """With all well, a record written at one side is at the other within seconds."""
    for here, there, identity in [(parent, child, "down"), (child, parent, "up")]:
        begun = time.monotonic()
        assert put(here, patient(identity)), f"{here.name} took no record"
        there.wait_until(
            lambda: there.request("GET", f"/fhir/Patient/{identity}").status == 200,
            30,
            f"Patient/{identity}",
        )
        print(f"{here.name} to {there.name}: {time.monotonic() - begun:.2f} s")


def write_while_away(parent, child, path, count):
    """Changes made at the child while its parent is gone; all have to go up by themselves."""
    parent.kill()
    resources = [patient(f"away-{number}") for number in range(count)]
    lines = pathlib.Path(path) / "away.ndjson"
    lines.write_text("".join(json.dumps(resource) + "\n" for resource in resources))
    child.verb("import", lines, timeout=300)
    parent.start()
    begun = time.monotonic()
    last = f"/fhir/Patient/away-{count - 1}"
    parent.wait_until(lambda: parent.request("GET", last).status == 200, 120, last)
    print(f"{count} changes went up within {time.monotonic() - begun:.1f} s of the parent's return")
    return {f"Patient/{resource['id']}": resource for resource in resources}


def share(parent, child):
    """Patients whom both sites hold before the trouble begins."""
    for number in range(PATIENTS):
        assert put(parent, first_state(number))
    last = f"/fhir/Patient/shared-{PATIENTS - 1}"
    child.wait_until(lambda: child.request("GET", last).status == 200, 30, last)


def put(site, resource):
    """Writes a resource; whether it was acknowledged."""
    path = f"/fhir/{resource['resourceType']}/{resource['id']}"
    try:
        answer = site.request("PUT", path, resource, timeout=10)
    except OSError:
        return False
    # These are "not now"; anything else that is not a success is a fault.
    assert answer.status in (200, 201, 429, 503), f"{site.name} {path}: {answer}"
    return answer.status in (200, 201)


class Writer(threading.Thread):
    """A ward that goes on writing to its own site, and repeats what was not acknowledged."""

    def __init__(self, site, seed):
        super().__init__(daemon=True)
        self.site = site
        self.chance = random.Random(seed)
        self.acknowledged = {}
        self.texts = []
        self.fault = None
        self.ended = threading.Event()
        self.number = 0

    def run(self):
        try:
            while not self.ended.is_set():
                self.number += 1
                for resource in self.visit(self.number):
                    self.write(resource)
        except AssertionError as fault:
            self.fault = fault

    def visit(self, number):
        """A new patient with observations, and an edit of one that came before."""
        name = f"{self.site.name}-{number}"
        yield patient(name)
        for each in range(3):
            yield observation(f"{name}-{each}", name, 50 + each)
        if number > 1 and self.chance.random() < 0.3:
            earlier = self.chance.randrange(1, number)
            yield patient(f"{self.site.name}-{earlier}", version=number)

    def write(self, resource):
        """Writes until acknowledged: only then does it count, and then it counts for ever."""
        while not put(self.site, resource):
            if self.ended.is_set():
                return
            time.sleep(0.1)
        reference = f"{resource['resourceType']}/{resource['id']}"
        self.acknowledged[reference] = resource
        self.texts.append((reference, canonical(resource)))


def canonical(resource):
    """What a resource says, without what a site adds to it."""
    said = {key: value for key, value in resource.items() if key != "meta"}
    return json.dumps(said, sort_keys=True)


def weathers(chance):
    """How a link may be bad without being cut, by name."""
    return {
        "delayed": Weather(delay=chance.uniform(0.05, 0.5)),
        "slow": Weather(rate=chance.uniform(2_000, 50_000)),
        "cut after bytes": Weather(cut_after=chance.randrange(200, 30_000)),
        "deaf": Weather(deaf=True),
        "silent upwards": Weather(silent=[UP]),
        "silent downwards": Weather(silent=[DOWN]),
        "silent": Weather(silent=[UP, DOWN]),
    }


def trouble(chance, parent, child, link, writers, editors, options):
    """Kills, restarts, cuts and bad weather on the link while both sides write."""
    people = [*writers, *editors]
    for each in people:
        each.start()
    begun = time.monotonic()
    counts = dict.fromkeys(["kills", "cuts", *weathers(chance)], 0)

    def going_on():
        written = sum(len(writer.acknowledged) for writer in writers)
        seconds = time.monotonic() - begun
        assert seconds < 4 * options.seconds + 60, f"only {written} records in {seconds:.0f} s"
        return seconds < options.seconds or written < options.records

    while going_on():
        for each in people:
            assert each.fault is None, each.fault
        time.sleep(chance.uniform(0.1, 2.0))
        event = chance.choice(["parent", "child", "cut", "weather", "weather"])
        if event == "weather":
            # In turns, so that a short run has each.
            name = min(weathers(chance), key=lambda name: counts[name])
            link.turn(weathers(chance)[name])
            counts[name] += 1
            time.sleep(chance.uniform(1.0, 4.0))
            link.turn(Weather())
        elif event == "cut":
            link.cut()
            counts["cuts"] += 1
            time.sleep(chance.uniform(0.1, 2.0))
            link.mend()
        else:
            site = parent if event == "parent" else child
            site.kill()
            counts["kills"] += 1
            time.sleep(chance.uniform(0.0, 1.5))
            site.start()
    for each in people:
        each.ended.set()
    for each in people:
        each.join(timeout=30)
        assert not each.is_alive(), f"a program at {each.site.name} hangs"
        assert each.fault is None, each.fault
    for writer in writers:
        print(f"{writer.site.name} acknowledged {len(writer.acknowledged)} records")
    told = ", ".join(f"{count} {name}" for name, count in counts.items())
    print(f"{told}; {link.carried} bytes on the link")
    assert options.seconds < 100 or all(counts.values()), counts


def settle(parent, child):
    """With the trouble over, the sites come into step by themselves, and `verify` says so."""
    begun = time.monotonic()
    deadline = begun + SETTLE_SECONDS
    while True:
        verified = child.verb("verify", expect=None)
        if verified.returncode == 0:
            break
        assert time.monotonic() < deadline, (
            f"not in step {SETTLE_SECONDS} s after the trouble:\n{verified.stdout}"
            f"{verified.stderr}{child.verb('queue', expect=None).stdout}"
        )
        time.sleep(1)
    print(f"in step {time.monotonic() - begun:.1f} s after the trouble")


def check_equal(parent, child, writers, away):
    """Every acknowledged record is at both sides as it was last written, and nothing else."""
    for site in (parent, child):
        shared = {f"Patient/shared-{number}": None for number in range(PATIENTS)}
        expected = {"Patient/down": None, "Patient/up": None, **shared, **away}
        for writer in writers:
            expected.update(writer.acknowledged)
        held = everything(site)
        lost = sorted(set(expected) - set(held))
        assert not lost, f"{site.name} lost {len(lost)} acknowledged records: {lost[:5]}"
        twice = [reference for reference, times in held.items() if times[0] > 1]
        assert not twice, f"{site.name} lists {twice[:5]} more than once"
        for reference, resource in expected.items():
            if resource is not None:
                there = {key: value for key, value in held[reference][1].items() if key != "meta"}
                assert there == resource, f"{site.name}: {reference} is not as it was written"
        # One write may have been under way, unacknowledged, when its writer was ended.
        surplus = set(held) - set(expected)
        assert len(surplus) <= len(writers), f"{site.name} holds {sorted(surplus)[:5]} besides"
        print(f"{site.name} holds {len(held)} records, all as they were written")


def check_histories(writers):
    """Every acknowledged write is a version at the site that took it. (Of several writes to one
    patient the other site may be sent the last one only.)"""
    for writer in writers:
        held, url = set(), "/fhir/_history?_count=500"
        while url:
            bundle = writer.site.request("GET", url).json()
            for entry in bundle["entry"]:
                if resource := entry.get("resource"):
                    reference = f"{resource['resourceType']}/{resource['id']}"
                    held.add((reference, canonical(resource)))
            url = next((each["url"] for each in bundle["link"] if each["relation"] == "next"), None)
        lost = [reference for reference, text in writer.texts if (reference, text) not in held]
        assert not lost, f"{writer.site.name} has no version of {len(lost)} writes: {lost[:5]}"
        print(f"{writer.site.name}: all {len(writer.texts)} writes are in its history")


def everything(site):
    """Reference to (times listed, resource), by searching with paging links."""
    held = {}
    for kind in ["Patient", "Observation"]:
        url = f"/fhir/{kind}?_count=500"
        while url:
            answer = site.request("GET", url)
            assert answer.status == 200, f"{url}: {answer}"
            bundle = answer.json()
            for entry in bundle.get("entry", []):
                resource = entry["resource"]
                reference = f"{kind}/{resource['id']}"
                held[reference] = (held.get(reference, (0,))[0] + 1, resource)
            url = next((each["url"] for each in bundle["link"] if each["relation"] == "next"), None)
    return held


if __name__ == "__main__":
    main()
