"""Embeddings of pictures and of their variations, computed once."""

import hashlib
import io
from pathlib import Path
from typing import Optional

import numpy as np

from coral_learn.augment import Augmentation
from coral_learn.extractor import Extractor
from coral_learn.whole_file import write_bytes


class EmbeddingCache:
    """Asks the extractor only for what was never asked.

    folder : where embeddings are kept between runs, a file a picture; None keeps them in memory
    """

    def __init__(self, extractor: Extractor, folder: Optional[Path] = None):
        self.extractor, self._folder = extractor, None if folder is None else Path(folder)
        self._known = {}

    def embed(self, rgb: np.ndarray, augmentation: Optional[Augmentation] = None) -> np.ndarray:
        """The picture's embedding and those of its variations behind it, (1 + copies, D) float32.

        They belong together: give them one group when examples are split (`stratified_split`).
        """
        varied = Augmentation((), 0) if augmentation is None else augmentation.checked()
        key = self._key(rgb, varied)
        found = self._known.get(key)
        if found is None:
            found = self._read(key)
        if found is None:
            found = np.stack([self.extractor.embed(one) for one in [rgb, *varied.apply(rgb)]])
            self._keep(key, found)
        return found.copy()

    def _key(self, rgb: np.ndarray, augmentation: Augmentation) -> str:
        digest = hashlib.sha256(np.ascontiguousarray(rgb).tobytes())
        digest.update(repr((rgb.shape, self.extractor.info.digest, tuple(augmentation))).encode())
        return digest.hexdigest()

    def _read(self, key: str) -> Optional[np.ndarray]:
        if self._folder is None:
            return None
        try:
            return np.load(str(self._folder / f"{key}.npy"), allow_pickle=False)
        except (OSError, ValueError, EOFError):
            return None  # never asked, or cut off by a crash: it is computed again

    def _keep(self, key: str, embeddings: np.ndarray) -> None:
        if self._folder is None:
            self._known[key] = embeddings
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        content = io.BytesIO()
        np.save(content, embeddings)
        write_bytes(self._folder / f"{key}.npy", content.getvalue())
