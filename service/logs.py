"""What the log looks like: lines for people on a terminal, JSON for programs.

Under systemd each line begins with its priority (sd-daemon(3)), so that `journalctl -p warning` works.
"""

import json
import logging
import os
from datetime import datetime, timezone
from typing import Any, Dict, Mapping, Optional, TextIO

from flask import g, has_request_context

from service.addresses import masked

AUTO, TEXT = "auto", "text"  # the setting; the third is "json"
_TEXT = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"
# syslog(3): the more urgent, the lower.
_PRIORITIES = ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6))
_DEBUG_PRIORITY = 7
# A request's path may hold any character: it must not look like further lines, or steer a terminal.
_ESCAPES = {number: f"\\x{number:02x}" for number in (*range(0x20), *range(0x7F, 0xA0), 0x2028, 0x2029)}


class TextFormatter(logging.Formatter):
    """A line for people; an exception follows on lines of its own. Passwords in addresses are hidden."""

    def __init__(self):
        super().__init__(_TEXT)

    def formatMessage(self, record: logging.LogRecord) -> str:
        """The line, with the request's id at its end while one is answered."""
        line, answered = super().formatMessage(record).translate(_ESCAPES), request_id()
        return f"{line} [{answered}]" if answered else line

    def format(self, record: logging.LogRecord) -> str:
        """All of it."""
        return masked(super().format(record))


class JsonFormatter(logging.Formatter):
    """A line of JSON: time (ISO 8601, UTC), level, logger, message; request_id, exception and others where they apply.

    Others are what the call gave as `extra={"fields": {...}}`. Passwords in addresses are hidden.
    """

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        moment = datetime.fromtimestamp(record.created, timezone.utc)
        fields: Dict[str, Any] = {
            "time": moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": masked(record.getMessage()),
            "request_id": request_id(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            fields["exception"] = masked(self.formatException(record.exc_info))
        return json.dumps({name: value for name, value in fields.items() if value is not None}, default=str)


class JournalFormatter(logging.Formatter):
    """Another formatter's lines, each with its priority in front, `<N>`."""

    def __init__(self, lines: logging.Formatter):
        super().__init__()
        self._lines = lines

    def format(self, record: logging.LogRecord) -> str:
        """All of it."""
        urgency = next((number for level, number in _PRIORITIES if record.levelno >= level), _DEBUG_PRIORITY)
        return "\n".join(f"<{urgency}>{line}" for line in self._lines.format(record).split("\n"))


def request_id() -> Optional[str]:
    """The id of the request that is being answered here, or None."""
    return g.get("request_id") if has_request_context() else None


def formatter(log_format: str, stream: TextIO, environ: Mapping[str, str]) -> logging.Formatter:
    """The formatter for a stream. log_format : the setting; `auto` is text on a terminal, JSON elsewhere."""
    as_text = stream.isatty() if log_format == AUTO else log_format == TEXT
    lines = TextFormatter() if as_text else JsonFormatter()
    return JournalFormatter(lines) if _is_journal(stream, environ) else lines


def set_up(log_format: str, level: str, stream: TextIO, environ: Mapping[str, str]) -> None:
    """Have everything this process logs go to a stream. level : debug, info, warning or error."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(formatter(log_format, stream, environ))
    logging.basicConfig(level=level.upper(), handlers=[handler])
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)


def _is_journal(stream: TextIO, environ: Mapping[str, str]) -> bool:
    """Whether this very stream goes to the journal: the variable is inherited by what doesn't (systemd.exec(5))."""
    try:
        found = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return environ.get("JOURNAL_STREAM") == f"{found.st_dev}:{found.st_ino}"
