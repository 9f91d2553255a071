"""The CPU in the place of a lost Edge TPU (--on-device-loss cpu).

What was taught stays right only when both give the same embeddings. So a plain file stands in for the
compiled one where they are one extractor, that is where each has to agree with the same golden picture
before it answers (`coral_learn.manifest`). Other pairs are refused: every stored picture would have to be
embedded anew, by the slower device, and once more when the faster one is back.
"""

import time
from pathlib import Path
from typing import Any, Dict, NamedTuple

from coral_learn.catalog import bundled_model
from coral_learn.errors import ModelError
from coral_learn.manifest import Manifest
from coral_learn.runtime.tflite import is_compiled, read_model
from coral_learn.twins import compiled_name, compiled_twin, plain_name, plain_twin
from service.errors import NoStandIn

FALL_BACK_AFTER = 2  # starts on the Edge TPU that failed, one after the other


class Twins(NamedTuple):
    """The two files of one extractor."""

    plain: Path
    compiled: Path


def twins_of(model: str) -> Twins:
    """Both files of the extractor that one of them, or "" for the bundled one, belongs to. Raises `NoStandIn`."""
    try:
        path = Path(model) if model else bundled_model()
        compiled, plain = (path, plain_twin(path)) if is_compiled(read_model(path)) else (compiled_twin(path), path)
        if compiled is None:
            raise NoStandIn(f"no compiled file {compiled_name(path)} lies beside the model")
        if plain is None:
            raise NoStandIn(f"the plain file {plain_name(path)}, which a CPU could run, does not lie beside the model")
        if Manifest.of(compiled).digest != Manifest.of(plain).digest:
            raise NoStandIn(
                f"{compiled.name} and {plain.name} are two extractors, because no golden picture in their manifest "
                "shows that they give the same embeddings; everything taught would have to be embedded anew"
            )
    except ModelError as error:
        raise NoStandIn(str(error)) from error
    return Twins(plain, compiled)


class StandIn(NamedTuple):
    """The CPU stands in since a time, in seconds since 1970. arguments : of its process; why : the device was lost"""

    arguments: Dict[str, Any]
    since: float
    why: str

    @property
    def reason(self) -> str:
        """In words."""
        return f"the CPU stands in for the Edge TPU since {moment(self.since)}: {self.why}"


def moment(seconds: float) -> str:
    """A time for people, in UTC. seconds : since 1970"""
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(seconds))
