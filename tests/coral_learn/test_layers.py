"""Which part may know which, and what the package shows."""

import ast
import doctest
import importlib
import inspect
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import coral_learn

PACKAGE = Path(coral_learn.__file__).resolve().parent
MODULES = sorted(PACKAGE.rglob("*.py"))
# part : what it must not import
FORBIDDEN = {
    "": ("service", "flask", "werkzeug", "waitress", "sqlite3", "socket", "threading"),
    "runtime": ("coral_learn.heads", "coral_learn.training", "coral_learn.extractor", "coral_learn.classifier"),
    "extractor.py": ("coral_learn.heads", "coral_learn.training", "coral_learn.classifier"),
    "image.py": ("coral_learn.heads", "coral_learn.training", "coral_learn.runtime", "coral_learn.extractor"),
    "heads": ("coral_learn.runtime", "coral_learn.extractor", "coral_learn.image", "coral_learn.training"),
    "training": ("coral_learn.runtime", "coral_learn.extractor", "coral_learn.image", "coral_learn.classifier"),
    "tflite_file": (
        "coral_learn.runtime",
        "coral_learn.extractor",
        "coral_learn.heads",
        "coral_learn.training",
        "coral_learn.image",
    ),
    "manifest.py": (
        "coral_learn.runtime",
        "coral_learn.extractor",
        "coral_learn.heads",
        "coral_learn.training",
        "coral_learn.image",
    ),
    "twins.py": ("coral_learn",),
    "errors.py": ("coral_learn",),
}
# Nothing else waits: a fake device that hangs has to.
EXCEPTIONS = {("runtime/fake.py", "threading")}


def imports(path):
    """The names a module imports, at its top or later: both `a.b` and `a.b.c` for `from a.b import c`."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            yield node.module
            for alias in node.names:
                yield f"{node.module}.{alias.name}"


def test_imports_are_seen():
    """The look at imports finds those that are there, inside functions as well."""
    assert {"coral_learn.heads", "coral_learn.heads.Head"} <= set(imports(PACKAGE / "classifier.py"))
    assert "cv2" in set(imports(PACKAGE / "image.py"))
    assert len(MODULES) > 15


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_layers(path):
    """The library knows nothing of the service; run-times and extractor, heads and training don't know each other."""
    name, seen = path.relative_to(PACKAGE).as_posix(), set(imports(path))
    for part, forbidden in FORBIDDEN.items():
        if part in ("", name, name.split("/")[0]):
            broken = {(name, other) for other in forbidden if any((one + ".").startswith(other + ".") for one in seen)}
            assert not broken - EXCEPTIONS


def public(module):
    """Names of a package that come from this library and don't start with an underscore; no constants."""
    values = {name: getattr(module, name) for name in dir(module)}
    return sorted(
        name
        for name, value in values.items()
        if not name.startswith("_")
        and not (inspect.ismodule(value) or name.isupper())
        and getattr(value, "__module__", "").startswith("coral_learn")
    )


@pytest.mark.parametrize("package", ["coral_learn", "coral_learn.heads", "coral_learn.runtime", "coral_learn.training"])
def test_all_is_sorted_and_complete(package):
    """`__all__` lists every public name of a package once, in order."""
    module = importlib.import_module(package)

    assert [name for name in module.__all__ if not name.isupper()] == public(module)


BLOCKED = """
import sys
for name in ("cv2", "PIL", "ai_edge_litert", "tflite_runtime", "pycoral"):
    sys.modules[name] = None
import coral_learn
import coral_learn.image, coral_learn.manifest, coral_learn.runtime.edgetpu

head = coral_learn.ImprintingHead(coral_learn.EmbeddingPipeline(2))
head.learn_many([[1, 0], [0, 1]], ["flat", "steep"])
trained = coral_learn.fit_softmax(head.pipeline, [[1, 0], [0, 1]], ["flat", "steep"])
assert head.predict([2, 1]) == trained.predict([2, 1]) == "flat"
try:
    coral_learn.Extractor(sys.argv[1], "cpu")
except coral_learn.CoralLearnError as error:
    print(type(error).__name__)
"""


def test_imports_without_its_dependencies(tiny_model):
    """Without run-time, OpenCV and Pillow the package imports and heads work; the extractor says what is missing."""
    command = [sys.executable, "-W", "error", "-c", BLOCKED, str(tiny_model)]
    ended = subprocess.run(command, stdout=subprocess.PIPE, check=True, cwd=str(PACKAGE.parent))

    assert ended.stdout == b"RuntimeMissing\n"


def test_name_that_is_none():
    """Said as for any module."""
    with pytest.raises(AttributeError, match="module 'coral_learn' has no attribute 'Clasifier'"):
        coral_learn.Clasifier  # noqa: B018


def test_importing_starts_nothing():
    """Importing the package loads nothing that takes long, and prints nothing."""
    code = "import sys, coral_learn; print(sorted(set(sys.argv[1:]) & set(sys.modules)))"
    heavy = ["numpy", "cv2", "PIL", "ai_edge_litert", "tflite_runtime", "pycoral", "flask", "sqlite3", "service"]
    ended = subprocess.run(
        [sys.executable, "-c", code, *heavy], stdout=subprocess.PIPE, check=True, cwd=str(PACKAGE.parent)
    )

    assert ended.stdout == b"[]\n"


EXAMPLES = ["coral_learn", "coral_learn.classifier", "coral_learn.extractor", "coral_learn.heads.imprinting"]


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_give_what_they_show(name):
    """The examples in docstrings work."""
    failed, attempted = doctest.testmod(importlib.import_module(name))

    assert attempted > 0
    assert failed == 0


def test_no_example_is_forgotten():
    """Every module with an example is in the list above."""
    names = ["coral_learn", *(found.name for found in pkgutil.walk_packages(coral_learn.__path__, "coral_learn."))]
    with_examples = [name for name in names if ">>> " in inspect.getsource(importlib.import_module(name))]

    assert sorted(with_examples) == EXAMPLES
