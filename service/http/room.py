"""What may be done on a disk that is as full as it may get: nothing that adds to it.

Below the floor (--min-free-mb) whatever changes something is refused, save what takes something away and what only
says which of the things that are there is used. Deleting and undoing go on with no byte left, too: what has no room to
be done gets the store's reserve and is done again.
"""

import functools
import logging
from typing import Callable

from flask import Flask, request

from service.errors import StoreError, StoreFull
from service.http.access import SAFE_METHODS
from service.http.problems import speaks_protocol
from service.store import Store

log = logging.getLogger(__name__)

_UNDO = "journal.undo"
# Settings see for themselves: some make room.
_NEED_NO_ROOM = (_UNDO, "classify.classify", "session.sign_in", "models.activate", "settings.change_settings")


def register(app: Flask, store: Store) -> None:
    """Have changing requests looked at, and give those that take away the reserve. Call when all views are there."""
    app.before_request(functools.partial(_check_room, store))
    for rule in app.url_map.iter_rules():
        if "DELETE" in rule.methods or rule.endpoint == _UNDO:
            app.view_functions[rule.endpoint] = _with_reserve(app.view_functions[rule.endpoint], store)


def _check_room(store: Store) -> None:
    """Raise `StoreFull` for a request that may add something, below the floor."""
    nothing_there = request.url_rule is None  # neither the path nor the method
    reads = request.method in SAFE_METHODS or speaks_protocol(request.path)
    if not (nothing_there or reads or request.method == "DELETE" or request.endpoint in _NEED_NO_ROOM):
        store.must_have_room()


def _with_reserve(view: Callable, store: Store) -> Callable:
    @functools.wraps(view)
    def deleting(**arguments):
        try:
            answer = view(**arguments)
        except StoreError as error:  # nothing was changed, so it can be done again
            if not (isinstance(error, StoreFull) or store.is_full) or not store.reserve.release():
                raise
            log.warning("the disk of %s is full; the reserve was released to delete something", store.folder)
            answer = view(**arguments)
        store.keep_reserve()
        return answer

    return deleting
