"""Every change of what was taught: first on the disk, then in the model, each with a line in the journal."""

import logging
from contextlib import contextmanager
from typing import Collection, Dict, FrozenSet, Iterable, Iterator, List, Optional, Sequence

import numpy as np

from coral_learn.errors import HeadError
from service.errors import Conflict, StoreError
from service.learning.answering import REVISION, Answering, ListedClass
from service.learning.outcome import Added, Changed, Deleted, Taught
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
    UNDO,
    Step,
)
from service.learning.undoing import Undoing, move
from service.learning.versions import Versions
from service.store import Store
from service.store.classes import StoredClass
from service.store.examples import NewPicture, Origin
from service.store.journal import IMPORT, StoredStep

log = logging.getLogger(__name__)


class Teaching:
    """Classes and examples. Each method returns when its change is on the disk and in the live model.

    All or nothing. Methods raise `StoreError`, and `NotFound`, `Conflict` where they say so.
    """

    def __init__(self, store: Store, answering: Answering, versions: Versions):
        self._store, self._answering, self._versions = store, answering, versions
        self._undoing = Undoing(store, answering)
        answering.change(store.classes.names(), store.classes.disabled(), [], [], int(store.note(REVISION) or 0))

    # -- classes ----------------------------------------------------------------------------

    def classes(self) -> List[ListedClass]:
        """Every class, taught ones first."""
        taught = [ListedClass(one.name, one.examples, False, one.enabled) for one in self._store.classes.all()]
        return taught + [ListedClass(name, 0, True) for name in self._answering.pretrained]

    def create_class(self, name: str, enabled: bool = True) -> Changed:
        """Add a class without examples. Raises `Conflict`."""
        with self._step(ADD_CLASS) as step:
            number = self._create(step, name, enabled)
            step.note(number=number, name=name)
        return Changed(StoredClass(number, name, 0, enabled), step.done)

    def import_class(self, job: str, name: str, enabled: bool) -> None:
        """Add a class without examples as a part of an import job. Raises `Conflict`."""
        with self._step(IMPORT) as step:
            step.note(number=self._create(step, name, enabled), name=name, examples=[], made=True, job=job)

    def enable_class(self, name: str, enabled: bool) -> Changed:
        """Have a class taught and answered, or neither; its examples stay. Raises `NotFound`, `Conflict`."""
        with self._step(ENABLE_CLASS if enabled else DISABLE_CLASS) as step:
            stored = self._find(name)
            if stored.enabled != enabled:
                step.enable(stored.id, enabled)
                step.note(number=stored.id, name=stored.name)
        return Changed(stored._replace(enabled=enabled), step.done)

    def rename_class(self, name: str, new_name: str) -> Changed:
        """Give a class another name; the model stays as it is. Raises `NotFound`, `Conflict`."""
        with self._step(RENAME_CLASS) as step:
            stored = self._find(name)
            self._must_not_be_pretrained(new_name)
            self._store.classes.rename(step.connection, stored.id, new_name)
            if new_name != stored.name:
                step.note(number=stored.id, name=new_name, before=stored.name)
        return Changed(stored._replace(name=new_name), step.done)

    def merge_classes(self, name: str, into: str) -> Changed:
        """Move the examples of a class into another, and delete it. Raises `NotFound`, `Conflict`.

        A picture that is in both stays once.
        """
        with self._step(MERGE_CLASSES) as step:
            source, target = self._find(name), self._find(into)
            if source.id == target.id:
                raise Conflict(f"the class {name!r} can't be merged into itself", "class_same")
            moved = []
            for example in self._store.examples.of_class(step.connection, source.id):
                if step.move(example, target.id):
                    moved.append(example.id)
                else:
                    step.discard(example)
            self._store.classes.delete(step.connection, source.id)
            step.note(number=source.id, name=source.name, into=target.name, moved=moved, enabled=source.enabled)
        return Changed(target._replace(examples=target.examples + len(moved)), step.done)

    def delete_class(self, name: str, for_good: bool = False) -> Deleted:
        """Remove a class with its examples. Raises `NotFound`, `Conflict`.

        for_good : whether their pictures go at once and the step can't be undone
        """
        with self._step(DELETE_CLASS, for_good) as step:
            stored = self._find(name)
            examples = self._store.examples.of_class(step.connection, stored.id)
            for example in examples:
                step.discard(example)
            self._store.classes.delete(step.connection, stored.id)
            step.note(number=stored.id, name=stored.name, count=len(examples), enabled=stored.enabled)
        return Deleted(len(examples), step.number)

    # -- examples ---------------------------------------------------------------------------

    def add_examples(
        self, name: str, pictures: List[NewPicture], data: Iterable[bytes], origin: Origin, create: bool = True
    ) -> Taught:
        """Store pictures in a class, made when missing, and teach them to the live model. Raises `Conflict`.

        create : whether a missing class is made; else it raises `NotFound`
        """
        capture = {"capture": origin.capture} if origin.capture else {}
        origins = [origin] * len(pictures)
        return self._add(ADD_EXAMPLES, name, pictures, data, origins, create, **capture)

    def import_examples(
        self, job: str, name: str, pictures: List[NewPicture], data: Iterable[bytes], origins: Sequence[Origin]
    ) -> Taught:
        """As `add_examples`, as a part of an import job. origins : one each"""
        return self._add(IMPORT, name, pictures, data, origins, True, job=job)

    def _add(
        self,
        action: str,
        name: str,
        pictures: List[NewPicture],
        data: Iterable[bytes],
        origins: Sequence[Origin],
        create: bool,
        **details: str,
    ) -> Taught:
        self._answering.must_have_extractor()
        self._store.must_have_room(sum(picture.bytes for picture in pictures))
        for picture in pictures:
            self._answering.must_be_of(picture.extractor)
        with self._step(action) as step:
            self._must_not_be_pretrained(name)
            before = self._store.classes.find(name) if create else self._store.classes.get(name)
            # Before the rows, so that a row always has its picture.
            for picture, content in zip(pictures, data):
                self._store.images.save(picture.sha256, content)
            class_id = self._store.classes.find_or_create(step.connection, name)
            embeddings = self._first_embeddings(step, pictures)
            added = []
            for picture, origin in zip(pictures, origins):
                example, new = self._store.examples.add(step.connection, class_id, picture, origin)
                added.append(Added(example, new))
                if new:
                    step.changes_examples = True
                    step.come.append((embeddings[picture.sha256], class_id))
            new_ones = [one.example for one in added if one.new]
            if new_ones or before is None:
                step.note(number=class_id, name=name, examples=new_ones, made=before is None, **details)
        return Taught(added, (before.examples if before else 0) + len(new_ones), step.done)

    def move_example(self, example_id: str, name: str) -> Changed:
        """Put an example into another class, made when missing. Raises `NotFound`, `Conflict`."""
        with self._step(MOVE_EXAMPLE) as step:
            example = self._store.examples.get(example_id)
            self._must_not_be_pretrained(name)
            made = self._store.classes.find(name) is None
            class_id = self._store.classes.find_or_create(step.connection, name)
            if class_id == example.class_id:
                return Changed(example, None)
            move(step, example, class_id, name)
            step.note(example=example_id, before=example.class_id, number=class_id, name=name, made=made)
        return Changed(example._replace(class_id=class_id, class_name=name), step.done)

    def delete_example(self, example_id: str, for_good: bool = False) -> Deleted:
        """Remove an example; the live model answers as if it had never been. Raises `NotFound`."""
        with self._step(DELETE_EXAMPLE, for_good) as step:
            example = self._store.examples.get(example_id)
            step.discard(example)
            step.note(example=example_id, name=example.class_name)
        return Deleted(1, step.number)

    def delete_examples(self, example_ids: Iterable[str], for_good: bool = False) -> Deleted:
        """Remove several, of any classes, as one step. Raises `NotFound` where one of them is not there."""
        with self._step(DELETE_EXAMPLES, for_good) as step:
            examples = [self._store.examples.get(one) for one in dict.fromkeys(example_ids)]
            for example in examples:
                step.discard(example)
            step.note(examples=[example.id for example in examples])
        return Deleted(len(examples), step.number)

    def add_missing_embedding(self, sha256: str, embedding: np.ndarray, digest: Optional[str] = None) -> None:
        """Teach the live model a stored picture that this extractor had not seen. Raises `ExtractorUnavailable`."""
        extractor = self._answering.must_be_of(digest)
        with self._step("") as step:  # no step of the user's: nothing asks for its number
            step.come += [(embedding, number) for number in self._overdue(sha256)]
            if step.come:
                step.changes_examples = True
                self._store.examples.save_embedding(step.connection, sha256, extractor.digest, embedding)

    # -- going back -------------------------------------------------------------------------

    def undo(self, step_number: Optional[int] = None) -> StoredStep:
        """Take back the last step; returns it. Raises `Conflict` where it can't be.

        All steps of an import count as one, which is named by the last of them.

        step_number : the step that is meant; it must be the last one
        """
        with self._step(UNDO) as step:
            last = self._undoing.last(step_number)
            step.note(undone=last.id, action=last.action)
            self._undoing.take_back(step, last)
        return last

    def undo_together(self, step_numbers: Collection[int]) -> List[StoredStep]:
        """Take back the last steps, all or none; returns them, newest first. Raises `Conflict` where they can't be.

        step_numbers : all of them, in any order, with no other step between or after. More than one only of those
        in `TOGETHER`.
        """
        numbers = sorted(set(step_numbers), reverse=True)
        if len(numbers) == 1:
            return [self.undo(numbers[0])]
        with self._step(UNDO) as step:
            steps = self._undoing.last_ones(numbers)
            step.note(undone=steps[0].id, action=steps[0].action, steps=numbers)
            for one in steps:
                self._undoing.take_back(step, one)
        return steps

    # -- parts ------------------------------------------------------------------------------

    @contextmanager
    def _step(self, action: str, for_good: bool = False) -> Iterator[Step]:
        """One transaction with its line in the journal, then the live model, then pictures nothing uses."""
        with self._store.changing:
            disabled_before = self._answering.disabled
            with self._store.database.write() as connection:
                extractor = self._answering.extractor
                step = Step(self._store, extractor and extractor.digest, connection, action)
                yield step
                if for_good:
                    step.details["for_good"] = True
                unused = step.close()
                if for_good:
                    unused += self._store.journal.empty(connection, before=step.number + 1)
                revision = int(self._store.note(REVISION) or 0) + step.changes_examples
                if step.changes_examples:  # a write for nothing would cost a sync, and wear the card
                    self._store.set_note(connection, REVISION, str(revision))
                # Whatever has to be read is read before the end: what is committed must be said to be so.
                names, disabled = self._store.classes.names(connection), self._store.classes.disabled(connection)
            # What a disabled class holds is not in the model: there is nothing to forget of it, and nothing to learn.
            step.gone = [lesson for lesson in step.gone if lesson[1] not in disabled_before]
            step.come = [lesson for lesson in step.come if lesson[1] not in disabled]
            self._follow(step, names, disabled, revision)
            self._remove_pictures(unused)

    def _follow(self, step: Step, names: Dict[int, str], disabled: FrozenSet[int], revision: int) -> None:
        """Do in memory what is done on the disk."""
        self._answering.expect(names, disabled)
        try:
            if step.teaches_anew:
                self._versions.teach_anew(revision)
            self._answering.change(names, disabled, step.gone, step.come, revision)
            if step.brings_classes_back:
                self._versions.load_again()
        except (HeadError, StoreError):
            log.exception("the model does not fit what is stored; it is built anew")
            self._versions.rebuild()
            self._answering.settle(names)

    def _remove_pictures(self, unused: List[str]) -> None:
        for sha256 in unused:
            try:
                self._store.images.remove(sha256)
            except StoreError as error:  # the change is made all the same; the next start removes what nothing uses
                log.error("the picture %s is still on the disk: %s", sha256[:12], error)

    def _create(self, step: Step, name: str, enabled: bool) -> int:
        self._must_not_be_pretrained(name)
        return self._store.classes.create(step.connection, name, enabled)

    def _first_embeddings(self, step: Step, pictures: List[NewPicture]) -> Dict[str, np.ndarray]:
        """The embedding of each picture that counts: the one stored first, which the live model may have learnt.

        A later one of the same picture differs by rounding after an update of the run-time.
        """
        embeddings = {}
        for picture in pictures:
            if picture.sha256 in embeddings:
                continue
            embedding = step.embedding(picture.sha256)
            if embedding is None:
                embedding = picture.embedding
                self._store.examples.save_embedding(
                    step.connection, picture.sha256, self._answering.extractor.digest, embedding
                )
                # Older examples of this picture may wait to be embedded anew; this does it for them.
                step.come += [(embedding, one.class_id) for one in self._store.examples.of_picture(picture.sha256)]
            embeddings[picture.sha256] = embedding
        return embeddings

    def _overdue(self, sha256: str) -> List[int]:
        """The classes of the examples whose picture this extractor has not seen yet."""
        if self._store.examples.embedding(sha256, self._answering.extractor.digest) is not None:
            return []
        return [example.class_id for example in self._store.examples.of_picture(sha256)]

    def _must_not_be_pretrained(self, name: str) -> None:
        if name in self._answering.pretrained:
            raise Conflict(
                f"{name!r} is a pre-trained class and can't be changed; choose another name", "class_pretrained"
            )

    def _find(self, name: str) -> StoredClass:
        """A taught class. Raises `NotFound`, or `Conflict` for a pre-trained one."""
        found = self._store.classes.find(name)
        if found is None:
            self._must_not_be_pretrained(name)
        return found or self._store.classes.get(name)
