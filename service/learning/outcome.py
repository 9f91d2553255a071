"""What changes of what is taught give back."""

from typing import List, NamedTuple, Optional, Union

from service.store.classes import StoredClass
from service.store.examples import StoredExample


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
