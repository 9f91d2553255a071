"""Archives: what is written is read back, and nothing that comes from elsewhere is trusted."""

import bz2
import gzip
import hashlib
import io
import json
import lzma
import stat
import struct
import tarfile
import zipfile

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from coral_learn.extractor import ExtractorInfo
from service.errors import ArchiveUnusable, Invalid, NotFound, StoreError
from service.store import Store
from service.store.archive import MANIFEST, PART_ROWS, folder_names, pack_rows, unpack_rows, write_archive
from service.store.classes import check_name
from service.store.container import Limits, check_archive, open_container
from service.store.contents import Contents, Packed
from service.store.examples import NewPicture, Origin

INFO = ExtractorInfo("tiny", "e" * 64, "cpu", "", False, "none", 4, 32, 32)
OTHER = INFO._replace(digest="f" * 64)
LIMITS = Limits(member_bytes=100_000, total_bytes=10_000_000, members=1000)
PACKERS = {"tar": bytes, "gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress}


@pytest.fixture
def store(tmp_path):
    """An open store."""
    opened = Store(tmp_path / "data")
    yield opened
    opened.close()


def add(store, name, data, embedding=None, capture=None, client_id=None):
    """Store bytes as if they were a picture; returns the example's id."""
    digest = hashlib.sha256(data).hexdigest()
    store.images.save(digest, data)
    with store.database.write() as connection:
        number = store.classes.find_or_create(connection, name)
        picture = NewPicture(digest, "JPEG", 64, 48, len(data), embedding)
        added, _ = store.examples.add(connection, number, picture, Origin("upload", capture, client_id))
        if embedding is not None:
            store.examples.save_embedding(connection, digest, INFO.digest, embedding)
    return added


def written(store, extractor=INFO):
    """The archive of a store as a file."""
    return io.BytesIO(b"".join(write_archive(store, extractor)))


def zipped(files, compression=zipfile.ZIP_STORED):
    """A zip of (name, bytes) as a file."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, data in files:
            archive.writestr(name, data)
    return file


def tarred(files, form=tarfile.PAX_FORMAT, pack=bytes):
    """A tar of (name or TarInfo, bytes) as a file."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=form) as archive:
        for name, data in files:
            info = tarfile.TarInfo(name) if isinstance(name, str) else name
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return io.BytesIO(pack(file.getvalue()))


def taken(file, extractor=None, limits=LIMITS):
    """(class, bytes) of every picture that is taken, sorted; and how often each reason was given."""
    contents = Contents(file, limits, extractor)
    reasons, pictures = dict(contents.unusable), []
    for item in contents.pictures():
        if isinstance(item, Packed):
            pictures.append((item.class_name, item.data))
        else:
            reasons[item.code] = reasons.get(item.code, 0) + 1
    return sorted(pictures), reasons


def refused(file, limits=LIMITS):
    """The code by which an archive is refused as a whole."""
    with pytest.raises(ArchiveUnusable) as error:
        taken(file, limits=limits)
    return error.value.code


def changed_manifest(file, change):
    """The archive with another manifest."""
    with zipfile.ZipFile(file) as archive:
        files = [(name, archive.read(name)) for name in archive.namelist()]
    values = json.loads(dict(files)[MANIFEST].decode())
    change(values)
    return zipped([(name, data) for name, data in files if name != MANIFEST] + [(MANIFEST, json.dumps(values))])


def test_round_trip(store):
    """Classes, also empty ones, pictures, origins and embeddings come out as they went in, rows over several parts."""
    count = PART_ROWS + 10
    for number in range(count):
        embedding = np.full(4, number, np.float32)
        add(store, f"it's {number % 3}?", b"%d" % number, embedding, f"c{number}", f"id {number}")
    with store.database.write() as connection:
        store.classes.create(connection, "empty")
    contents = Contents(written(store), Limits(1000, 10**7), INFO)
    assert sorted(contents.classes) == ["empty", "it's 0?", "it's 1?", "it's 2?"]
    assert (contents.total, dict(contents.unusable)) == (count, {})
    found = {int(one.data): one for one in contents.pictures()}
    assert sorted(found) == list(range(count))
    for number, one in found.items():
        assert one.class_name == f"it's {number % 3}?"
        assert one.origin[:3] == ("upload", f"c{number}", f"id {number}")
        assert one.embedding.tolist() == [number] * 4


def test_manifest_says_what_is_there(store):
    """Who reads the archive with other tools finds plain names, and every fact in the manifest."""
    example_id = add(store, 'a "cat"', b"1", np.ones(4, np.float32), "walk")
    with zipfile.ZipFile(written(store)) as archive:
        assert archive.testzip() is None
        manifest = json.loads(archive.read(MANIFEST).decode())
        (listed,) = manifest["examples"]
        assert archive.read(listed["file"]) == b"1"
        assert {info.compress_type for info in archive.infolist() if info.filename != MANIFEST} == {zipfile.ZIP_STORED}
    assert manifest["extractor"] == {"digest": INFO.digest, "name": "tiny", "size": 4}
    assert manifest["classes"] == [{"name": 'a "cat"', "folder": "a %22cat%22", "enabled": True}]
    assert listed["file"] == f"a %22cat%22/{example_id}.jpg"
    assert (listed["class"], listed["source"], listed["capture"], listed["row"]) == ('a "cat"', "upload", "walk", 0)


def test_left_out_when_deleted_meanwhile(store):
    """What is deleted before its turn is left out and counted; what is added after the start does not come in."""
    examples = [add(store, "a", bytes(300_000) + b"%d" % number) for number in range(4)]
    pieces = write_archive(store, None)
    start = next(pieces)
    add(store, "b", b"new")
    with store.database.write() as connection:
        connection.execute("DELETE FROM examples WHERE id = ?", (examples[-1],))
    file = io.BytesIO(start + b"".join(pieces))
    with zipfile.ZipFile(file) as archive:
        manifest = json.loads(archive.read(MANIFEST).decode())
    assert (len(manifest["examples"]), manifest["left_out"], manifest["missing"]) == (3, 1, 0)
    assert {one["class"] for one in manifest["examples"]} == {"a"}


def test_picture_whose_file_is_gone(store, caplog):
    """All others are in the archive, which says that one is missing; so does the log, and of which example."""
    lost, kept = add(store, "a", b"1"), add(store, "a", b"2")
    store.images.path(hashlib.sha256(b"1").hexdigest()).unlink()
    with zipfile.ZipFile(written(store)) as archive:
        manifest = json.loads(archive.read(MANIFEST).decode())
    assert [one["file"] for one in manifest["examples"]] == [f"a/{kept}.jpg"]
    assert (manifest["left_out"], manifest["missing"]) == (1, 1)
    (line,) = [one for one in caplog.records if one.levelname == "WARNING"]
    assert lost in line.getMessage()


def test_picture_that_can_not_be_read(store):
    """An archive without a picture that is there is none."""
    add(store, "a", b"1")
    path = store.images.path(hashlib.sha256(b"1").hexdigest())
    path.unlink()
    path.mkdir()
    with pytest.raises(StoreError, match="can't be used"):
        written(store)


def test_embeddings_of_another_extractor(store):
    """They are not used, nor are damaged ones; the pictures are taken all the same."""
    add(store, "a", b"1", np.ones(4, np.float32))
    file = written(store)
    assert [one.embedding for one in Contents(file, LIMITS, OTHER).pictures()] == [None]
    assert [one.embedding for one in Contents(file, LIMITS, INFO._replace(embedding_size=3)).pictures()] == [None]
    damaged = changed_manifest(file, lambda values: values["embeddings"][0].update(sha256="0" * 64))
    assert [one.embedding for one in Contents(damaged, LIMITS, INFO).pictures()] == [None]


@pytest.mark.parametrize(
    "rows", [b"", b"\x93NUMPY\x01\x00", pack_rows(np.full((2, 4), np.nan)), pack_rows(np.ones((2, 4)))[:-1]]
)
def test_rows_that_are_refused(rows):
    """Never an embedding that is not a row of finite numbers."""
    with pytest.raises(ValueError, match=r"rows|finite|buffer|reshape"):
        unpack_rows(rows, 4)


def test_rows_need_no_more_memory_than_they_have():
    """A header that promises more rows than there are asks for nothing."""
    assert unpack_rows(pack_rows(np.ones((2, 4))).replace(b"(2, 4)", b"(9, 9)"), 4).shape == (2, 4)


def test_manifest_that_lies(store):
    """A picture must be there, and be the one that is meant; a name must be one."""
    for number in range(5):
        add(store, "a", b"%d" % number)

    def change(values):
        first, second, third, fourth, _ = values["examples"]
        first["file"] = "../../etc/passwd"
        second["sha256"] = "0" * 64
        third["class"] = "no/name"
        fourth["file"] = 7

    pictures, reasons = taken(changed_manifest(written(store, None), change))
    assert len(pictures) == 1
    assert reasons == {"member_missing": 1, "digest_mismatch": 1, "name_invalid": 1, "manifest_invalid": 1}


def test_manifest_of_a_later_version(store):
    """It is refused instead of half understood."""
    add(store, "a", b"1")
    assert refused(changed_manifest(written(store), lambda values: values.update(version=2))) == "archive_version"


@pytest.mark.parametrize("text", ["[]", "{", "[" * 100_000, '{"format": "coco"}', "{}"])
def test_manifest_of_somebody_else(text):
    """A file of that name that isn't ours is a file among others."""
    assert taken(zipped([("a/1.jpg", b"1"), (MANIFEST, text)])) == ([("a", b"1")], {"not_a_picture": 1})


@pytest.mark.parametrize("damage", [lambda text: text[:-9], lambda text: text[40:], lambda text: b"\0" * len(text)])
def test_manifest_of_ours_that_is_damaged(store, damage):
    """Names, origins and groups would be lost without a word, so it is refused; without it, folders are classes."""
    add(store, "a?", b"1", np.ones(4, np.float32))
    with zipfile.ZipFile(written(store)) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    files[MANIFEST] = damage(files[MANIFEST])
    assert refused(zipped(list(files.items()))) == "archive_damaged"
    del files[MANIFEST]
    assert [label for label, _ in taken(zipped(list(files.items())))[0]] == ["a%3F"]


@pytest.mark.parametrize(
    "change",
    [
        lambda values: values.update(examples=None),
        lambda values: values.update(examples={}),
        lambda values: values.pop("examples"),
        lambda values: values.update(format="other"),
    ],
)
def test_manifest_of_ours_that_says_nothing(store, change):
    """An archive with pictures is not taken for an empty one, and its classes are not guessed."""
    add(store, "a", b"1", np.ones(4, np.float32))
    assert refused(changed_manifest(written(store), change)) == "archive_damaged"


def test_ours_packed_anew(store):
    """Unpacked and packed again, in a folder and as a tar, it still is ours."""
    add(store, "a?", b"1", None, "walk")
    with zipfile.ZipFile(written(store)) as archive:
        files = [("my data/" + name, archive.read(name)) for name in archive.namelist()]
    for file in (zipped(files), tarred(files, pack=gzip.compress)):
        (one,) = Contents(file, LIMITS, INFO).pictures()
        assert (one.class_name, one.data, one.origin[:3]) == ("a?", b"1", ("upload", "walk", None))


names = st.text(st.characters(blacklist_categories=("Cs",)), min_size=1, max_size=100)


def _is_name(name):
    try:
        return check_name(name) == name
    except Invalid:
        return False


@given(st.lists(names.filter(_is_name), min_size=1, max_size=8, unique=True))
@example(["Cat", "cat", "CAT", "cat~2"])
@example(["con", "CON.txt", "embeddings", "manifest.json", ".hidden", "~", "x.", "__MACOSX", "~2", "%41", "A"])
@example(["\u00e9", "e\u0301", "\U0001f408" * 100, "\U0001f408" * 99, "a" * 100])
def test_folder_names(given_names):
    """Whatever classes are called: folders that every file system takes, no two the same without regard to case."""
    folders = folder_names(given_names)
    assert len({folder.casefold() for folder in folders}) == len(given_names)
    for folder in folders:
        assert 1 <= len(folder.encode()) <= 130
        assert not set(folder) & set('<>:"/\\|?*')
        assert folder.isprintable()
        assert folder[0] not in ". " and folder[-1] not in ". "
        assert folder.split(".")[0].lower() not in ("con", "prn", "aux", "nul", "com1", "embeddings")
        assert folder.lower() != MANIFEST


FOREIGN = [
    ("cat/1.jpg", b"1"),
    ("cat/2.JPEG", b"2"),
    ("dog/1.png", b"3"),
    ("README.txt", b"x"),
    ("cat/.DS_Store", b"x"),
    ("__MACOSX/cat/._1.jpg", b"x"),
    ("dog/Thumbs.db", b"x"),
    ("dog/notes.csv", b"x"),
]
EXPECTED = [("cat", b"1"), ("cat", b"2"), ("dog", b"3")], {"not_a_picture": 2, "hidden_file": 3}


@pytest.mark.parametrize("above", ["", "set/", "./set/", "set\\", "the/whole/set/"])
def test_a_folder_a_class(above):
    """Folders in common above the classes do not matter, nor does what is no picture."""
    files = [(above + name, data) for name, data in FOREIGN]
    assert taken(zipped(files)) == EXPECTED
    assert taken(zipped(files, zipfile.ZIP_DEFLATED)) == EXPECTED


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize("packer", PACKERS)
def test_tar_flavours(form, packer):
    """Plain or packed, of any format, with long and with foreign names."""
    long = "l" * 90 + "/" + "n" * 90 + ".jpg"
    umlaut = "K\u00e4se/1.jpg"
    file = tarred([*FOREIGN, (long, b"4"), (umlaut, b"5")], form, PACKERS[packer])
    pictures, reasons = taken(file)
    assert pictures == [("K\u00e4se", b"5"), *EXPECTED[0], ("l" * 90, b"4")]
    assert reasons == EXPECTED[1]


def test_pictures_at_no_or_too_many_folders():
    """Without a folder a class it is not guessed which class is meant."""
    files = [("1.jpg", b"1"), ("train/cat/1.jpg", b"2"), ("cat/1.jpg", b"3")]
    assert taken(zipped(files)) == ([("cat", b"3")], {"no_class_folder": 1, "folder_too_deep": 1})


def test_names_from_a_mac():
    """An accent behind its letter, as a Mac packs it, makes no second class; nor do bytes not said to be UTF-8."""
    decomposed = "Ka\u0308se"
    assert taken(zipped([(decomposed + "/1.jpg", b"1")])) == ([("K\u00e4se", b"1")], {})
    file = zipped([("K__se/1.jpg", b"1")])
    unmarked = io.BytesIO(file.getvalue().replace(b"K__se", "K\u00e4se".encode()))
    assert taken(unmarked) == ([("K\u00e4se", b"1")], {})


UNSAFE = ["../a/1.jpg", "/a/1.jpg", "a/../../1.jpg", "C:/a/1.jpg", "\\a\\1.jpg", "..\\a\\1.jpg"]


@pytest.mark.parametrize("name", UNSAFE)
def test_names_that_lead_elsewhere(name):
    """They are refused and counted, the others taken."""
    files = [(name, b"x"), ("cat/1.jpg", b"1")]
    for file in (zipped(files), tarred(files)):
        assert taken(file) == ([("cat", b"1")], {"path_unsafe": 1})


def test_links_and_devices():
    """Only files are read."""
    files = [("cat/1.jpg", b"1")]
    for number, kind in enumerate((tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE)):
        info = tarfile.TarInfo(f"cat/x{number}.jpg")
        info.type, info.linkname = kind, "/etc/passwd"
        files.append((info, b""))
    assert taken(tarred(files)) == ([("cat", b"1")], {"link_refused": 2, "device_refused": 2})
    link, device = zipfile.ZipInfo("cat/x.jpg"), zipfile.ZipInfo("cat/y.jpg")
    link.external_attr, device.external_attr = (stat.S_IFLNK | 0o777) << 16, (stat.S_IFCHR | 0o666) << 16
    file = zipped([("cat/1.jpg", b"1"), (link, b"/etc/passwd"), (device, b"")])
    assert taken(file) == ([("cat", b"1")], {"link_refused": 1, "device_refused": 1})


def test_a_member_that_is_too_large():
    """It alone is refused, whatever its header says, and never unpacked whole."""
    files = [("cat/0.jpg", bytes(LIMITS.member_bytes + 1)), ("cat/1.jpg", b"1")]
    for file in (zipped(files, zipfile.ZIP_DEFLATED), tarred(files, pack=gzip.compress)):
        assert taken(file) == ([("cat", b"1")], {"member_too_large": 1})
    lying = bytearray(zipped(files, zipfile.ZIP_DEFLATED).getvalue())
    place = lying.index(b"PK\x01\x02")
    lying[place + 24 : place + 28] = struct.pack("<L", 5)
    assert taken(io.BytesIO(bytes(lying)))[0] == [("cat", b"1")]


@pytest.mark.parametrize("packer", ["gz", "bz2", "xz"])
def test_a_tar_bomb(packer):
    """Many times its size: it is given up at the limit, and nothing of it is taken."""
    file = tarred([("cat/1.jpg", b"1"), ("junk.bin", bytes(LIMITS.total_bytes))], pack=PACKERS[packer])
    assert refused(file) == "archive_too_large"


def test_a_zip_bomb():
    """What is read is counted over all members."""
    files = [(f"cat/{number}.jpg", bytes(LIMITS.member_bytes)) for number in range(101)]
    assert refused(zipped(files, zipfile.ZIP_DEFLATED)) == "archive_too_large"


def test_too_many_members():
    """They are counted before anything is made of them, whatever the end of a zip says of their number."""
    files = [(f"cat/{number}.jpg", b"") for number in range(LIMITS.members + 1)]
    assert refused(zipped(files)) == "archive_too_large"
    assert refused(tarred(files)) == "archive_too_large"
    lying = bytearray(zipped(files).getvalue())
    place = lying.rindex(b"PK\x05\x06")
    lying[place + 8 : place + 12] = struct.pack("<HH", 1, 1)
    assert refused(io.BytesIO(bytes(lying))) == "archive_too_large"


def test_a_tar_with_an_endless_name():
    """A name takes no memory beyond what names need."""
    info = tarfile.TarInfo("x")
    info.type = tarfile.GNUTYPE_LONGNAME
    assert refused(tarred([(info, bytes(1 << 20))])) == "archive_damaged"


def test_an_xz_that_wants_memory():
    """A packer's dictionary of gigabytes is not given."""
    filters = [{"id": lzma.FILTER_LZMA2, "dict_size": 1 << 29, "preset": 0}]
    packed = lzma.compress(tarred(FOREIGN).getvalue(), filters=filters)
    assert refused(io.BytesIO(packed)) == "archive_damaged"


def test_several_xz_in_a_row():
    """As some packers write them."""
    plain = tarred(FOREIGN).getvalue()
    assert taken(io.BytesIO(lzma.compress(plain[:700]) + lzma.compress(plain[700:]))) == EXPECTED


def test_encrypted_members():
    """They are refused one by one."""
    data = bytearray(zipped([("cat/0.jpg", b"0"), ("cat/1.jpg", b"1")]).getvalue())
    data[data.index(b"PK\x01\x02") + 8] |= 1
    assert taken(io.BytesIO(bytes(data))) == ([("cat", b"1")], {"member_encrypted": 1})


def test_members_packed_in_other_ways():
    """Only what is known to be harmless is unpacked."""
    file = zipped([("cat/0.jpg", bytes(1000))], zipfile.ZIP_LZMA)
    assert taken(file) == ([], {"member_compression": 1})


def test_damaged_members():
    """One whose check sum is wrong is refused, the others are taken."""
    data = zipped([("cat/0.jpg", b"tiger"), ("cat/1.jpg", b"1")]).getvalue().replace(b"tiger", b"tigre")
    assert taken(io.BytesIO(data)) == ([("cat", b"1")], {"member_damaged": 1})


@pytest.mark.parametrize("packer", PACKERS)
def test_truncated_tars(packer):
    """Cut off anywhere they are refused before anything is taken; a plain one between two files is just shorter."""
    data = tarred([(f"cat/{number}.jpg", bytes(900)) for number in range(3)], pack=PACKERS[packer]).getvalue()
    for share in (0.3, 0.6) if packer != "tar" else (0.11, 0.25):
        assert refused(io.BytesIO(data[: int(len(data) * share)])) == "archive_damaged"


def test_truncated_zips():
    """Cut off they have no list of members: refused at first glance."""
    data = zipped(FOREIGN).getvalue()
    for end in range(100, len(data), 50):
        with pytest.raises(ArchiveUnusable):
            check_archive(io.BytesIO(data[:end]))


@pytest.mark.parametrize("data", [b"", b"x", b"\xff\xd8\xff" + bytes(1000), bytes(1024), b"%PDF-1.4" + bytes(1000)])
def test_no_archives(data):
    """Anything else is said to be none."""
    with pytest.raises(ArchiveUnusable) as error:
        check_archive(io.BytesIO(data))
    assert error.value.code == "archive_unsupported"


SEEDS = [zipped(FOREIGN).getvalue(), zipped(FOREIGN, zipfile.ZIP_DEFLATED).getvalue()]
SEEDS += [tarred(FOREIGN, pack=pack).getvalue() for pack in PACKERS.values()]


@given(st.sampled_from(SEEDS), st.lists(st.tuples(st.integers(0, 1 << 16), st.integers(0, 255)), max_size=12))
def test_whatever_comes(seed, changes):
    """Bytes changed anywhere give pictures, reasons or one clear refusal; never another error."""
    data = bytearray(seed)
    for place, value in changes:
        data[place % len(data)] = value
    try:
        pictures, _ = taken(io.BytesIO(bytes(data)))
    except ArchiveUnusable:
        return
    assert all(check_name(name) == name for name, _ in pictures)


def test_contents_in_archive_order():
    """Members are read in the order asked for from a zip, in its own order from a tar; each once."""
    files = [(f"a/{number}.jpg", b"%d" % number) for number in range(3)]
    for file, expected in ((zipped(files), [2, 0]), (tarred(files), [0, 2])):
        container = open_container(file, LIMITS)
        assert [(one.index, one.data) for one in container.contents([2, 0])] == [(i, b"%d" % i) for i in expected]


def test_incoming(store):
    """What is kept is there under its job's name, what is discarded is gone, and a start sweeps what nobody owns."""
    folder, files = store.folder / "incoming", [store.incoming.spool() for _ in range(3)]
    for file in files:
        file.write(b"archive")
    job = store.jobs.add("import", {})
    store.incoming.keep(files[0], job.id)
    store.incoming.keep(files[1], "nobody")
    for file in files[:2]:
        store.incoming.discard(file)
    assert len(list(folder.iterdir())) == 3
    store.sweep()
    assert [path.name for path in folder.iterdir()] == [job.id]
    with store.incoming.open(job.id) as file:
        assert file.read() == b"archive"
    store.incoming.discard(files[2])
    store.incoming.remove(job.id)
    store.incoming.remove(job.id)
    with pytest.raises(NotFound):
        store.incoming.open(job.id)
