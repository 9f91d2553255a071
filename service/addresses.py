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


_PLACE = re.compile(r"[a-z][a-z0-9+.-]{0,20}://[^/?#\s]*", re.IGNORECASE)
_HIDDEN = re.compile(r":\*\*\*@|=\*\*\*(?=[&#\s]|$)")


def masked(text: str) -> str:
    """A text with passwords and other secrets of all addresses in it hidden: scheme://user:***@host, ?apikey=***."""
    return _PARAMETER.sub(r"\1***", _PASSWORD.sub(r"\1:***@", text))


def unmasked(text: str, before: str) -> str:
    """An address whose secrets are hidden as `masked` does it, with those of the address before put back.

    They go to the same scheme, user, host and port only. Raises `ValueError` where one stays hidden.
    """
    if _place(masked(text)) == _place(masked(before)):
        password = _PASSWORD.search(before)
        if password:
            text = text.replace(":***@", before[password.end(1) : password.end()], 1)
        for name in _PARAMETER.finditer(before):
            hidden = re.compile(r"(?<=[?&;#])" + re.escape(name.group(1)[1:]) + r"\*\*\*(?=[&#\s]|$)")
            text = hidden.sub(lambda _, name=name: name.group(0)[1:], text, count=1)
    if _HIDDEN.search(text):
        raise ValueError("what *** stands for is kept only with the same scheme, user, host and port: write it out")
    return text


def _place(text: str) -> str:
    found = _PLACE.search(text)
    return found.group(0).lower() if found else ""
