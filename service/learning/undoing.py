"""Taking back the last steps: which can be, and what their inverses are."""

from itertools import zip_longest
from typing import List, Optional

from service.errors import Conflict
from service.learning.answering import Answering
from service.learning.step import (
    ADD_CLASS,
    ADD_EXAMPLES,
    DELETE_CLASS,
    DELETE_EXAMPLE,
    DELETE_EXAMPLES,
    DISABLE_CLASS,
    ENABLE_CLASS,
    MERGE_CLASSES,
    MOVE_EXAMPLE,
    RENAME_CLASS,
    Step,
)
from service.store import Store
from service.store.examples import StoredExample
from service.store.journal import IMPORT, StoredStep

# Of these several in a row can be undone at once. Their inverses only take away what the step itself brought: none
# needs the trash, which every later step empties, or what another inverse leaves.
TOGETHER = (ADD_CLASS, RENAME_CLASS, ADD_EXAMPLES)


class Undoing:
    """The inverses of steps, each made as a part of another step."""

    def __init__(self, store: Store, answering: Answering):
        self._store, self._answering = store, answering
        self._inverses = {
            ADD_CLASS: self._undo_add_class,
            RENAME_CLASS: self._undo_rename_class,
            MERGE_CLASSES: self._undo_merge_classes,
            DELETE_CLASS: self._undo_delete_class,
            ENABLE_CLASS: self._undo_enable_class,
            DISABLE_CLASS: self._undo_enable_class,
            ADD_EXAMPLES: self._undo_add_examples,
            MOVE_EXAMPLE: self._undo_move_example,
            DELETE_EXAMPLE: self._undo_deletion,
            DELETE_EXAMPLES: self._undo_deletion,
            IMPORT: self._undo_import,
        }

    def take_back(self, step: Step, last: StoredStep) -> None:
        """Do the inverse of the last step. Raises `Conflict`."""
        self._inverses[last.action](step, last)

    def last(self, step_number: Optional[int]) -> StoredStep:
        """The last step, which is the one that is meant. Raises `Conflict` where it is not, or can't be undone."""
        last = self._store.journal.last()
        if last is None:
            raise Conflict("there is nothing to undo: nothing was taught yet", "nothing_to_undo")
        older = last.action == IMPORT and "job" not in last.details  # older daemons didn't note whose step it was
        if last.action not in self._inverses or last.details.get("for_good") or older:
            how = "for good, " if last.details.get("for_good") else ""
            raise Conflict(f"the last step, {last.id} ({how}{last.action}), can't be undone", "nothing_to_undo")
        if step_number not in (None, last.id):
            raise Conflict(f"only the last step can be undone, which is {last.id}, not {step_number}", "step_passed")
        return last

    def last_ones(self, numbers: List[int]) -> List[StoredStep]:
        """The last steps, newest first, which are the ones with these numbers. Raises `Conflict` as `last`."""
        steps = self._store.journal.newest(len(numbers))
        for number, step in zip_longest(numbers, steps):
            if step is None or number != step.id:
                last = "none" if step is None else step.id
                raise Conflict(
                    f"only the last steps can be undone, of which the next is {last}, not {number}", "step_passed"
                )
            if step.action not in TOGETHER:
                known = ", ".join(TOGETHER)
                raise Conflict(
                    f"step {step.id} ({step.action}) can't be undone with others; of several each is one of {known}",
                    "nothing_to_undo",
                )
        return steps

    def _undo_add_class(self, step: Step, last: StoredStep) -> None:
        self._store.classes.delete(step.connection, last.details["number"])

    def _undo_rename_class(self, step: Step, last: StoredStep) -> None:
        self._store.classes.rename(step.connection, last.details["number"], last.details["before"])

    def _undo_merge_classes(self, step: Step, last: StoredStep) -> None:
        number = last.details["number"]
        step.restore_class(last)
        for example_id in last.details["moved"]:
            move(step, self._store.examples.get(example_id), number, last.details["name"])
        step.put_back(last)

    def _undo_delete_class(self, step: Step, last: StoredStep) -> None:
        step.restore_class(last)
        step.put_back(last)

    def _undo_enable_class(self, step: Step, last: StoredStep) -> None:
        step.enable(last.details["number"], last.action == DISABLE_CLASS)

    def _undo_add_examples(self, step: Step, last: StoredStep) -> None:
        for example_id in last.details["examples"]:
            step.discard(self._store.examples.get(example_id))
        if last.details["made"]:
            self._store.classes.delete(step.connection, last.details["number"])

    def _undo_move_example(self, step: Step, last: StoredStep) -> None:
        example = self._store.examples.get(last.details["example"])
        move(step, example, last.details["before"], self._answering.class_name(last.details["before"]))
        if last.details["made"]:
            self._store.classes.delete(step.connection, last.details["number"])

    def _undo_import(self, step: Step, last: StoredStep) -> None:
        """Take away what all steps of an import brought, for good: there may be too much of it for the trash."""
        job, journal = last.details["job"], self._store.journal
        if any(one.id == job for one in self._store.jobs.unfinished()):
            raise Conflict(f"the import {job} is under way; cancel the job or wait for its end", "import_under_way")
        steps = journal.of_import(job)
        if journal.count_since(steps[-1]) != len(steps):
            raise Conflict(
                f"the import {job} can't be undone, as something else was changed while it went on", "step_passed"
            )
        count = 0
        for one in map(journal.get, steps):
            count += len(one.details["examples"])
            step.dropped += self._store.examples.remove(step.connection, one.details["examples"])
            if one.details["made"]:
                self._store.classes.delete(step.connection, one.details["number"])
        step.note(job=job, count=count)
        step.changes_examples = step.teaches_anew = bool(count)

    def _undo_deletion(self, step: Step, last: StoredStep) -> None:
        step.put_back(last)


def move(step: Step, example: StoredExample, class_id: int, name: str) -> None:
    """Put an example into another class. Raises `Conflict` where that has its picture already."""
    if not step.move(example, class_id):
        raise Conflict(f"the class {name!r} has this picture already; delete this one instead", "example_exists")
