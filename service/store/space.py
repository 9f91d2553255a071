"""How much of a disk is free, and how much of that is to stay so."""

import os
from pathlib import Path
from typing import NamedTuple

from service.errors import StoreError, StoreFull


class Space(NamedTuple):
    """The disk that a folder is on. least_free : bytes of it that writing leaves free, for others and for deleting"""

    folder: Path
    least_free: int

    @property
    def free_bytes(self) -> int:
        """What is free, in bytes. Raises `StoreError`."""
        try:
            found = os.statvfs(str(self.folder))
        except OSError as error:
            raise StoreError(f"the data folder {self.folder} can't be used: {error.strerror}") from error
        return found.f_bavail * found.f_frsize

    def must_have_room(self, wanted: int = 0) -> None:
        """Raise `StoreFull` where `wanted` bytes more would leave less free than `least_free`."""
        free = self.free_bytes
        if free - wanted < self.least_free:
            raise StoreFull(
                f"{free // 1_000_000} MB are free on the disk of {self.folder}, {self.least_free // 1_000_000} MB "
                "must stay free"
            )
