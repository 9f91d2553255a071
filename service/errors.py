"""Errors of the service, in one tree. Each has a stable `code` for programs.

ServiceError
|-- SettingsError (ValueError)        a flag, variable or configuration line is wrong
|-- DataFolderInUse (RuntimeError)    another daemon works on this data folder
|-- ChildError (RuntimeError)         a child process can't be started or talked to
|-- NoStandIn (RuntimeError)          the CPU can't stand in for a lost Edge TPU
|-- StoreError (RuntimeError)         the store failed below us (full disk, damaged file)
|   `-- StoreFull
|-- Refused (ValueError)              the request can't be carried out as it stands
|   |-- NotFound (LookupError)
|   |-- Conflict
|   |-- Invalid
|   |   `-- SettingsInvalid
|   |-- UnsupportedBody
|   `-- ArchiveUnusable
|-- Unavailable (RuntimeError)        try again later
|   |-- ExtractorUnavailable
|   |-- ExtractorBusy
|   |-- ExtractorFailed
|   |-- TooManyStreams
|   `-- TooManyFailures
|-- CameraError (RuntimeError)        a source can't be opened or stopped delivering
|-- FetchFailed (RuntimeError)        a published model can't be downloaded
|   |-- Unfetchable                     nothing answers, or it stops answering
|   `-- WrongContent (ValueError)       what came is another file than the published one
|-- CompileFailed (RuntimeError)      edgetpu_compiler is missing or failed
|-- InstallError (RuntimeError)       the service can't be installed, rolled back or removed
|-- ClientError                       a request of ours to a daemon failed
|   |-- ProblemError (RuntimeError)     the daemon refused it, and says why
|   |-- Unreachable (ConnectionError)   no daemon answers there
|   |   `-- ConnectionLost              one did, and went away
|   |-- UnexpectedAnswer (ValueError)   what answers there is no daemon of ours
|   |-- ArchiveIncomplete (RuntimeError) an archive was written, without all pictures
|   `-- AddressError (ValueError)       no address a daemon can have
`-- PortUnusable (OSError)            the address can't be listened on
"""

from typing import Any, Dict, List, Optional

_HOW_TO_GET_ROOM = (
    "To get room delete examples or classes with ?forever=true (without it their pictures stay until the next change, "
    "for undoing), or remove something else from that disk"
)


class ServiceError(Exception):
    """Base of all errors of this package."""

    code = "internal"


class SettingsError(ServiceError, ValueError):
    """A flag, an environment variable or a line of the configuration file is wrong."""

    code = "settings"


class DataFolderInUse(ServiceError, RuntimeError):
    """Another daemon works on this data folder."""

    code = "data_folder_in_use"


class ChildError(ServiceError, RuntimeError):
    """A child process can't be started or talked to."""

    code = "child"


class NoStandIn(ServiceError, RuntimeError):
    """The CPU can't stand in for a lost Edge TPU."""

    code = "no_stand_in"


class StoreError(ServiceError, RuntimeError):
    """The store failed below us; nothing was changed."""

    code = "store_failed"


class StoreFull(StoreError):
    """No space left on the device; nothing was changed. The text ends with how to get room."""

    code = "store_full"

    def __init__(self, detail: str):
        super().__init__(f"{detail}. {_HOW_TO_GET_ROOM}")


class Refused(ServiceError, ValueError):
    """The request can't be carried out as it stands. `code` says why."""

    code = "refused"

    def __init__(self, detail: str, code: str = ""):
        super().__init__(detail)
        self.code = code or self.code


class NotFound(Refused, LookupError):
    """There is no such class, example, job or model version."""

    code = "not_found"


class Conflict(Refused):
    """It is already there, or in use."""

    code = "conflict"


class Invalid(Refused):
    """A value outside what is allowed. `field` names it."""

    code = "invalid"

    def __init__(self, detail: str, field: str = "", code: str = ""):
        super().__init__(detail, code)
        self.field = field


class SettingsInvalid(Invalid):
    """Settings can't have these values. errors : {"field", "detail"} for each."""

    code = "settings_invalid"

    def __init__(self, errors: List[Dict[str, Any]]):
        super().__init__("; ".join(one["detail"] for one in errors))
        self.errors = errors


class UnsupportedBody(Refused):
    """The body is of a type that isn't taken here."""

    code = "unsupported_media_type"


class ArchiveUnusable(Refused):
    """An archive is damaged, of a kind that isn't known, or holds more than is allowed."""

    code = "archive_damaged"


class Unavailable(ServiceError, RuntimeError):
    """Not now. `retry_after` is in seconds."""

    code = "unavailable"

    def __init__(self, detail: str, retry_after: int = 1):
        super().__init__(detail)
        self.retry_after = retry_after


class ExtractorUnavailable(Unavailable):
    """The extractor's process is starting, lost or broken."""

    code = "extractor_unavailable"


class ExtractorBusy(Unavailable):
    """More requests wait for the extractor than are allowed to."""

    code = "extractor_busy"


class ExtractorFailed(Unavailable):
    """The extractor failed on this very picture, more than once."""

    code = "extractor_failed"


class TooManyStreams(Unavailable):
    """All places for streams are taken."""

    code = "too_many_streams"


class TooManyFailures(Unavailable):
    """Too many wrong tokens came from one address."""

    code = "too_many_failures"


class CameraError(ServiceError, RuntimeError):
    """A camera source can't be opened or stopped delivering."""

    code = "camera"


class FetchFailed(ServiceError, RuntimeError):
    """A published model can't be downloaded."""

    code = "fetch_failed"


class Unfetchable(FetchFailed):
    """Nothing answers where the model is, or it stopped answering before the file was whole."""

    code = "unfetchable"


class WrongContent(FetchFailed, ValueError):
    """What came is another file than the published one."""

    code = "wrong_content"


class CompileFailed(ServiceError, RuntimeError):
    """edgetpu_compiler is missing, or failed on the model."""

    code = "compile_failed"


class PortUnusable(ServiceError, OSError):
    """The address can't be listened on."""

    code = "port_unusable"


class ClientError(ServiceError):
    """A request to a daemon failed."""

    code = "client"


class ProblemError(ClientError, RuntimeError):
    """The daemon refused a request.

    status : of HTTP; code : a stable word for programs; detail : what was wrong; retry_after : seconds, or None;
    problem : the whole problem document
    """

    def __init__(self, status: int, problem: Dict[str, Any], retry_after: Optional[float] = None):
        self.status, self.problem, self.retry_after = status, problem, retry_after
        self.code = str(problem.get("code", "http_error"))
        self.detail = str(problem.get("detail") or problem.get("title") or f"status {status}")
        super().__init__(self.detail)


class Unreachable(ClientError, ConnectionError):
    """No daemon answers at the address: refused, timed out, or the name isn't known."""

    code = "unreachable"


class ConnectionLost(Unreachable):
    """The daemon was there and went away before the answer was whole."""

    code = "connection_lost"


class UnexpectedAnswer(ClientError, ValueError):
    """Something answers at the address, but not as this API does."""

    code = "unexpected_answer"


class ArchiveIncomplete(ClientError, RuntimeError):
    """An archive was written whole, but the daemon had lost pictures. bytes : its size; missing : how many"""

    code = "archive_incomplete"

    def __init__(self, detail: str, size: int, missing: int):
        super().__init__(detail)
        self.bytes, self.missing = size, missing


class AddressError(ClientError, ValueError):
    """The address, the token or the certificate file can't be used."""

    code = "address"


class InstallError(ServiceError, RuntimeError):
    """The service can't be installed, upgraded, rolled back or removed."""

    code = "install"
