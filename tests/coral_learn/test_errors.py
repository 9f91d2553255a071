"""coral_learn/errors.py: the tree in its docstring is the tree of its classes."""

import builtins
import inspect
import re

import pytest

from coral_learn import errors


def drawn():
    """Each line of the drawing: name, parent's name, names of builtins."""
    path = []
    for line in errors.__doc__.splitlines():
        match = re.match(r"(?P<indent>(?:[|` -]{4})*)(?P<name>\w+)(?: \((?P<builtins>[\w, ]+)\))?(?:  .*)?$", line)
        if match and (path or match.group("name") == "CoralLearnError"):
            depth = len(match.group("indent")) // 4
            path[depth:] = [match.group("name")]
            named = (match.group("builtins") or "").split(", ") if match.group("builtins") else []
            yield match.group("name"), path[depth - 1] if depth else None, named


TREE = {name: (parent, named) for name, parent, named in drawn()}
CLASSES = {
    name: cls
    for name, cls in vars(errors).items()
    if inspect.isclass(cls) and issubclass(cls, BaseException) and cls.__module__ == errors.__name__
}


def test_every_error_is_drawn():
    """No error class is missing in the drawing, and none drawn is missing."""
    assert sorted(TREE) == sorted(CLASSES)
    assert len(TREE) > 20


@pytest.mark.parametrize("name", sorted(CLASSES))
def test_error_is_what_is_drawn(name):
    """Each error derives from the one above it and from the builtins named, and from no other but theirs."""
    parent, named = TREE[name]
    bases = {base.__name__ for base in CLASSES[name].__bases__}

    assert bases == {parent or "Exception", *named}
    assert all(issubclass(getattr(builtins, builtin), Exception) for builtin in named)
    assert CLASSES[name].__doc__


@pytest.mark.parametrize("name", sorted(CLASSES))
def test_error_prints_its_sentence(name):
    """An error's text is the sentence it was made with, as no builtin base changes it."""
    assert str(CLASSES[name]("no class 'x' here")) == "no class 'x' here"
