"""The live model as it was at some moment, in a file, so that a start need not read every embedding."""

import io
import json
import logging
import platform
from pathlib import Path
from typing import Dict, NamedTuple, Optional

import numpy as np

from coral_learn.errors import HeadStateError
from coral_learn.heads import IncrementalHead
from coral_learn.heads.base import load_head
from service.errors import StoreError
from service.store.files import publish_file
from service.store.models import DAMAGED

log = logging.getLogger(__name__)

_FILE = "live.npz"
_FORMAT = 1
# Building from so few is fast enough; with more a file is written for each twentieth of growth, to spare the card.
_WORTH_IT = 1000
_GROWTH = 20


class Saved(NamedTuple):
    """A head and what it was taught then: the class of each example by its id."""

    head: IncrementalHead
    taught: Dict[str, int]


class Checkpoint:
    """One file in the data folder. It is only ever a short cut: what doesn't fit is not used."""

    def __init__(self, folder: Path):
        self._path = folder / _FILE

    def worth_it(self, examples: int, lessons: int) -> bool:
        """Whether to save, with so many examples and so many lessons since the last time."""
        return examples >= _WORTH_IT and lessons * _GROWTH >= examples

    def save(self, key: Dict[str, str], saved: Saved) -> None:
        """Write a head with its examples. key : what must be the same for it to be of use. Raises `StoreError`."""
        state = {f"head_{name}": array for name, array in saved.head.state().items()}
        state["key"] = np.array(_text(key))
        state["examples"] = np.array(list(saved.taught), "S32")
        state["class_ids"] = np.array(list(saved.taught.values()), np.int64)
        packed = io.BytesIO()
        np.savez(packed, **state)
        publish_file(self._path, packed.getvalue())

    def load(self, key: Dict[str, str]) -> Optional[Saved]:
        """What was saved with this key, or None."""
        try:
            with np.load(io.BytesIO(self._path.read_bytes()), allow_pickle=False) as arrays:
                if str(arrays["key"]) != _text(key):
                    return None
                state = {name[5:]: arrays[name] for name in arrays.files if name.startswith("head_")}
                examples = [name.decode("ascii") for name in arrays["examples"].tolist()]
                taught = dict(zip(examples, arrays["class_ids"].tolist()))
                return Saved(load_head(state), taught)
        except FileNotFoundError:
            return None
        except (*DAMAGED, HeadStateError) as error:
            log.warning("the saved live model can't be read and is built anew: %s", error)
            return None

    def remove(self) -> None:
        """Forget what was saved. Raises `StoreError`."""
        try:
            self._path.unlink()
        except FileNotFoundError:
            pass
        except OSError as error:
            raise StoreError(f"{self._path} can't be removed: {error.strerror}") from error


def _text(key: Dict[str, str]) -> str:
    # Other versions of numpy and other processors round otherwise; sums of theirs are not exact here.
    whole = dict(key, format=str(_FORMAT), numpy=np.__version__, machine=platform.machine())
    return json.dumps(whole, sort_keys=True)
