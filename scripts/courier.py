#!/usr/bin/env python3
"""A clinic without a link and its centre, and a stick that is carried between them: messages up,
answers back, a first load down. The stick is copied, cut, altered, forged, brought twice, and the
files are opened by the `age` program where that is installed.

Everything has to arrive once, and what cannot be used has to be named with its reason.
"""

import json
import pathlib
import shutil
import subprocess

from tributary_site import Site, command, folder, observation, patient, secret_in

COHORT = "kisumu-east"
# The first frame of what is compressed with the dictionary (RFC 9842).
DCZ = bytes.fromhex("5e2a4d18")


def main():
    with folder() as path:
        world = World(pathlib.Path(path))
        try:
            nothing_without_the_parents_key(world)
            world.meet()
            messages_go_up(world)
            what_was_spoilt_is_named(world)
            what_a_stranger_wrote_is_refused(world)
            answers_come_back(world)
            a_first_load(world)
            world.check()
        finally:
            for site in (world.child, world.parent):
                site.stop()
    print("everything that was carried arrived once")


class World:
    """The two sites, and what was written at the child."""

    def __init__(self, path):
        self.path = path
        self.parent = Site(path, "centre")
        self.child = Site(path, COHORT)
        parent, child = self.parent, self.child
        parent.verb("cohort", "set", COHORT, "--all")
        code = secret_in(parent.verb("child", "add", COHORT, "--cohort", COHORT).stdout)
        parent.add_token()
        child.add_token()
        parent.start()
        child.verb("join", parent.url, "--code", code, "--up", "carried")

    def meet(self):
        """The one contact in which the two tell each other their keys. Then the link is gone."""
        self.child.verb("sync")
        self.parent.stop()
        self.child.start()

    def stick(self, name):
        path = self.path / name
        path.mkdir()
        return path

    def at(self, site, *arguments, **options):
        return site.verb("courier", *arguments, **options)

    def waiting(self):
        counts = json.loads(self.child.verb("status", "--json").stdout)["deliveries"]
        return {state: count for state, count in counts.items() if state != "done"}

    def put(self, site, resource):
        answer = site.request("PUT", f"/fhir/{resource['resourceType']}/{resource['id']}", resource)
        assert answer.status in (200, 201), answer

    def check(self):
        """With the link back, nothing is left to do and both hold the same."""
        self.child.stop()
        self.child.verb("sync")
        self.child.verb("verify")
        audit = self.parent.verb("audit", "search", "--action", "courier-refuse").stdout
        assert "cut short or was altered" in audit, audit
        assert "a stranger wrote it in the name of" in audit, audit


def nothing_without_the_parents_key(world):
    stick = world.stick("early")
    told = world.at(world.child, "export", stick, expect=1)
    assert "tributary sync" in told.stderr, told.stderr
    told = world.at(world.child, "export", world.path / "not-there", expect=1)
    assert "plugged in" in told.stderr, told.stderr


def messages_go_up(world):
    for number in range(30):
        world.put(world.child, patient(f"p{number}"))
        world.put(world.child, observation(f"o{number}", f"p{number}", 50 + number))
    world.first = world.stick("first")
    world.at(world.child, "export", world.first)
    files = sorted(world.first.iterdir())
    assert files and all(file.name.endswith(".messages.age") for file in files), files
    for file in files:
        assert b"Otieno" not in file.read_bytes()
    assert set(world.waiting()) == {"handed-over"}, world.waiting()
    by_another_program(world, files[0])
    # There is nothing left to write, and an edit of a patient who is on the way waits.
    world.put(world.child, patient("p3", version=2))
    second = world.stick("second")
    world.at(world.child, "export", second)
    assert not list(second.iterdir())


def by_another_program(world, file):
    """The parent's key opens it, the child's own does not."""
    if shutil.which("age") is None:
        print("SKIPPED: the program `age` is not installed")
        return
    opened = age(world.parent, file)
    assert opened.returncode == 0 and opened.stdout.startswith(DCZ), opened.stderr
    assert age(world.child, file).returncode != 0


def age(site, file):
    arguments = ["age", "--decrypt", "--identity", site.dir / "courier.key", file]
    return subprocess.run(arguments, capture_output=True, check=False)


