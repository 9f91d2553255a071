"""Clients that change what is taught at random, and keep books of what was acknowledged.

Each client has classes and pictures of its own and asks for one thing at a time. So whenever the
daemon is gone, what it has of a client is what was acknowledged last, or that with the one change
whose answer never came; anything else is wrong.
"""

import hashlib
import http.client
import json
import os
import random
import threading
import time
from typing import Any, Callable, Dict, FrozenSet, List, NamedTuple, Optional, Tuple, Union

from coral_learn.training import INCREMENTAL

# Taken out of the environment, because the daemon takes every such variable for a setting.
LONG = os.environ.pop("CORAL_LEARN_LONG", "") == "1"

MOST = 40  # examples of one client, so that reading all their pictures stays quick
LOST = (OSError, http.client.HTTPException, ValueError)  # ValueError: an answer cut off in its JSON
ENDED = ("succeeded", "failed", "cancelled", "interrupted")
LIVE = "live"
TRAINABLE = ("softmax", *sorted(INCREMENTAL))


class State(NamedTuple):
    """What a client knows to be stored: its classes, and the class and the picture's sha256 of each example."""

    classes: FrozenSet[str]
    examples: Dict[str, Tuple[str, str]]

    def taught(self, example: str, name: str, sha256: str) -> "State":
        """With an example, new or in another class."""
        return State(self.classes | {name}, {**self.examples, example: (name, sha256)})

    def without(self, example: str) -> "State":
        """Without an example."""
        return State(self.classes, {one: facts for one, facts in self.examples.items() if one != example})

    def renamed(self, name: str, new_name: str) -> "State":
        """With a class by another name."""
        found = {one: (new_name if was == name else was, sha256) for one, (was, sha256) in self.examples.items()}
        return State((self.classes - {name}) | {new_name}, found)


class Teacher:
    """A client that uploads, moves, deletes, renames and takes back.

    state : as acknowledged; pending : as it is if the change was made whose answer never came, with the example ""
    for one whose id was not told; changes : acknowledged so far; failed : answers 500 and 507 so far
    """

    def __init__(self, number: int, pictures: List[bytes]):
        self._prefix, self._pictures = f"client {number}: ", pictures
        self._numbers = iter(range(10**9))
        self.state, self.pending = State(frozenset(), {}), None  # type: State, Optional[State]
        self._undoable: Optional[Tuple[int, State]] = None
        self.changes, self.failed = 0, 0

    def owns(self, name: str) -> bool:
        """Whether a class is this client's."""
        return name.startswith(self._prefix)

    def step(self, daemon, dice: random.Random) -> bool:
        """Ask for one change; False when it can't be known whether it was made."""
        actions = [self._delete, self._delete, self._upload]
        if len(self.state.examples) < MOST:
            actions = [*[self._upload] * 9, *[self._move] * 4, *[self._delete] * 3, *[self._rename] * 2]
            actions += [self._undo] * 4
        action = dice.choice(actions if self.state.examples else [self._upload])
        try:
            reply = action(daemon, dice)
        except LOST:
            return False
        if reply is not None and reply.status in (500, 507):
            self.failed += 1
            return False
        assert reply is None or reply.status in (200, 201, 404, 409, 503), (action, reply.status, reply.body)
        self.pending = None
        return True

    def settle(self, there: State) -> None:
        """Compare with what is there; what could not be known is known then."""
        allowed = [self.state] if self.pending is None else [self.state, self.pending]
        facts = sorted(there.examples.values())
        assert any(
            there.classes == one.classes
            and facts == sorted(one.examples.values())
            and set(one.examples) - {""} <= set(there.examples)
            for one in allowed
        ), f"there is {there}, known is one of {allowed}"
        self.state, self.pending, self._undoable = there, None, None

    def _upload(self, daemon, dice):
        name, data = f"{self._prefix}{dice.randrange(4)}", dice.choice(self._pictures)
        sha256 = hashlib.sha256(data).hexdigest()
        known = [one for one, facts in self.state.examples.items() if facts == (name, sha256)]
        if not known:
            self.pending = self.state.taught("", name, sha256)
        reply = daemon.teach(name, data)
        if reply.status == 201:
            (accepted,) = reply.json["accepted"]
            assert accepted["duplicate"] == bool(known)
            assert accepted["sha256"] == sha256
            assert not known or known == [accepted["id"]]
            self._done(reply, self.state.taught(accepted["id"], name, sha256))
        return reply

    def _move(self, daemon, dice):
        example, name = dice.choice(sorted(self.state.examples)), f"{self._prefix}{dice.randrange(4)}"
        was, sha256 = self.state.examples[example]
        taken = (name, sha256) in self.state.examples.values()
        if not taken:
            self.pending = self.state.taught(example, name, sha256)
        reply = daemon.ask("PATCH", f"/v1/examples/{example}", json.dumps({"class": name}).encode())
        assert reply.status != 409 or (taken and was != name), reply.body
        if reply.status == 200:
            self._done(reply, self.state.taught(example, name, sha256))
        return reply

    def _delete(self, daemon, dice):
        example, forever = dice.choice(sorted(self.state.examples)), dice.random() < 0.5
        self.pending = self.state.without(example)
        reply = daemon.delete(f"/v1/examples/{example}" + "?forever=true" * forever)
        assert reply.status != 404, f"{example} is gone before it was deleted"
        if reply.status == 200:
            self._done(reply, self.pending, forever)
        return reply

    def _rename(self, daemon, dice):
        name = dice.choice(sorted(self.state.classes))
        new_name = f"{self._prefix}{dice.randrange(4)}"
        if new_name in self.state.classes:
            new_name = f"{self._prefix}another {next(self._numbers)}"
        self.pending = self.state.renamed(name, new_name)
        address = "/v1/classes/" + name.replace(" ", "%20")
        reply = daemon.ask("PATCH", address, json.dumps({"name": new_name}).encode())
        assert reply.status != 404, f"the class {name!r} is gone"
        if reply.status == 200:
            self._done(reply, self.pending)
        return reply

    def _undo(self, daemon, _):
        if self._undoable is None:
            return None
        step, before = self._undoable
        self.pending, self._undoable = before, None
        reply = daemon.post_json("/v1/undo", {"step": step})
        if reply.status == 200:
            self._done(reply, before, True)
        return reply

    def _done(self, reply, after: State, for_good: bool = False) -> None:
        step = reply.json.get("step")
        if step is not None:
            self._undoable = None if for_good else (step, self.state)
        self.state = after
        self.changes += 1


