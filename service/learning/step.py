"""One change of what is taught while it is under way, and what changes give back."""

from typing import Any, Dict, List, NamedTuple, Optional, Union

from service.learning.answering import Lesson
from service.store import Store
from service.store.classes import StoredClass
from service.store.examples import StoredExample
from service.store.journal import drop_unused

_MOST_LESSONS = 20000  # in memory at once; 5 kB each


class Added(NamedTuple):
    """An example that was stored, and whether it is new in its class."""

    example: str
    new: bool


class Taught(NamedTuple):
    """The examples of an upload.

    class_examples : how many their class has now; step : its number in the journal, None where nothing was new
    """

    examples: List[Added]
    class_examples: int
    step: Optional[int]


class Changed(NamedTuple):
    """A class or an example as it is after a change; step as of `Taught`."""

    now: Union[StoredClass, StoredExample]
    step: Optional[int]


class Deleted(NamedTuple):
    """How many examples went; step : the number in the journal."""

    examples: int
    step: int


class Step:
    """One change under way. Rows change through `connection`; the rest says what follows from them.

    gone, come : lessons of the examples that go and come; those of disabled classes are left out at the end
    teaches_anew : whether they are too many for that, so that the live model is made of what is stored instead
    dropped : pictures of examples that are gone for good
    """

    def __init__(self, store: Store, connection, action: str):
        self.connection, self._store, self._action = connection, store, action
        self._number: Optional[int] = None
        self.details: Dict[str, Any] = {}
        self.gone: List[Lesson] = []
        self.come: List[Lesson] = []
        self.dropped: List[str] = []
        self.changes_examples = False
        self.brings_classes_back = False
        self.teaches_anew = False

    def is_large(self) -> bool:
        """Whether there are too many lessons to hold them all: then the live model is made of what is stored."""
        if len(self.gone) + len(self.come) >= _MOST_LESSONS:
            self.teaches_anew = True
            self.gone.clear()
            self.come.clear()
        return self.teaches_anew

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
