#!/usr/bin/env python3
"""A parent and a child in two processes, and third parties that carry the child's messages: the
two of `examples/third-party`, and some that behave as third parties do. They are away, they lie,
they double, they are late and repeat, they speak gzip only, and the parent is killed meanwhile.

Everything has to arrive once, in order for each patient, and `status` has to say what is wrong.
"""

import argparse
import gzip
import json
import os
import pathlib
import random
import subprocess
import sys
import time
import urllib.error
import urllib.request

from tributary_site import ROOT, Site, folder, observation, patient, secret_in

COHORT = "kisumu-east"
EXAMPLES = ROOT / "examples" / "third-party"
# Short ones, so that what takes hours is over in seconds.
LIMITS = {
    "carrier_seconds": 3,
    "receipt_seconds": 4,
    "poll_seconds": 3,
    "backoff_seconds": 1,
    "backoff_max_seconds": 2,
}


def main():
    options = parse()
    print(f"seed {options.seed}")
    with folder() as path:
        world = World(path, random.Random(options.seed))
        try:
            nothing_goes_by_itself(world)
            by_program(world, [sys.executable, EXAMPLES / "carrier.py", "--once"])
            by_program(world, ["bash", EXAMPLES / "carrier.sh"])
            a_carrier_that_lies(world)
            a_carrier_that_doubles(world)
            a_carrier_that_is_late(world)
            a_carrier_that_speaks_gzip_only(world)
            the_parent_is_killed(world)
            world.check()
        finally:
            for site in (world.child, world.parent):
                site.stop()


def parse():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    return parser.parse_args()


class World:
    """The two sites, their credentials for third parties, and what was written."""

    def __init__(self, path, chance):
        self.chance = chance
        self.written = {}
        self.number = 0
        self.parent = Site(path, "centre")
        self.child = Site(path, COHORT)
        for site in (self.parent, self.child):
            site.set_limits(LIMITS)
        parent, child = self.parent, self.child
        parent.verb("cohort", "set", COHORT, "--all")
        code = secret_in(parent.verb("child", "add", COHORT, "--cohort", COHORT).stdout)
        carry = ["token", "add", "carrier", "--scope", "carry", "--child", COHORT]
        self.carry = secret_in(parent.verb(*carry).stdout)
        parent.add_token()
        child.add_token()
        parent.start()
        child.verb("join", parent.url, "--code", code)
        settings = child.dir / "tributary.toml"
        text = settings.read_text()
        assert text.count('up = "direct"') == 1, text
        settings.write_text(text.replace('up = "direct"', 'up = "carried"'))
        self.outbox = secret_in(child.verb("token", "add", "carrier", "--scope", "outbox").stdout)
        child.start()

    def write(self, patients):
        """Patients with observations and edits, as a ward makes them."""
        for _ in range(patients):
            self.number += 1
            name = f"p{self.number}"
            self.put(patient(name))
            for each in range(3):
                self.put(observation(f"{name}-{each}", name, 50 + each))
            earlier = self.chance.randrange(1, self.number + 1)
            self.put(patient(f"p{earlier}", version=self.number))

    def put(self, resource):
        path = f"/fhir/{resource['resourceType']}/{resource['id']}"
        answer = self.child.request("PUT", path, resource)
        assert answer.status in (200, 201), answer
        reference = path.removeprefix("/fhir/")
        self.written.setdefault(reference, []).append(canonical(resource))

    def waiting(self):
        """What the parent does not hold yet, by state."""
        counts = json.loads(self.child.verb("status", "--json").stdout)["deliveries"]
        return {state: count for state, count in counts.items() if state != "done"}

    def lease(self, seconds=60, most=50):
        ask = {"max": most, "for_seconds": seconds, "as": "fhir-message-text"}
        answer = call(f"{self.child.url}/outbox/lease", self.outbox, json.dumps(ask))
        return json.loads(answer)["messages"]

    def post(self, message):
        return call(message["target"], self.carry, message["message"], "application/fhir+json")

    def say(self, message, word, **more):
        url = f"{self.child.url}/outbox/{message['id']}/{word}"
        return json.loads(call(url, self.outbox, json.dumps({"lease": message["lease"], **more})))

    def carry_all(self, by, seconds=60):
        """Lets `by(message)` carry until the parent holds everything."""
        deadline = time.monotonic() + seconds
        while self.waiting():
            assert time.monotonic() < deadline, f"still waiting: {self.waiting()}"
            for message in self.lease():
                by(message)
            time.sleep(0.2)

    def status_says(self, words, seconds=30):
        self.child.wait_until(
            lambda: words in self.child.verb("status").stdout, seconds, f"`{words}` in status"
        )

    def check(self):
        """The parent holds what was written: each state once at the most, in the order in which
        they were written, the last one at the end, and no observation before its patient."""
        first = {}
        for reference, states in self.written.items():
            history = self.parent.request("GET", f"/fhir/{reference}/_history").json()
            versions = [entry["resource"] for entry in reversed(history["entry"])]
            told = [canonical(version) for version in versions]
            assert told[-1] == states[-1], f"{reference} is not in its last state"
            rest = iter(states)
            for state in told:
                assert state in rest, f"{reference}: {state} came twice, or out of order"
            first[reference] = int(versions[0]["meta"]["versionId"])
        for reference, version in first.items():
            if reference.startswith("Observation/"):
                of = "Patient/" + reference.removeprefix("Observation/").split("-")[0]
                assert first[of] <= version, f"{reference} came before {of}"
        verified = self.child.verb("verify", expect=None)
        assert verified.returncode == 0, verified.stdout + verified.stderr
        for site in (self.parent, self.child):
            site.verb("doctor")
        print(f"{len(first)} records arrived once and in order")


