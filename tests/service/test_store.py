"""SQLite and files: whole or not at all, and the same after opening again."""

import hashlib
import os
import sqlite3

import numpy as np
import pytest

from coral_learn.heads import EmbeddingPipeline, ImprintingHead
from service.errors import Conflict, DataFolderInUse, Invalid, NotFound, StoreError
from service.store import Store
from service.store.classes import Classes, check_name
from service.store.database import MIGRATIONS, Database
from service.store.examples import NewPicture, Origin
from service.store.models import FinishedModel, write_version
from service.store.reserve import Reserve

EXTRACTOR = "e" * 64


@pytest.fixture
def store(tmp_path):
    """An open store."""
    opened = Store(tmp_path / "data")
    yield opened
    opened.close()


def picture(number: int) -> NewPicture:
    """A made-up picture with an embedding."""
    digest = hashlib.sha256(str(number).encode()).hexdigest()
    return NewPicture(digest, "PNG", 64, 48, 100, np.full(8, number, np.float32))


def add(store: Store, name: str, number: int) -> str:
    """Add a picture to a class; returns the example's id."""
    new = picture(number)
    store.images.save(new.sha256, str(number).encode())
    with store.database.write() as connection:
        class_id = store.classes.find_or_create(connection, name)
        example, _ = store.examples.add(connection, class_id, new, Origin("upload"))
        store.examples.save_embedding(connection, new.sha256, EXTRACTOR, new.embedding)
    return example


def test_everything_is_there_after_opening_again(tmp_path, store):
    """Classes, examples, embeddings, pictures and notes."""
    examples = [add(store, "a", 1), add(store, "a", 2), add(store, "b", 3)]
    with store.database.write() as connection:
        store.set_note(connection, "key", "value")
    store.close()

    again = Store(tmp_path / "data")
    assert [(one.name, one.examples) for one in again.classes.all()] == [("a", 2), ("b", 1)]
    assert {one.id for one in again.examples.learnt(EXTRACTOR)} == set(examples)
    assert again.note("key") == "value"
    assert again.images.read(picture(3).sha256) == b"3"
    again.close()


def test_a_failing_transaction_changes_nothing(store):
    """An error in the middle rolls all of it back."""
    with pytest.raises(Conflict), store.database.write() as connection:
        store.classes.create(connection, "a")
        store.classes.create(connection, "a")
    assert store.classes.all() == []


def test_one_daemon_a_folder(tmp_path, store):
    """The second opener is refused, until the first has closed."""
    with pytest.raises(DataFolderInUse):
        Store(tmp_path / "data")
    store.close()
    Store(tmp_path / "data").close()


def test_embeddings_are_read_in_batches(store):
    """All of them, whatever the batch size, in the same order."""
    for number in range(7):
        add(store, "a", number)
    every = [one.id for one in store.examples.learnt(EXTRACTOR)]
    assert len(every) == 7
    assert all([one.id for one in store.examples.learnt(EXTRACTOR, batch)] == every for batch in (1, 2, 3, 7, 8))
    assert [one.id for one in store.examples.learnt("another")] == []


def test_a_picture_goes_with_its_last_example(store):
    """The trash keeps a picture and its embedding until the next step; then they go, unless something uses them."""
    first, second = add(store, "a", 1), add(store, "b", 1)
    sha256, unused = picture(1).sha256, []
    for example in (first, second, None):
        with store.database.write() as connection:
            step = store.journal.open(connection, "delete_example")
            if example is not None:
                store.journal.discard(connection, step, example)
            unused.append(store.journal.empty(connection, before=step))
        if example is not None:
            assert sha256 in store.examples.pictures()
            assert store.examples.embedding(sha256, EXTRACTOR) is not None
            with pytest.raises(NotFound):
                store.examples.get(example)

    assert unused == [[], [], [sha256]]
    assert store.examples.embedding(sha256, EXTRACTOR) is None
    assert store.examples.pictures() == set()


def test_sweep_removes_what_a_crash_left(store):
    """Unused pictures, half-written files and cut-off versions go; a missing picture is counted."""
    add(store, "a", 1)
    add(store, "a", 2)
    os.unlink(str(store.images.path(picture(2).sha256)))
    store.images.save("f" * 64, b"nobody's")
    (store.images.path("f" * 64).parent / ".part-x").write_bytes(b"half")
    store.models.unfinished_folder("job").mkdir()

    assert tuple(store.sweep()) == (2, 1, 1)
    assert store.images.stored() == {picture(1).sha256}
    assert tuple(store.sweep()) == (0, 1, 0)


