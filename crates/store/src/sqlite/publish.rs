//! What a change brings about in its own transaction: feed entries, joins and leaves.