class Trainer:
    """A client that trains and activates.

    active : what answers, as acknowledged; pending : what may answer as well; jobs : the state of each, as last told
    """

    def __init__(self):
        self.active, self.pending = LIVE, None  # type: Union[str, int], Optional[Union[str, int]]
        self.jobs: Dict[str, str] = {}
        self.versions: List[int] = []
        self.waited: Optional[str] = None
        self.changes, self.failed, self.trained = 0, 0, 0

    def step(self, daemon, dice: random.Random) -> bool:
        """Train or activate; False when the daemon is gone."""
        try:
            status = self._train(daemon, dice) if dice.random() < 0.5 else self._activate(daemon, dice)
        except LOST:
            return False
        self.failed += status in (500, 507)
        return status not in (500, 507)

    def settle(self, daemon) -> None:
        """Compare with the jobs and versions that are there, once no job runs any more."""
        jobs = _all_pages(daemon, "/v1/jobs")
        found = {one["id"]: one for one in jobs}
        assert set(self.jobs) <= set(found), "an acknowledged job is gone"
        for job, told in self.jobs.items():
            assert told not in ENDED or found[job]["state"] == told, (told, found[job])
        made = {one["model"]["version"] for one in jobs if one["state"] == "succeeded"}
        interrupted = [one for one in jobs if one["state"] == "interrupted"]
        assert all(one["error"]["code"] == "interrupted" and one["finished"] for one in interrupted), interrupted
        assert {one["state"] for one in jobs} <= {"succeeded", "interrupted"}, jobs
        listed = [one["version"] for one in daemon.get("/v1/models?size=1000").json["items"]][1:]
        assert set(self.versions) | made <= set(listed)
        # A version whose job was cut off behind its publishing is whole; more than those there can't be.
        assert len(listed) <= len(made) + len(interrupted)
        for version in set(listed) - set(self.versions):
            assert daemon.get(f"/v1/models/{version}/report").status == 200
            assert daemon.get(f"/v1/models/{version}/labels.txt").status == 200
        active = daemon.get("/v1/status").json["model"]["version"]
        fresh = set(listed) - set(self.versions) if self.waited else set()
        assert active in {self.active, self.pending, *fresh} - {None}, (active, self.active, self.pending, fresh)
        self.active, self.pending, self.waited = active, None, None
        self.jobs, self.versions = {one["id"]: one["state"] for one in jobs}, listed

    def _train(self, daemon, dice) -> int:
        self.waited = "one"  # its id comes with the answer
        body: Dict[str, Any] = {"activate": "always", "head": dice.choice(TRAINABLE)}
        if body["head"] == "softmax":
            body["epochs"] = 5
        reply = daemon.post_json("/v1/train", body)
        assert reply.status in (202, 500, 507), reply.body
        if reply.status != 202:
            self.waited = None
            return reply.status
        self.changes += 1
        self.waited = job = reply.json["id"]
        self.jobs[job] = reply.json["state"]
        while self.jobs[job] not in ENDED:
            time.sleep(0.05)
            now = daemon.get(f"/v1/jobs/{job}")
            if now.status != 200:
                return now.status
            self.jobs[job] = now.json["state"]
        assert self.jobs[job] in ("succeeded", "failed"), now.json
        if self.jobs[job] == "failed":
            return 500
        self.active, self.waited = now.json["model"]["version"], None
        self.versions.append(self.active)
        self.trained += 1
        return 200

    def _activate(self, daemon, dice) -> int:
        chosen = dice.choice([LIVE, *self.versions[-5:]])
        self.pending = chosen
        head = {"head": dice.choice(sorted(INCREMENTAL))} if chosen == LIVE and dice.random() < 0.5 else {}
        reply = daemon.post_json(f"/v1/models/{chosen}/activate", head)
        assert reply.status in (200, 500, 503, 507), reply.body
        if reply.status == 200:
            assert reply.json["model"]["version"] == chosen
            self.active = chosen
            self.changes += 1
        if reply.status in (200, 503):
            self.pending = None
        return reply.status