def call(url, token, text, kind="application/json", headers=None):
    """A POST; gives the text of the answer."""
    headers = {"Authorization": f"Bearer {token}", "Content-Type": kind, **(headers or {})}
    data = text if isinstance(text, bytes) else text.encode()
    request = urllib.request.Request(url, data, headers, method="POST")
    with urllib.request.urlopen(request, timeout=30) as answer:
        body = answer.read()
        if answer.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        return body.decode()


def canonical(resource):
    said = {key: value for key, value in resource.items() if key != "meta"}
    return json.dumps(said, sort_keys=True)


def words_of(answer):
    return json.loads(answer)["entry"][1]["resource"]["issue"][0]["diagnostics"]


def nothing_goes_by_itself(world):
    """Third parties that do not come: the site waits for them, and says so."""
    world.write(5)
    world.status_says("no carrier has come for")
    assert world.parent.request("GET", "/fhir/Patient/p1").status == 404
    assert sum(world.waiting().values()) == 25, world.waiting()
    print("no carrier: nothing went, and status said so")


def by_program(world, program):
    """One of the examples carries everything."""
    world.write(5)
    tokens = {"SITE_URL": world.child.url, "OUTBOX_TOKEN": world.outbox, "CARRY_TOKEN": world.carry}
    run = subprocess.run(
        list(map(str, program)), env={**os.environ, **tokens}, capture_output=True, text=True,
        timeout=120, check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert not world.waiting(), f"{program[1]}: {world.waiting()}"
    assert "no carrier has come" not in world.child.verb("status").stdout
    print(f"{pathlib.Path(program[1]).name} carried everything")


def a_carrier_that_lies(world):
    """It says delivered and throws away."""
    world.write(3)
    leased = world.lease()
    assert leased
    for message in leased:
        assert world.say(message, "delivered")["state"] == "handed-over"
    world.status_says("the carrier says delivered, the parent does not have it")
    # The job takes back what is over every few seconds.
    world.child.wait_until(
        lambda: "the carrier says delivered" in world.child.verb("queue").stdout, 20, "in the queue"
    )
    world.carry_all(lambda message: world.say(message, "delivered", evidence=world.post(message)))
    assert "the carrier says delivered" not in world.child.verb("status").stdout
    print("a carrier that lies: status said so, and everything was offered again")


def a_carrier_that_doubles(world):
    """It posts everything twice, says so twice, and mixes the order."""
    world.write(5)

    def twice(message):
        first, second = world.post(message), world.post(message)
        assert words_of(second) == "already", second
        for evidence in (second, first):
            assert world.say(message, "delivered", evidence=evidence)["state"] == "done"

    messages = world.lease()
    world.chance.shuffle(messages)
    for message in messages:
        twice(message)
    world.carry_all(twice)
    print("a carrier that doubles and reorders: every second one was held already")


def a_carrier_that_is_late(world):
    """Its lease is over when it posts, somebody else has the message, and then it repeats."""
    world.write(5)
    early = world.lease(seconds=1)
    time.sleep(1.5)
    world.write(2)
    again = world.lease()
    assert {message["id"] for message in early} - {message["id"] for message in again} or all(
        message["attempt"] > 1 for message in again if message["id"] in {m["id"] for m in early}
    )
    for message in again:
        world.post(message)
    for message in early:
        for _ in range(3):
            assert words_of(world.post(message)) == "already"
        try:
            world.say(message, "delivered")
            raise AssertionError("an old lease was taken")
        except urllib.error.HTTPError as error:
            assert error.code == 409, error
    for message in again:
        world.say(message, "delivered")
    world.carry_all(lambda message: world.say(message, "delivered", evidence=world.post(message)))
    print("a carrier that is late and repeats: held already, and its old lease counts no more")


def a_carrier_that_speaks_gzip_only(world):
    world.write(3)

    def packed(message):
        text = gzip.compress(message["message"].encode())
        headers = {"Content-Encoding": "gzip", "Accept-Encoding": "gzip"}
        kind = "application/fhir+json"
        answer = call(message["target"], world.carry, text, kind, headers)
        world.say(message, "delivered", evidence=answer)

    world.carry_all(packed)
    print("a carrier that speaks gzip only: understood")


def the_parent_is_killed(world):
    """Again and again, as it takes messages; no answer is taken for one."""
    world.write(20)
    kills = 0
    deadline = time.monotonic() + 120
    while world.waiting():
        assert time.monotonic() < deadline, f"still waiting: {world.waiting()}"
        messages = world.lease(most=4)
        victim = world.chance.randrange(len(messages)) if messages and kills < 4 else -1
        for index, message in enumerate(messages):
            try:
                if index == victim:
                    # It has the message, and has not answered yet, or not worked it off.
                    killer = subprocess.Popen(["sh", "-c", f"sleep {world.chance.random() / 50}; "
                                               f"kill -9 {world.parent.process.pid}"])
                    answer = world.post(message)
                    killer.wait()
                else:
                    answer = world.post(message)
            except OSError as error:
                world.say(message, "failed", error=str(error), retry=True)
            else:
                world.say(message, "delivered", evidence=answer)
            if index == victim:
                world.parent.process.wait()
                world.parent.log.close()
                world.parent.start()
                kills += 1
        time.sleep(0.2)
    assert kills == 4, f"the parent was killed {kills} times only"
    print(f"the parent was killed {kills} times: nothing was lost")


if __name__ == "__main__":
    main()
