"""Long runs: many kills under load, and the clients' own books afterwards."""

import http.client
import random
import threading

import pytest

KILLS = 25
CLIENTS = 3


class Books:
    """What one client knows to be stored or gone, and what it can't know because the answer never came."""

    def __init__(self):
        self.stored, self.gone, self.unsure = set(), set(), set()


def work(daemon, books: Books, seed: int, pictures, stopping: threading.Event) -> None:
    """Upload and delete at random until the daemon is gone."""
    dice = random.Random(seed)
    while not stopping.is_set():
        try:
            if books.stored and dice.random() < 0.3:
                example = dice.choice(sorted(books.stored))
                books.stored.discard(example)
                books.unsure.add(example)
                if daemon.delete(f"/v1/examples/{example}").status == 200:
                    books.unsure.discard(example)
                    books.gone.add(example)
            else:
                reply = daemon.teach(f"class {dice.randrange(4)}", dice.choice(pictures))
                if reply.status == 201:
                    books.stored.update(one["id"] for one in reply.json["accepted"] if not one["duplicate"])
        except (OSError, http.client.HTTPException):
            return


@pytest.mark.slow
def test_books_agree_after_many_kills(tiny_daemon, make_picture, encode):
    """25 times killed with -9 at a random moment: every acknowledged upload is there, no deleted one is."""
    books = [Books() for _ in range(CLIENTS)]
    sets = [
        [encode(make_picture((60 * client, 90, 30), 1000 * client + number), "PNG") for number in range(200)]
        for client in range(CLIENTS)
    ]
    dice = random.Random(7)
    for kill in range(KILLS):
        stopping = threading.Event()
        clients = [
            threading.Thread(
                target=work, args=(tiny_daemon, books[number], 100 * kill + number, sets[number], stopping)
            )
            for number in range(CLIENTS)
        ]
        for client in clients:
            client.start()
        threading.Event().wait(dice.uniform(0.05, 0.8))
        tiny_daemon.kill()
        stopping.set()
        for client in clients:
            client.join(60)
        tiny_daemon.start()
        tiny_daemon.wait_ready()

        listed = tiny_daemon.get("/v1/examples?size=1000").json
        there = {one["id"] for one in listed["items"]}
        assert listed["total"] == len(there)
        for book in books:
            assert book.stored <= there
            assert not book.gone & there
            book.stored |= book.unsure & there
            book.unsure.clear()
        known = set().union(*(book.stored for book in books))
        # A picture whose upload was cut off may be there all the same; nobody else's may.
        for example in there - known:
            books[0].stored.add(example)
            assert tiny_daemon.get(f"/v1/examples/{example}/image").status == 200
        assert sum(one["examples"] for one in tiny_daemon.get("/v1/classes").json["items"]) == len(there)
