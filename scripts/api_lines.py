"""How schemathesis writes a body of lines: told to it by `check_api.py` as its module of hooks."""

import json

import schemathesis


@schemathesis.serializer("application/x-ndjson")
def lines(context, value):
    """A line a member, as `/sync/changes` takes them; what is no list is one line."""
    values = value if isinstance(value, list) else [value]
    return "".join(json.dumps(each) + "\n" for each in values).encode()
