"""Deleting on a full disk: what has no room to be done gets the store's reserve and is done again."""

import functools
import logging
from typing import Callable

from flask import Flask

from service.errors import StoreError, StoreFull
from service.store import Store

log = logging.getLogger(__name__)


def register(app: Flask, store: Store) -> None:
    """Give every view that deletes the reserve. Call when all views are there."""
    for rule in app.url_map.iter_rules():
        if "DELETE" in rule.methods:
            app.view_functions[rule.endpoint] = _with_reserve(app.view_functions[rule.endpoint], store)


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
