"""What the extractor's process says to one picture, as bytes.

Not pickled: right after a model has run nothing of Python is in the processor's caches, and what is
done before the next picture is taken is time the extractor stands still.
"""

import struct
from typing import NamedTuple, Optional

import numpy as np

_HEAD = struct.Struct("=?d")  # whether there is an embedding, milliseconds


class Reply(NamedTuple):
    """An embedding, (D,) float32, and the milliseconds inside the model; or None and the complaint."""

    embedding: Optional[np.ndarray]
    milliseconds: float = 0.0
    complaint: str = ""

    def pack(self) -> bytes:
        """For `unpack` in another process of this machine."""
        if self.embedding is None:
            return _HEAD.pack(False, 0.0) + self.complaint.encode(errors="backslashreplace")
        return _HEAD.pack(True, self.milliseconds) + self.embedding.tobytes()

    @classmethod
    def unpack(cls, data: bytes) -> "Reply":
        """What `pack` was called on. The embedding is read-only."""
        fine, milliseconds = _HEAD.unpack_from(data)
        if not fine:
            return cls(None, 0.0, data[_HEAD.size :].decode())
        return cls(np.frombuffer(data, np.float32, offset=_HEAD.size), milliseconds)
