"""The built wheel has everything it needs, wherever it is installed."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
CODE = """
import coral_learn, numpy, service.http.page, sys
assert coral_learn.__file__.startswith(sys.argv[1]), coral_learn.__file__
extractor = coral_learn.Extractor(device="cpu")
extractor.warm_up()
assert extractor.manifest.pretrained().weights.shape == (1000, 1280)
assert (service.http.page._FOLDER / "index.html").exists()
"""


@pytest.mark.slow
def test_wheel_works_from_any_directory(tmp_path):
    """Unpacked elsewhere and started in /, it finds the bundled model, the golden picture and the page."""
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(tmp_path), str(ROOT)]
    subprocess.run(build, check=True)
    (wheel,) = tmp_path.glob("*.whl")
    assert wheel.name.endswith("-py3-none-any.whl")
    place = tmp_path / "place"
    with zipfile.ZipFile(str(wheel)) as archive:
        archive.extractall(str(place))
        assert not [name for name in archive.namelist() if name.startswith("tests")]
    isolated = {"PYTHONPATH": str(place), "PATH": "/usr/bin:/bin"}
    subprocess.run([sys.executable, "-c", CODE, str(place)], cwd="/", env=isolated, check=True)
