"""Why a running daemon does not let itself be asked: it alone knows how its extractor is."""

from pathlib import Path

from service.doctor.check import WARN, Check
from service.doctor.machine import Machine
from service.errors import ProblemError

_TOKENS = "tokens.json"
_UNAUTHORIZED, _FORBIDDEN = 401, 403
_BY_TOKEN = "or give the token `manage`: --token or CORAL_LEARN_TOKEN"


def check_asked(machine: Machine, url: str, refusal: ProblemError, folder: Path) -> Check:
    """A daemon that answers and did not examine itself. folder : its data folder, as far as is known here"""
    found, tokens = f"{url} answers, but does not examine itself ({refusal})", folder / _TOKENS
    meaning = "what it alone can know is left out: how its extractor is"
    remedy = "run the doctor once more; the daemon's log may say why"
    if refusal.status in (_UNAUTHORIZED, _FORBIDDEN):
        remedy = f"run the doctor as the daemon's user (the service's: sudo -u coral-learn), {_BY_TOKEN}"
        if not _is_there(machine.path(str(tokens))):
            meaning += f"; {folder} has no {_TOKENS}, so it is not this daemon's data folder"
            remedy = f"name its data folder: the --config of serve with a line data-dir, or --data-dir; {_BY_TOKEN}"
        elif machine.read(str(tokens)) is not None:
            remedy = f"the token that was sent does not fit: is {folder} this daemon's data folder? If it isn't, "
            remedy += f"name it by --config or --data-dir; {_BY_TOKEN}"
    return Check("daemon", WARN, found, meaning, remedy)


def _is_there(path: Path) -> bool:
    try:
        path.stat()
    except PermissionError:  # its folder is for the daemon's user alone
        return True
    except OSError:
        return False
    return True
