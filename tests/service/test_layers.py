"""No import runs up a floor of the house."""

import ast
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
# From the ground up; what stands together may import each other as long as there is no circle.
FLOORS = (
    {"errors", "addresses", "region", "standard_streams", "stderr", "v4l2", "report", "shared_pixels", "cores"},
    {
        "settings",
        "children",
        "systemd",
        "memory",
        "client",
        "progress",
        "logs",
        "metrics",
        "process",
        "temperature",
        "installing",
    },
    {"store", "pictures", "extraction", "camera", "watchdog"},
    {"learning", "demo", "model_files", "commands", "writing", "embedder", "preferences"},
    {"review"},
    {"live", "jobs", "calibrating", "mapping", "doctor", "reloading"},
    {"lessons"},
    {"capturing"},
    {"http", "readings"},
    {"assembly"},
    {"daemon"},
    {"__main__"},
)


def imports():
    """(file, part, imported part) of every import inside service."""
    for path in sorted((ROOT / "service").rglob("*.py")):
        part = path.relative_to(ROOT / "service").parts[0].replace(".py", "")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [node.module] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.module == "service":
                names = ["service." + alias.name for alias in node.names]
            for name in names:
                if name and name.startswith("service."):
                    yield path.name, part, name.split(".")[1]


def test_imports_run_down():
    """Each file imports from its own floor's folder or from floors below."""
    floor = {part: number for number, parts in enumerate(FLOORS) for part in parts}
    wrong = [
        (file, part, imported)
        for file, part, imported in imports()
        if part not in ("__init__", imported) and floor[imported] >= floor[part]
    ]
    assert wrong == []


def test_commands_load_no_web_framework():
    """Only the daemon needs one; to load it takes as long as all that a command does."""
    code = "import sys, service.__main__; sys.exit('flask' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, cwd=str(ROOT)).returncode == 0


def test_the_daemon_loads_no_run_time():
    """Only the extractor's process may import what loads TFLite."""
    loaders = {path.name for path in (ROOT / "service").rglob("*.py") if "import Extractor\n" in path.read_text()}
    assert loaders == {"child.py"}
