"""One contract, kept by every sort of run-time: each in a process of its own, as in the service."""

from contextlib import ExitStack
from types import SimpleNamespace

import numpy as np
import pytest
from runtime_host import (
    CPU_LITERT,
    CPU_TFLITE,
    FAKE,
    LOAD_DELEGATE,
    PYCORAL,
    SORTS,
    RuntimeHost,
    alone_with_edge_tpus,
    missing,
)

from coral_learn import errors
from coral_learn.runtime.cpu import CpuRuntime

ON_CPU = (CPU_LITERT, CPU_TFLITE)


def pixels(seed=0):
    """An input of the tests' model."""
    return np.random.RandomState(seed).randint(0, 256, (1, 32, 32, 3)).astype(np.uint8)


@pytest.fixture(scope="class", params=SORTS)
def sort(request, tmp_path_factory):
    """A sort of run-time that can be had here: .name, .start() for another process with it."""
    reason = missing(request.param)
    if reason:
        pytest.skip(f"{request.param}: {reason}")
    folder, hosts = tmp_path_factory.mktemp("runtime"), []

    def start(**environment):
        hosts.append(RuntimeHost(request.param, folder, **environment))
        return hosts[-1]

    with ExitStack() as held:
        if request.param in (PYCORAL, LOAD_DELEGATE):
            held.enter_context(alone_with_edge_tpus())
        yield SimpleNamespace(name=request.param, start=start, on_cpu=request.param in ON_CPU)
        for host in hosts:
            host.end()


@pytest.fixture(scope="class")
def host(sort):
    """A process with this sort of run-time, for all tests of it."""
    return sort.start()


@pytest.fixture
def model(sort, tiny_model):
    """The file this sort of run-time runs."""
    return str(tiny_model if sort.on_cpu else tiny_model.with_name("tiny_edgetpu.tflite"))


@pytest.fixture
def opened(host, model):
    """The process with the model loaded."""
    host("open", model)
    yield host
    host("close")


