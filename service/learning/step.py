"""One change of what is taught while it is under way."""

from typing import Any, Dict, List, Optional

import numpy as np

from service.learning.answering import Lesson
from service.store import Store
from service.store.examples import StoredExample
from service.store.journal import StoredStep, drop_unused

# What the journal calls them.
ADD_CLASS, RENAME_CLASS, MERGE_CLASSES, DELETE_CLASS = "add_class", "rename_class", "merge_classes", "delete_class"
ENABLE_CLASS, DISABLE_CLASS = "enable_class", "disable_class"
ADD_EXAMPLES, MOVE_EXAMPLE = "add_examples", "move_example"
DELETE_EXAMPLE, DELETE_EXAMPLES = "delete_example", "delete_examples"
UNDO = "undo"  # this can't be undone

_MOST_LESSONS = 20000  # in memory at once; 5 kB each


class Step:
    """One change under way. Rows change through `connection`; the rest says what follows from them.

    extractor : the digest of the one the live model learns from, None before there is one
    gone, come : lessons of the examples that go and come; those of disabled classes are left out at the end
    teaches_anew : whether they are too many for that, so that the live model is made of what is stored instead
    dropped : pictures of examples that are gone for good
    """

    def __init__(self, store: Store, extractor: Optional[str], connection, action: str):
        self.connection, self._store, self._extractor, self._action = connection, store, extractor, action
        self._number: Optional[int] = None
        self.details: Dict[str, Any] = {}
        self.gone: List[Lesson] = []
        self.come: List[Lesson] = []
        self.dropped: List[str] = []
        self.changes_examples = False
        self.brings_classes_back = False
        self.teaches_anew = False

    @property
    def number(self) -> int:
        """Its number in the journal, taken when first asked for: what changes nothing leaves no line."""
        if self._number is None:
            self._number = self._store.journal.open(self.connection, self._action)
        return self._number

    @property
    def done(self) -> Optional[int]:
        """Its number, None where nothing was changed."""
        return self._number

    def note(self, **details) -> None:
        """Say what was done, for the journal and for undoing it."""
        self.details.update(details, step=self.number)

    def close(self) -> List[str]:
        """Write the line; returns pictures that nothing uses any more."""
        if self._number is None:
            return []
        self._store.journal.close(self.connection, self._number, self.details)
        unused = self._store.journal.empty(self.connection, before=self._number)
        return unused + drop_unused(self.connection, self.dropped)

    # -- parts of several steps -------------------------------------------------------------

    def discard(self, example: StoredExample) -> None:
        """Put an example into the trash."""
        self._forget(example.sha256, example.class_id)
        self._store.journal.discard(self.connection, self.number, example.id)

    def put_back(self, last: StoredStep) -> None:
        """Take out of the trash what a step had put there."""
        for sha256, class_id in self._store.journal.discarded(last.id):
            self._learn(sha256, class_id)
        self._store.journal.restore(self.connection, last.id)

    def move(self, example: StoredExample, class_id: int) -> bool:
        """Put an example into another class; False where that has its picture already."""
        if not self._store.examples.move(self.connection, example.id, class_id):
            return False
        self._forget(example.sha256, example.class_id)
        self._learn(example.sha256, class_id)
        return True

    def enable(self, number: int, enabled: bool) -> None:
        """Have a class taught and answered, or neither."""
        self._store.classes.enable(self.connection, number, enabled)
        self.brings_classes_back = enabled
        change = self._learn if enabled else self._forget
        for example in self._store.examples.of_class(self.connection, number):
            change(example.sha256, number)

    def restore_class(self, last: StoredStep) -> None:
        """Put back the class that a step removed. Steps of older daemons don't say whether it was enabled: it was."""
        self.brings_classes_back = True
        facts = last.details["number"], last.details["name"], last.details.get("enabled", True)
        self._store.classes.restore(self.connection, *facts)

    def embedding(self, sha256: str) -> Optional[np.ndarray]:
        """What the live model learnt of a picture, or None where it waits to be embedded."""
        return None if self._extractor is None else self._store.examples.embedding(sha256, self._extractor)

    def _forget(self, sha256: str, class_id: int) -> None:
        self.gone.extend(self._lessons(sha256, class_id))

    def _learn(self, sha256: str, class_id: int) -> None:
        self.come.extend(self._lessons(sha256, class_id))

    def _lessons(self, sha256: str, class_id: int) -> List[Lesson]:
        """What a change of this example is to the live model; nothing where that is made anew."""
        self.changes_examples = True
        if len(self.gone) + len(self.come) >= _MOST_LESSONS:
            self.teaches_anew = True
            self.gone.clear()
            self.come.clear()
        embedding = None if self.teaches_anew else self.embedding(sha256)
        return [] if embedding is None else [(embedding, class_id)]