def test_model_versions(store):
    """A version gives its head back, and says so when its file was damaged."""
    head = ImprintingHead(EmbeddingPipeline(8))
    head.learn_one(np.arange(8), 1)
    folder = store.models.unfinished_folder("j1")
    write_version(folder, head, ["x"], {"head": "imprinting"})
    with store.database.write() as connection:
        version = store.models.add(connection, "j1", FinishedModel(str(folder), "imprinting", EXTRACTOR, 1, 1, None))
    model = store.models.get(version)
    assert not folder.exists()
    assert store.models.head(model).scores(np.arange(8)) == head.scores(np.arange(8))
    assert (store.models.taught_with(model), store.models.report(model)) == (["x"], {"head": "imprinting"})
    assert tuple(store.sweep()) == (0, 0, 0)

    for damaged in (b"", b"PK\x03\x04 damaged", b"x" * 100):
        (store.models.path(model) / "head.npz").write_bytes(damaged)
        with pytest.raises(StoreError, match="can't be read"):
            store.models.head(model)


def test_jobs_keep_what_they_are(store):
    """Options, metrics and errors come back as they went in; unfinished ones are found."""
    job = store.jobs.add("train", {"head": "softmax", "seed": 3})
    assert store.jobs.get(job.id) == job
    running = job._replace(state="running", metrics={"loss": 0.5}, started=1.0)
    store.jobs.update(running)
    assert store.jobs.unfinished() == [running]
    store.jobs.update(running._replace(state="failed", error={"detail": "x"}))
    assert store.jobs.unfinished() == []
    assert store.jobs.page(0, 10)[0][0].error == {"detail": "x"}


def test_older_schema_is_brought_up_to_date(tmp_path):
    """A data folder of the time before classes could be disabled: all of them are enabled."""
    connection = sqlite3.connect(str(tmp_path / "db"))
    for script in MIGRATIONS[:2]:
        connection.executescript(script)
    connection.executescript("PRAGMA user_version = 2; INSERT INTO classes (name, created) VALUES ('old', 1.0)")
    connection.close()
    database = Database(tmp_path / "db")
    assert [tuple(one) for one in Classes(database).all()] == [(1, "old", 0, True)]
    database.close()


def test_newer_schema_is_refused(tmp_path):
    """A data folder of a later version is not touched."""
    path = tmp_path / "db"
    database = Database(path)
    with database.write() as connection:
        connection.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    database.close()
    with pytest.raises(StoreError, match="newer version"):
        Database(path)


@pytest.mark.parametrize("name", ["", "  ", "x" * 101, "a/b", "..", "a\tb", "a\x00b", "a\u202eb", "\u200d", None, 3])
def test_names_that_are_refused(name):
    """Invalid, with the field."""
    with pytest.raises(Invalid) as caught:
        check_name(name)
    assert caught.value.field == "name"


@pytest.mark.parametrize("name", ["\U0001f415\u200d\U0001f9ba dog", "\u0645\u06cc\u200c\u062e", "a..", "..a"])
def test_unusual_names_are_kept(name):
    """Emoji and letters that are made of several, and dots beside others."""
    assert check_name(name) == name


def test_names_lose_blanks_at_their_ends_only():
    """Everything else is kept."""
    assert check_name("  hot  dog ") == "hot  dog"


def test_reserve_is_kept_where_there_is_room(tmp_path):
    """It takes its place on the disk, leaves what must stay free and some more, and is given back once."""
    path = tmp_path / "reserve"
    reserve = Reserve(path, 100_000)
    reserve.keep(149_999, 0)
    reserve.keep(299_999, 200_000)
    assert not path.exists()
    assert not reserve.release()
    reserve.keep(300_000, 200_000)
    assert path.stat().st_blocks * 512 >= 100_000
    assert Reserve(path, 100_000).release()
    assert not path.exists()


def test_a_reserve_that_can_not_be_made_leaves_nothing(tmp_path):
    """It is for later: no error now, and no empty file that would be taken for it."""
    path = tmp_path / "reserve"
    reserve = Reserve(path, 1 << 62)
    reserve.keep(1 << 63, 0)
    assert not path.exists()
    assert not reserve.release()
