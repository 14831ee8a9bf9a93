#!/usr/bin/env python3
"""Carries a Tributary site's messages to its parent. Needs nothing but Python's own library.

Settings by environment: SITE_URL and OUTBOX_TOKEN of the child, CARRY_TOKEN of the parent.
Runs for ever; with --once until there is nothing left.
"""
import json
import os
import sys
import time
import urllib.error
import urllib.request

SITE, OUTBOX, CARRY = (os.environ[name] for name in ("SITE_URL", "OUTBOX_TOKEN", "CARRY_TOKEN"))


def post(url, token, text, kind="application/json"):
    headers = {"Authorization": f"Bearer {token}", "Content-Type": kind}
    request = urllib.request.Request(url, text.encode(), headers, method="POST")
    with urllib.request.urlopen(request, timeout=60) as answer:
        return answer.read().decode()


def say(message, word, **more):
    said = json.dumps({"lease": message["lease"], **more})
    post(f"{SITE}/outbox/{message['id']}/{word}", OUTBOX, said)


def carry(message):
    try:  # The message is posted as it came: to parse and write it anew could alter numbers.
        answer = post(message["target"], CARRY, message["message"], "application/fhir+json")
    except urllib.error.HTTPError as error:
        retry = error.code >= 500 or error.code in (401, 403, 404, 408, 429)
        return say(message, "failed", error=f"the parent answered {error.code}", retry=retry)
    except OSError as error:
        return say(message, "failed", error=f"the parent is out of reach: {error}", retry=True)
    return say(message, "delivered", evidence=answer)


def main():
    while True:
        try:
            ask = json.dumps({"max": 50, "for_seconds": 120, "as": "fhir-message-text"})
            messages = json.loads(post(f"{SITE}/outbox/lease", OUTBOX, ask))["messages"]
            for message in messages:
                carry(message)
        except OSError as error:  # What is leased comes back by itself.
            print(f"the site is out of reach: {error}", file=sys.stderr)
            messages = []
        if not messages:
            if "--once" in sys.argv:
                return
            time.sleep(10)


if __name__ == "__main__":
    main()
