"""Addresses that hold a secret, and how they are shown."""

import re

# What follows a host's colon is a port when it is a number; else, up to the last @, a password, which
# people write with any character in it. Lengths are bounded, so that no text takes long.
_PASSWORD = re.compile(
    r"(\b[a-z][a-z0-9+.-]{0,20}://[^\s/?#:@\[]{0,200}):(?!\d{1,5}(?:[/?#\s]|$))\S{0,500}@", re.IGNORECASE
)
# Cameras call what lets in as they like: apikey, user_pwd, authToken, secret. One name too many does no harm.
_SECRET = r"(?:pass|pwd|token|secret|auth|credential|signature|(?:key|sig)(?==))"
_PARAMETER = re.compile(rf"([?&;#][^\s?&;#=]{{0,50}}?{_SECRET}[^\s?&;#=]{{0,50}}=)[^\s&#]+", re.IGNORECASE)


def masked(text: str) -> str:
    """A text with passwords and other secrets of all addresses in it hidden: scheme://user:***@host, ?apikey=***."""
    return _PARAMETER.sub(r"\1***", _PASSWORD.sub(r"\1:***@", text))
