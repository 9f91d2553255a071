"""What the daemon remembers: SQLite for facts, files for pictures and model versions."""

from service.store.store import Store

__all__ = ["Store"]
