"""The HTTP API: one subject a file, everything it needs passed in."""

from service.http.app import create_app

__all__ = ["create_app"]
