"""What of a view can't be read from its code, stated beside it.

`describes` only attaches it to the function; `openapi` makes the document of it.
"""

from typing import Any, Callable, Dict, NamedTuple, Optional, Sequence, Tuple, TypeVar, Union

Schema = Dict[str, Any]
View = TypeVar("View", bound=Callable)


class Media(NamedTuple):
    """What a body consists of: JSON of a schema, or bytes of one of the types.

    schema : None for bytes; headers : of the answer, a description each
    """

    schema: Any = None
    types: Tuple[str, ...] = ("application/json",)
    headers: Optional[Dict[str, str]] = None
    required: bool = True


class Parameter(NamedTuple):
    """Something in the query or in a header."""

    name: str
    schema: Schema
    text: str
    required: bool = False
    place: str = "query"


class Description(NamedTuple):
    """All that is stated beside a view, see `describes`."""

    answers: Dict[int, Any]
    query: Tuple[Parameter, ...]
    body: Any


def describes(
    answers: Dict[int, Union[str, Schema, Media, Sequence[str], None]],
    query: Sequence[Parameter] = (),
    body: Union[str, Schema, Media, None] = None,
) -> Callable[[View], View]:
    """Attach a description to a view.

    answers : by status. Up to 399 what the answer holds: the name of a schema, a schema, a `Media` or, for
        nothing, None. From 400 on the code or codes of the problem. What any request may be refused with,
        because of its token, its size and so on, is not repeated.
    query : what the query may hold, and headers of this route alone
    body : as an answer; None when there is none
    """

    def attach(view: View) -> View:
        view.description = Description(answers, tuple(query), body)
        return view

    return attach