def what_was_spoilt_is_named(world):
    spoilt = world.stick("spoilt")
    file = sorted(world.first.iterdir())[0]
    whole = file.read_bytes()
    stem = file.name.removesuffix(".messages.age")
    altered = bytearray(whole)
    altered[-20] ^= 1
    (spoilt / f"{stem}1.messages.age").write_bytes(altered)
    (spoilt / f"{stem}2.messages.age").write_bytes(whole[: len(whole) // 2])
    (spoilt / f"{stem}3.messages.age").write_bytes(b"a holiday picture")
    (spoilt / "notes.txt").write_text("the courier's own")
    told = world.at(world.parent, "import", spoilt, expect=1).stdout
    assert told.count("cut short or was altered") == 2, told
    assert told.count("not a courier's packet") == 1, told
    # A stick for somebody else.
    other = world.stick("other")
    told = world.at(world.child, "import", world.first, expect=1)
    assert "nothing on the stick" in told.stderr, told.stderr
    renamed = file.name.replace("_centre_", f"_{COHORT}_").replace(".messages.", ".feed.")
    (other / f"centre{renamed.removeprefix(COHORT)}").write_bytes(whole)
    told = world.at(world.child, "import", other, expect=1).stdout
    assert "encrypted for another site" in told, told


def what_a_stranger_wrote_is_refused(world):
    """Somebody has the child's name and the parent's key, and not the child's credential."""
    elsewhere = world.path / "elsewhere"
    world.child.stop()
    shutil.copytree(world.child.dir, elsewhere)
    world.child.start()
    (elsewhere / "parent.credential").write_text(world.child.token)
    file = world.path / "forged.json"
    file.write_text(json.dumps(patient("forged")))
    command("import", file, "--dir", elsewhere)
    forged = world.stick("forged")
    command("courier", "export", forged, "--dir", elsewhere)
    told = world.at(world.parent, "import", forged, expect=1).stdout
    assert told.count(f"a stranger wrote it in the name of {COHORT}") == 1, told


def answers_come_back(world):
    copy = world.path / "copy"
    shutil.copytree(world.first, copy)
    told = world.at(world.parent, "import", world.first).stdout
    assert told.startswith("30 messages taken, 0 were here already, 0 refused"), told
    told = world.at(world.parent, "import", copy).stdout
    assert told.startswith("0 messages taken, 30 were here already, 0 refused"), told
    # The child is still without a link.
    world.at(world.child, "receipts", world.first)
    assert not list(world.first.iterdir()), list(world.first.iterdir())
    assert world.waiting() == {"ready": 1}, world.waiting()
    world.at(world.child, "receipts", copy)
    told = world.at(world.child, "receipts", world.first, expect=1)
    assert "no answers on the stick" in told.stderr, told.stderr
    # Now the edit may go.
    third = world.stick("third")
    world.at(world.child, "export", third)
    told = world.at(world.parent, "import", third).stdout
    assert told.startswith("1 messages taken"), told
    world.at(world.child, "receipts", third)
    assert world.waiting() == {}, world.waiting()


def a_first_load(world):
    world.parent.start()
    world.child.stop()
    for number in range(200):
        world.put(world.parent, patient(f"c{number}", text={"status": "generated",
            "div": f"<div xmlns='http://www.w3.org/1999/xhtml'>{'x' * 30_000}{number}</div>"}))
    load = world.stick("load")
    world.at(world.parent, "export", load, "--child", COHORT)
    everybody = world.stick("everybody")
    told = world.at(world.parent, "export", everybody, "--cohort", COHORT).stdout
    assert "for 1 child" in told, told
    assert len(list(everybody.iterdir())) == len(list(load.iterdir()))
    world.parent.stop()
    world.child.start()
    files = sorted(load.iterdir())
    assert len(files) > 1, files
    # The second file first: it says what is missing.
    part = world.stick("part")
    shutil.copy(files[-1], part)
    told = world.at(world.child, "import", part, expect=1).stdout
    assert "what comes before it is missing" in told, told
    world.at(world.child, "import", load)
    for number in (0, 199):
        assert world.child.request("GET", f"/fhir/Patient/c{number}").status == 200
    told = world.at(world.child, "import", load).stdout
    assert told.startswith("0 lines applied from 0 files"), told
    world.parent.start()


if __name__ == "__main__":
    main()
