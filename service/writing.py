"""Models as .tflite files: the extractor with a head behind it, written by a process of its own.

The daemon itself loads no TFLite library; the process does, and tries what it wrote.
"""

import logging
import threading
from pathlib import Path
from typing import Any, Callable, Dict, List

from coral_learn.errors import CoralLearnError, OptionError
from coral_learn.export import describe, layer_of, write_layer
from coral_learn.heads import Head
from coral_learn.heads.base import load_head
from coral_learn.whole_file import read_bytes
from service.children import Child
from service.errors import Conflict, StoreError
from service.store.files import make_folder, publish_file

log = logging.getLogger(__name__)

_TARGET = "service.writing:run"
_PATIENCE = 120.0  # seconds; a board takes some
_KEPT = 4  # files; further downloads of the same model take what is there


class ModelWriter:
    """Writes models into a folder of the data folder, one at a time.

    must_have_room : raises `StoreFull` where the disk has no room for so many bytes more
    """

    def __init__(self, folder: Path, must_have_room: Callable[[int], None]):
        self._folder, self._lock, self._must_have_room = folder / "written", threading.Lock(), must_have_room
        make_folder(self._folder)
        for path in self._folder.iterdir():
            path.unlink()

    def write(self, name: str, extractor: Path, head: Head, labels: List[str], quantized: bool) -> Path:
        """The file of a model. name : another one for every other model; labels : of the head's classes, in order.

        Raises `Conflict` for a head that can't be written, `StoreError` where it was not written, or `StoreFull`.
        """
        path = self._folder / f"{name}.tflite"
        with self._lock:
            if not path.exists():
                self._must_have_room(extractor.stat().st_size)  # nearly all of it is the extractor
                self._write(path, extractor, head, labels, quantized)
                for old in sorted(self._folder.iterdir(), key=lambda one: one.stat().st_mtime)[:-_KEPT]:
                    old.unlink()
        return path

    def _write(self, path: Path, extractor: Path, head: Head, labels: List[str], quantized: bool) -> None:
        arguments = {"path": path, "extractor": extractor, "state": head.state(), "labels": labels}
        child = Child(_TARGET, dict(arguments, quantized=quantized))
        try:
            if not child.has_news(_PATIENCE):
                raise StoreError(f"the model was not written within {_PATIENCE:g} s")
            code, text = child.channel.recv()
        except (EOFError, OSError) as error:
            child.wait(1.0)
            raise StoreError(f"the model was not written: the process {child.describe_end()}") from error
        finally:
            child.release()
        if code:
            raise Conflict(f"this model can't be written as .tflite: {text}", code)


def run(channel, arguments: Dict[str, Any]) -> None:
    """What the process does. Sends ("", "") when the file is there, else a code and a text."""
    try:
        head = load_head(arguments["state"])
        extractor, labels = read_bytes(arguments["extractor"]), arguments["labels"]
        written = write_layer(extractor, layer_of(head), labels, head=describe(head), quantized=arguments["quantized"])
        publish_file(arguments["path"], written)
    except OptionError as error:
        channel.send(("head_not_writable", str(error)))
    except (CoralLearnError, StoreError) as error:
        channel.send(("model_not_written", str(error)))
    else:
        channel.send(("", ""))
