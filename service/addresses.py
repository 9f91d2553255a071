"""Addresses that hold a secret, and how they are shown."""

import re

# What follows a host's colon is a port when it is a number; else, up to the last @, a password, which
# people write with any character in it. Lengths are bounded, so that no text takes long.
_PASSWORD = re.compile(
    r"(\b[a-z][a-z0-9+.-]{0,20}://[^\s/?#:@\[]{0,200}):(?!\d{1,5}(?:[/?#\s]|$))\S{0,500}@", re.IGNORECASE
)
_PARAMETER = re.compile(r"([?&](?:password|passwd|pass|pwd|token)=)[^\s&#]+", re.IGNORECASE)


def masked(text: str) -> str:
    """A text with the passwords of all addresses in it hidden: scheme://user:***@host, ?pwd=***."""
    return _PARAMETER.sub(r"\1***", _PASSWORD.sub(r"\1:***@", text))
