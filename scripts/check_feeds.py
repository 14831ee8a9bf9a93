#!/usr/bin/env python3
"""Reads a site's Atom feed as strangers do: with feedparser, page by page.

From `recent` back to page 1 by `prev-archive`, and forward again by `next-archive`: every
entry exactly once, oldest first, with the caching that makes it cheap.
"""

import sys
import xml.etree.ElementTree as ElementTree

import feedparser

from tributary_site import FHIR_JSON, Site, folder, patient, observation

FEED = "everyone"
PATIENTS = 330  # each is a change of its own: three full pages and a bit
ATOM = "{http://www.w3.org/2005/Atom}"
CHANGE = "{urn:tributary:feed:1}change"


def main():
    with folder() as path:
        site = Site(path, "centre")
        site.verb("cohort", "set", FEED, "--all")
        site.add_token()
        site.start()
        try:
            fill(site)
            back = walk_back(site)
            forward = walk_forward(site, back[0])
            check_order(back, forward)
            check_caching(site, back)
            check_growth(site, back)
            check_bundle(site, back[0])
            check_refusals(site, len(back))
        finally:
            site.stop()
    print(f"{sum(len(page['entries']) for page in back)} entries on {len(back)} pages: all there")


def fill(site):
    """Writes patients, and edits some of them, so that versions come again."""
    for number in range(PATIENTS):
        answer = site.request("PUT", f"/fhir/Patient/p{number}", patient(f"p{number}"))
        assert answer.status == 201, answer
    for number in range(20):
        weight = observation(f"o{number}", f"p{number}", 60 + number)
        answer = site.request("PUT", f"/fhir/Observation/o{number}", weight)
        assert answer.status == 201, answer


def page_at(site, url):
    """Fetches a page and reads it twice: as feedparser does, and as bare XML."""
    answer = site.request("GET", url)
    assert answer.status == 200, f"{url}: {answer}"
    assert "application/atom+xml" in answer.headers["Content-Type"], answer.headers
    parsed = feedparser.parse(answer.body, response_headers={"content-type": "application/atom+xml"})
    assert not parsed.bozo, f"{url}: feedparser says {parsed.bozo_exception}"
    assert parsed.version == "atom10", parsed.version
    links = {link.rel: link.href for link in parsed.feed.links}
    for relation, href in links.items():
        assert href.startswith(site.url), f"{relation} of {url} leads to {href}"
    check_entries(parsed, url)
    positions = [
        int(change.get("position"))
        for entry in ElementTree.fromstring(answer.body).iter(ATOM + "entry")
        for change in entry.iter(CHANGE)
    ]
    entries = [entry.id for entry in parsed.entries]
    assert len(positions) == len(entries), f"{url}: entries without a position"
    return {
        "asked": url,
        "url": links["via"],
        "links": links,
        "entries": entries,
        "positions": positions,
        "etag": answer.headers["ETag"],
        "cache": answer.headers["Cache-Control"],
        "body": answer.body,
    }


def check_entries(parsed, url):
    """What both kinds of clients need of an entry, and what nobody may find in one."""
    for entry in parsed.entries:
        assert entry.updated_parsed and entry.title and entry.author, f"{url}: {entry}"
        assert len(entry.id) <= 255 and len(entry.title) <= 255, f"{url}: {entry.id}"
        assert not any("," in tag.term for tag in entry.tags), f"{url}: {entry.tags}"
        assert "Otieno" not in str(entry), f"{url}: a name in {entry.id}"


def walk_back(site):
    """From `recent` to page 1; gives the pages oldest first."""
    pages = [page_at(site, f"/feeds/{FEED}/recent")]
    while "prev-archive" in pages[0]["links"]:
        pages.insert(0, page_at(site, pages[0]["links"]["prev-archive"]))
        assert len(pages) < 100, "prev-archive never ends"
    assert pages[0]["url"] == f"{site.url}/feeds/{FEED}/1", pages[0]["url"]
    return pages