class TestEveryRuntime:
    """What the rest of the library may rely on."""

    def test_says_what_it_is(self, sort, host, model):
        """Device, library with its version, shapes, types and quantisation."""
        device, name, taken, given = host("open", model)
        host("close")

        assert device == ("cpu" if sort.on_cpu else "edgetpu")
        expected = {CPU_LITERT: "ai-edge-litert ", CPU_TFLITE: "tflite-runtime ", PYCORAL: "pycoral", FAKE: "fake, "}
        assert name.startswith(expected.get(sort.name, ("ai-edge-litert ", "tflite-runtime ")))
        assert taken == ((1, 32, 32, 3), "uint8", 1 / 128, 128)
        assert given[:2] == ((1, 64), "uint8")
        assert given[2] > 0

    def test_output_depends_on_the_input_alone(self, opened):
        """Whatever ran in between, the same input gives the same bytes, 100 times."""
        first, other = opened("invoke", pixels()), opened("invoke", pixels(1))
        again = {opened("invoke", pixels(number % 2)).tobytes() for number in range(100)}

        assert (first.shape, first.dtype) == ((1, 64), np.uint8)
        assert again == {first.tobytes(), other.tobytes()}
        assert len(again) == 2

    def test_agrees_with_the_others(self, opened, tiny_model):
        """All sorts give the same embedding but for rounding: what was taught on one is known on another."""
        reference = CpuRuntime(tiny_model)
        for seed in range(3):
            one, other = (
                each.astype(float).ravel() for each in (reference.invoke(pixels(seed)), opened("invoke", pixels(seed)))
            )
            assert one @ other / np.linalg.norm(one) / np.linalg.norm(other) > 0.999

    @pytest.mark.parametrize(
        "wrong",
        [np.zeros((1, 32, 31, 3), np.uint8), np.zeros((1, 32, 32, 3), np.float32), np.zeros(3, np.uint8)],
        ids=["width", "type", "shape"],
    )
    def test_wrong_input(self, opened, wrong):
        """It fails alone, as `InvokeFailed`: the next run works."""
        with pytest.raises(errors.InvokeFailed):
            opened("invoke", wrong)

        assert opened("invoke", pixels()).any()

    def test_wrong_file(self, sort, host, tiny_model, tmp_path):
        """A missing file, one that is no model, and a model made for the other device are refused, and nothing held."""
        (tmp_path / "text.tflite").write_bytes(b"this is a text")
        compiled = tiny_model.with_name("tiny_edgetpu.tflite")
        misfit, error = (
            (compiled, errors.CompiledModelNeedsEdgeTpu) if sort.on_cpu else (tiny_model, errors.ModelFormatError)
        )
        for path, expected in (
            (tmp_path / "none.tflite", errors.ModelFileMissing),
            (tmp_path / "text.tflite", errors.ModelFormatError),
            (misfit, error),
        ):
            with pytest.raises(expected) as caught:
                host("open", str(path))
            assert type(caught.value) is expected
        host("open", str(tiny_model if sort.on_cpu else compiled))
        host("close")

    def test_broken_model(self, sort, host, tiny_model, tmp_path):
        """A model that starts well and is cut off is refused, and the device let go."""
        if sort.name == FAKE:
            pytest.skip("the fake computes through the plain file and does not read the compiled one")
        path = tmp_path / "net_edgetpu.tflite"
        path.write_bytes(tiny_model.read_bytes()[:20] + bytes(100) + (b"" if sort.on_cpu else b"edgetpu-custom-op"))
        for _ in range(2):
            with pytest.raises(errors.ModelFormatError, match="can't load"):
                host("open", str(path))

    def test_closed(self, host, model):
        """Closing twice is fine; a closed model runs no more, and can be opened again."""
        host("open", model)
        host("close")
        host("close")
        with pytest.raises(errors.InvokeFailed):
            host("invoke", pixels())
        host("open", model)
        assert host("invoke", pixels()).any()
        host("close")

    def test_one_process_a_device(self, sort, opened, model):
        """A second process is refused an Edge TPU, until the first has ended, however it does."""
        second = sort.start()
        if sort.on_cpu:
            assert second("open", model)[0] == "cpu"
            return
        with pytest.raises(errors.DeviceBusy, match="another process"):
            second("open", model)
        opened("close")
        third = sort.start()
        third("open", model)
        with pytest.raises(errors.DeviceBusy):
            second("open", model)
        third.end()  # as by kill -9
        assert second("open", model)[0] == "edgetpu"
        second("close")

    def test_fork(self, sort, opened):
        """An Edge TPU is of use to the process that opened it, not to one made of that by fork."""
        if sort.on_cpu:
            pytest.skip("a CPU is nobody's")
        assert opened("fork", pixels()).startswith("InvokeFailed: the Edge TPU was opened by process")
        assert opened("invoke", pixels()).any()


# -- load_delegate with a libedgetpu that misbehaves --------------------------------------------


@pytest.fixture
def start_with(tmp_path):
    """start_with(NAME=value): a process whose libedgetpu.so.1 is told to misbehave."""
    reason = missing(LOAD_DELEGATE)
    if reason:
        pytest.skip(reason)
    hosts = []

    def start(**told):
        environment = {f"FAKE_LIBEDGETPU_{name}": value for name, value in told.items()}
        hosts.append(RuntimeHost(LOAD_DELEGATE, tmp_path, **environment))
        return hosts[-1]

    with alone_with_edge_tpus():
        yield start
        for host in hosts:
            host.end()


@pytest.fixture
def compiled(tiny_model):
    """The compiled model's path."""
    return str(tiny_model.with_name("tiny_edgetpu.tflite"))


def test_driver_that_refuses(start_with, compiled):
    """Its reason, where it gives one, is in ours; the device is let go."""
    silent, talking = start_with(FAIL=""), start_with(FAIL="usb transfer failed")
    for host, expected in ((silent, "no Edge TPU found: "), (talking, "the driver says: usb transfer failed")):
        with pytest.raises(errors.DeviceNotFound) as caught:
            host("open", compiled)
        assert expected in str(caught.value)


def test_driver_that_aborts(start_with, compiled):
    """It takes its process along, and nothing of the device's lock is left."""
    host = start_with(ABORT="1")
    with pytest.raises(EOFError):
        host("open", compiled)
    assert host.process.wait(10) == -6
    assert start_with()("open", compiled)[0] == "edgetpu"


def test_driver_that_loads_slowly(start_with, compiled):
    """It is waited for; how long is the business of who waits for the process."""
    assert start_with(SLEEP="1")("open", compiled)[0] == "edgetpu"
