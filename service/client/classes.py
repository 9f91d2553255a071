"""Calls about classes."""

from typing import Any, Dict, List

from service.client.answers import ListedClass, listed_class
from service.client.calls import Calls
from service.client.transport import path_of


class Classes(Calls):
    """Listing, adding, renaming, merging and deleting classes."""

    def classes(self) -> List[ListedClass]:
        """Every class."""
        return [self._transport.made(listed_class, one) for one in self._transport.pages("/v1/classes")]

    def get_class(self, name: str) -> ListedClass:
        """One class."""
        return self._transport.made(listed_class, self._transport.json("GET", path_of("classes", name)))

    def create_class(self, name: str) -> ListedClass:
        """Add a class without examples."""
        return self._transport.made(listed_class, self._transport.json("POST", "/v1/classes", {"name": name}))

    def rename_class(self, name: str, new_name: str) -> ListedClass:
        """Give a class another name; it needs no training."""
        return self._transport.made(
            listed_class, self._transport.json("PATCH", path_of("classes", name), {"name": new_name})
        )

    def merge_class(self, name: str, into: str) -> ListedClass:
        """Move the examples of a class into another one, which is returned."""
        return self._transport.made(
            listed_class, self._transport.json("PATCH", path_of("classes", name), {"name": into}, query={"merge": True})
        )

    def delete_class(self, name: str) -> Dict[str, Any]:
        """Remove a class with its examples."""
        return self._transport.json("DELETE", path_of("classes", name))