def walk_forward(site, first):
    """From page 1 to the newest."""
    pages = [page_at(site, first["url"])]
    while "next-archive" in pages[-1]["links"]:
        pages.append(page_at(site, pages[-1]["links"]["next-archive"]))
        assert len(pages) < 100, "next-archive never ends"
    return pages


def check_order(back, forward):
    """The same entries both ways, each once, in the order of their positions."""
    there = [entry for page in back for entry in page["entries"]]
    again = [entry for page in forward for entry in page["entries"]]
    # A page that may still grow is not archived, so `next-archive` need not lead to it.
    if len(forward) == len(back) - 1:
        again += back[-1]["entries"]
    assert there == again, "the way forward shows other entries than the way back"
    assert len(set(there)) == len(there), "an entry comes twice"
    assert len(there) >= PATIENTS + 20, f"only {len(there)} entries"
    positions = [position for page in back for position in page["positions"]]
    assert positions == list(range(1, len(positions) + 1)), "positions have gaps or disorder"
    sizes = {len(page["entries"]) for page in back[:-1]}
    assert sizes == {100}, f"full pages have {sizes} entries"


def check_caching(site, pages):
    """Strong ETags that are honoured; full pages that never need to be asked for again."""
    for page in pages:
        assert page["etag"].startswith('"'), f"weak or missing ETag {page['etag']}"
        again = site.request("GET", page["asked"], headers={"If-None-Match": page["etag"]})
        assert again.status == 304 and again.body == b"", f"{page['asked']}: {again}"
        assert again.headers["ETag"] == page["etag"]
    for page in pages[:-1]:
        assert "immutable" in page["cache"] and "private" in page["cache"], page["cache"]
    assert "immutable" not in pages[-1]["cache"], "a page that grows must not be kept"
    recent = site.request("GET", f"/feeds/{FEED}/recent")
    assert "no-cache" in recent.headers["Cache-Control"], recent.headers["Cache-Control"]
    other = site.request("GET", f"/feeds/{FEED}/recent", headers={"If-None-Match": '"other"'})
    assert other.status == 200, other


def check_growth(site, pages):
    """One more change moves `recent` and leaves archived pages as they were, byte for byte."""
    before = site.request("GET", f"/feeds/{FEED}/recent").headers["ETag"]
    answer = site.request("PUT", "/fhir/Patient/p0", patient("p0", version=1))
    assert answer.status == 200, answer
    after = site.request("GET", f"/feeds/{FEED}/recent", headers={"If-None-Match": before})
    assert after.status == 200 and after.headers["ETag"] != before, after
    for page in pages[:-1]:
        assert site.request("GET", page["url"]).body == page["body"], f"{page['url']} changed"


def check_bundle(site, page):
    """The same page as FHIR: one request for a page with its resources."""
    answer = site.request("GET", page["url"], headers={"Accept": FHIR_JSON})
    assert answer.status == 200 and FHIR_JSON in answer.headers["Content-Type"], answer
    bundle = answer.json()
    assert bundle["resourceType"] == "Bundle" and bundle["type"] == "history", bundle["type"]
    assert any("resource" in entry for entry in bundle["entry"]), "a page without resources"


def check_refusals(site, pages):
    """A page that is not there yet, a feed that is not there, a caller without a credential."""
    for path in [f"/feeds/{FEED}/{pages + 1}", f"/feeds/{FEED}/0", "/feeds/no-such-feed/recent"]:
        answer = site.request("GET", path)
        assert answer.status == 404, f"{path}: {answer}"
        assert "application/problem+json" in answer.headers["Content-Type"], answer.headers
    nobody = site.request("GET", f"/feeds/{FEED}/recent", headers={"Authorization": "Bearer x"})
    assert nobody.status == 401, nobody


if __name__ == "__main__":
    sys.exit(main())