class Load:
    """Clients at work, each in a thread of its own, until the daemon is gone or `rest` is called."""

    def __init__(self, daemon, clients: List[Union[Teacher, Trainer]], seed: int):
        self._resting = threading.Event()
        self._errors: List[BaseException] = []
        self._threads = [
            threading.Thread(target=self._work, args=(daemon, client, random.Random(seed + number)))
            for number, client in enumerate(clients)
        ]
        for thread in self._threads:
            thread.start()

    def rest(self) -> None:
        """Wait until every client has stopped; what one stumbled over is raised here."""
        self._resting.set()
        for thread in self._threads:
            thread.join(120)
            assert not thread.is_alive(), "a client waits for ever"
        if self._errors:
            raise self._errors[0]

    def _work(self, daemon, client, dice: random.Random) -> None:
        try:
            while not self._resting.is_set() and client.step(daemon, dice):
                pass
        except BaseException as error:
            self._errors.append(error)


def check_books(daemon, teachers: List[Teacher], trainer: Optional[Trainer] = None, picture: bytes = b"") -> None:
    """What is there is what the clients know; counts agree, pictures can be read, the answering model answers.

    picture : one to be classified
    """
    _wait_for_jobs(daemon)
    examples, classes = _all_pages(daemon, "/v1/examples"), _all_pages(daemon, "/v1/classes")
    counts = {one["name"]: one["examples"] for one in classes}
    assert len(counts) == len(classes)
    for name, count in counts.items():
        assert count == sum(one["class"] == name for one in examples), name
    told = daemon.get("/v1/status").json["counts"]
    assert (told["examples"], told["classes"]) == (len(examples), len(classes))
    for teacher in teachers:
        known = {one["id"]: (one["class"], one["sha256"]) for one in examples if teacher.owns(one["class"])}
        teacher.settle(State(frozenset(filter(teacher.owns, counts)), known))
    read_pictures(daemon, examples)
    if trainer is not None:
        trainer.settle(daemon)
    folder = daemon.data_dir
    versions = len(daemon.get("/v1/models?size=1000").json["items"]) - 1
    assert len(list((folder / "models").iterdir())) == versions, "there is an unfinished version"
    if picture:
        answer = daemon.classify(picture)
        assert answer.status == 200, answer.body
        assert answer.json["class"] in {None, *counts}
        assert answer.json["model"] == {
            name: value for name, value in daemon.get("/v1/status").json["model"].items() if name != "unseen"
        }


def read_pictures(daemon, examples: List[Dict[str, Any]]) -> None:
    """Every listed picture can be read and is what was uploaded."""
    connection = daemon.connect()
    try:
        for one in examples:
            connection.request("GET", f"/v1/examples/{one['id']}/image")
            response = connection.getresponse()
            data = response.read()
            assert response.status == 200, (one, data)
            assert hashlib.sha256(data).hexdigest() == one["sha256"]
    finally:
        connection.close()


def check_start_changes_nothing(daemon, pictures: List[bytes], restart: Callable[[], None]) -> None:
    """The live model built anew says what the one said that lived through every change."""
    assert daemon.post_json(f"/v1/models/{LIVE}/activate", {}).status == 200
    before = [daemon.classify(data).json["predictions"] for data in pictures]
    restart()
    after = [daemon.classify(data).json["predictions"] for data in pictures]
    assert after == before


def _wait_for_jobs(daemon) -> None:
    daemon.wait_for(
        lambda: all(one["state"] in ENDED for one in _all_pages(daemon, "/v1/jobs")), 60, "the end of the jobs"
    )


def _all_pages(daemon, path: str) -> List[Dict[str, Any]]:
    found: List[Dict[str, Any]] = []
    page, total = 0, 1
    while page * 1000 < total:
        listed = daemon.get(f"{path}?size=1000&page={page}").json
        found += listed["items"]
        page, total = page + 1, listed["total"]
    assert total == len(found)
    return found
