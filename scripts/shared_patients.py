"""Patients whom two sites edit at the same time, and what has to have become of each edit.

An edit is made on what the site holds (If-Match), so that each knows what it replaces. Every
value is written once only: so it can be told afterwards whose it is.
"""

import datetime
import json
import random
import re
import threading
import time

from tributary_site import patient

PATIENTS = 6
# By path, as conflicts name them.
ELEMENTS = ["birthDate", "maritalStatus.text", "name[official].family", "address[home].city"]
META = re.compile(r'"versionId":"[^"]*","lastUpdated":"[^"]*"')


def reference(number):
    return f"Patient/shared-{number}"


def first_state(number):
    """A patient with something in each of the elements."""
    return {
        **patient(f"shared-{number}"),
        "name": [{"use": "official", "family": "first", "given": ["Check"]}],
        "birthDate": "1900-01-01",
        "maritalStatus": {"text": "first"},
        "address": [{"use": "home", "city": "first"}],
    }


def value_of(resource, path):
    """What the element says."""
    return {
        "birthDate": lambda: resource["birthDate"],
        "maritalStatus.text": lambda: resource["maritalStatus"]["text"],
        "name[official].family": lambda: resource["name"][0]["family"],
        "address[home].city": lambda: resource["address"][0]["city"],
    }[path]()


def set_value(resource, path, value):
    if path == "birthDate":
        resource["birthDate"] = value
    elif path == "maritalStatus.text":
        resource["maritalStatus"]["text"] = value
    elif path == "name[official].family":
        resource["name"][0]["family"] = value
    else:
        resource["address"][0]["city"] = value


class Edit:
    """One edit: of an element, or (`path` None) a telephone number that was added."""

    def __init__(self, record, path, before, value):
        self.record, self.path, self.before, self.value = record, path, before, value

    def __repr__(self):
        return f"{self.record} {self.path or 'telecom'}: {self.before} -> {self.value}"


class Editor(threading.Thread):
    """Somebody at a site who edits the shared patients. `kind` (0 or 1) keeps values apart."""

    def __init__(self, site, kind, seed):
        super().__init__(daemon=True)
        self.site, self.kind = site, kind
        self.chance = random.Random(seed)
        self.acknowledged, self.tried = [], []
        self.fault = None
        self.ended = threading.Event()
        self.number = 0

    def run(self):
        try:
            while not self.ended.is_set():
                self.edit()
                time.sleep(self.chance.uniform(0.05, 0.4))
        except AssertionError as fault:
            self.fault = fault

    def fresh(self, path):
        """A value that nobody has written before."""
        self.number += 1
        count = 2 * self.number + self.kind
        if path == "birthDate":
            return str(datetime.date(1900, 1, 1) + datetime.timedelta(days=count))
        return f"{self.site.name}-{self.number}"

    def edit(self):
        record = reference(self.chance.randrange(PATIENTS))
        path = self.chance.choice([*ELEMENTS, None])
        try:
            answer = self.site.request("GET", f"/fhir/{record}", timeout=10)
        except OSError:
            return
        if answer.status != 200:
            return
        resource = answer.json()
        version = resource.pop("meta")["versionId"]
        value = self.fresh(path)
        if path is None:
            edit = Edit(record, None, None, value)
            resource.setdefault("telecom", []).append({"system": "phone", "value": value})
        else:
            edit = Edit(record, path, value_of(resource, path), value)
            set_value(resource, path, value)
        self.tried.append(edit)
        match = {"If-Match": f'W/"{version}"'}
        try:
            answer = self.site.request("PUT", f"/fhir/{record}", resource, match, timeout=10)
        except OSError:
            return
        # Somebody else, or the other site, was faster; or not now.
        assert answer.status in (200, 409, 412, 429, 503), f"{self.site.name} {record}: {answer}"
        if answer.status == 200:
            self.acknowledged.append(edit)


