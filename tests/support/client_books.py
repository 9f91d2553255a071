"""Clients that upload and delete at random, and keep books of what was acknowledged."""

import http.client
import random
import threading
from typing import List


class Books:
    """What one client knows to be stored or gone, and what it can't know because the answer never came."""

    def __init__(self):
        self.stored, self.gone, self.unsure = set(), set(), set()


def work(daemon, books: Books, seed: int, pictures: List[bytes]) -> None:
    """Upload and delete at random until the daemon is gone."""
    dice = random.Random(seed)
    while True:
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


def check_books(daemon, books: List[Books]) -> None:
    """Every acknowledged upload is there, no acknowledged deletion came back, and nothing is half there."""
    there, page, total = set(), 0, 1
    while page * 1000 < total:
        listed = daemon.get(f"/v1/examples?size=1000&page={page}").json
        there |= {one["id"] for one in listed["items"]}
        page, total = page + 1, listed["total"]
    assert total == len(there)
    assert sum(one["examples"] for one in daemon.get("/v1/classes").json["items"]) == total
    for book in books:
        assert book.stored <= there
        assert not book.gone & there
        book.stored |= book.unsure & there
        book.unsure.clear()
    # What was cut off before its answer may be there all the same, but then as a whole.
    for example in there - set().union(*(book.stored for book in books)):
        assert daemon.get(f"/v1/examples/{example}/image").status == 200
        books[0].stored.add(example)


def let_work(daemon, books: List[Books], seed: int, pictures: List[List[bytes]]) -> List[threading.Thread]:
    """Start one client a book, each with pictures of its own; they end when the daemon is gone."""
    clients = [
        threading.Thread(target=work, args=(daemon, book, seed + number, pictures[number]))
        for number, book in enumerate(books)
    ]
    for client in clients:
        client.start()
    return clients
