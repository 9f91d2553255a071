"""What a process keeps of the memory that pictures took."""

import subprocess
import sys

import pytest

# Page faults, that is pages of memory newly taken, of 40 pictures decoded one after the other.
DECODE = """
import resource, sys
from service import memory
from coral_learn import image
if sys.argv[1] != "as it is":
    assert getattr(memory, sys.argv[1])()
data = sys.stdin.buffer.read()
for count in (10, 40):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(count):
        image.fit(image.decode(data), 224, 224)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.fixture
def page_faults(encode, make_picture):
    """How many a process has that decodes pictures, after a function of `service.memory`."""
    data = encode(make_picture("green", 0, 1280, 720), "JPEG")

    def count(function):
        run = subprocess.run([sys.executable, "-c", DECODE, function], input=data, stdout=subprocess.PIPE, check=True)
        return int(run.stdout)

    return count


def test_memory_is_kept_for_the_next_picture(page_faults):
    """A camera's process takes none anew for each."""
    assert page_faults("keep_memory") < 0.1 * page_faults("as it is")