def text_at(site, record):
    """The record's bytes, without what each site says of its own."""
    answer = site.request("GET", f"/fhir/{record}")
    assert answer.status == 200, f"{site.name} {record}: {answer}"
    return META.sub("", answer.body.decode())


def history(site, record):
    """All states that the site holds of a record, the newest first."""
    states, url = [], f"/fhir/{record}/_history?_count=500"
    while url:
        bundle = site.request("GET", url).json()
        states += [entry["resource"] for entry in bundle["entry"] if "resource" in entry]
        url = next((each["url"] for each in bundle["link"] if each["relation"] == "next"), None)
    return states


def conflicts_of(sites):
    """Of each conflict: the record, the path, and what the two sides said. Every site has to list
    the same conflicts, and hold the same bytes of each."""
    listed = [listed_at(site) for site in sites]
    for site, here in zip(sites, listed):
        assert here == listed[0], f"{site.name} and {sites[0].name} differ:\n{here}\n{listed[0]}"
    found = []
    for name, (record, paths) in listed[0].items():
        texts = {text_at(site, f"Basic/{name}") for site in sites}
        assert len(texts) == 1, f"{name} is not the same at both sites: {texts}"
        sides = sides_of(json.loads(texts.pop()))
        found += [(record, path, sides) for path in paths]
    return found


def listed_at(site):
    """The conflicts that the site lists, by id: the record, and the contested paths."""
    told = json.loads(site.verb("conflict", "list", "--all", "--json", "--limit", "100000").stdout)
    found = {}
    for each in told["conflicts"]:
        record, paths = each["record"], [element["path"] for element in each["elements"]]
        shared = record in map(reference, range(PATIENTS))
        assert shared, f"a conflict of {record}, which one side alone edits"
        found[each["id"]] = (record, paths)
    return found


def sides_of(basic):
    """What the parent and what the child had, by the record of a conflict."""
    bodies = {}
    for each in basic["extension"]:
        parts = {part["url"]: part for part in each.get("extension", [])}
        if "body" in parts:
            bodies[each["url"].rsplit(":", 1)[-1]] = json.loads(parts["body"]["valueString"])
    return [bodies[side] for side in ("parent", "child")]


def check_edits(parent, child, editors):
    """No edit has gone without a trace: each is told of, one way or another."""
    final, held = {}, {}
    for record in map(reference, range(PATIENTS)):
        texts = [text_at(site, record) for site in (parent, child)]
        assert texts[0] == texts[1], f"{record} differs:\n{texts[0]}\n{texts[1]}"
        final[record] = json.loads(texts[0])
        held[record] = {site.name: history(site, record) for site in (parent, child)}
    conflicts = conflicts_of([parent, child])
    tried = [edit for editor in editors for edit in editor.tried]
    acknowledged = 0
    for editor in editors:
        for edit in editor.acknowledged:
            acknowledged += 1
            states = held[edit.record][editor.site.name]
            assert any(says(state, edit) for state in states), f"lost from the history: {edit}"
            everywhere = [state for each in held[edit.record].values() for state in each]
            known = any(
                later.path == edit.path
                and (later.record, later.before) == (edit.record, edit.value)
                and any(says(state, later) for state in everywhere)
                for later in tried
            )
            stands = says(final[edit.record], edit)
            told = edit.path is not None and any(
                record == edit.record
                and edit.path.startswith(path)
                and any(says(side, edit) for side in sides)
                for record, path, sides in conflicts
            )
            assert stands or (known and edit.path) or told, f"gone without a word: {edit}"
    assert acknowledged > 0, "nobody edited a shared patient"
    print(f"{acknowledged} edits of {PATIENTS} shared patients: all stand, were replaced by those "
          f"who knew them, or are in one of {len(conflicts)} conflicts")


def says(state, edit):
    if edit.path is None:
        return any(each.get("value") == edit.value for each in state.get("telecom", []))
    return value_of(state, edit.path) == edit.value
