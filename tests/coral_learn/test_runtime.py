"""coral_learn/runtime/: the rules every run-time keeps, and how one is chosen."""

import ctypes
import os
import signal
import subprocess
import sys
import tempfile
from contextlib import ExitStack

import numpy as np
import pytest
from runtime_host import alone_with_edge_tpus

from coral_learn import errors
from coral_learn.runtime import Runtime, TensorSpec, choose_runtime, edgetpu
from coral_learn.runtime.choose import check_device, seen_edge_tpus, sysfs_of
from coral_learn.runtime.cpu import CpuRuntime
from coral_learn.runtime.edgetpu import (
    EdgeTpuRuntime,
    check_pair,
    driver_name,
    find_edge_tpus,
    installed_libedgetpu,
    list_edge_tpus,
    rescan_advice,
)
from coral_learn.runtime.fake import FakeEdgeTpuRuntime
from coral_learn.runtime.fake_bus import FakeBus
from coral_learn.runtime.lock import DeviceLock
from coral_learn.runtime.tflite import CPU_ORDER, InterpreterLibrary, find_library, is_compiled, read_model


@pytest.fixture(params=["cpu", "fake"])
def runtime(request, tiny_model):
    """The tests' model on each device that is on every machine."""
    runtime = choose_runtime(tiny_model, request.param).runtime
    yield runtime
    runtime.close()


@pytest.fixture
def no_edge_tpu():
    """Skip where a real Edge TPU or its library answers: there `pytest -m board` looks at what happens."""
    try:
        ctypes.CDLL("libedgetpu.so.1")
    except OSError:
        return
    pytest.skip("libedgetpu is installed here: see pytest -m board")


@pytest.fixture
def usb_stick(tmp_path, monkeypatch):
    """Let the kernel show a Coral USB stick, by a /sys of our own."""
    add_usb(tmp_path, "2-2", "1a6e", "089a")
    monkeypatch.setattr(find_edge_tpus, "__defaults__", (tmp_path,))


@pytest.fixture
def bus(tmp_path, monkeypatch):
    """A fake device of this test's own: what is done to it is of no matter to others."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    return FakeBus()


@pytest.fixture
def alone():
    """No other run of these tests holds the machine's Edge TPUs."""
    with alone_with_edge_tpus():
        yield


@pytest.fixture
def compiled(tiny_model):
    """A file with the mark of a compiled model."""
    return tiny_model.with_name("tiny_edgetpu.tflite")


@pytest.fixture
def install_pycoral(tmp_path, monkeypatch):
    """install_pycoral(code): make `pycoral.utils.edgetpu` importable; None is the other program of that name."""

    def install(code):
        package = tmp_path / "pycoral"
        package.mkdir()
        (package / "__init__.py").write_text("")
        if code is not None:
            (package / "utils").mkdir()
            (package / "utils" / "__init__.py").write_text("")
            (package / "utils" / "edgetpu.py").write_text(code)
        monkeypatch.syspath_prepend(str(tmp_path))

    forget("pycoral")
    yield install
    forget("pycoral")


def forget(package):
    """Make Python look for a package again."""
    for name in [name for name in sys.modules if name.split(".")[0] == package]:
        del sys.modules[name]


def add_usb(sysfs, name, vendor, product):
    """A USB device in a made-up /sys."""
    folder = sysfs / "bus" / "usb" / "devices" / name
    folder.mkdir(parents=True)
    (folder / "idVendor").write_text(vendor + "\n")
    (folder / "idProduct").write_text(product + "\n")


def pixels(seed=0):
    """An input of the tests' model."""
    return np.random.RandomState(seed).randint(0, 256, (1, 32, 32, 3)).astype(np.uint8)


# Every run-time


def test_says_what_it_is(runtime):
    """A run-time tells its device, its library and the model's shapes."""
    assert isinstance(runtime, Runtime)
    assert runtime.device in ("cpu", "edgetpu")
    assert runtime.name
    assert runtime.input == TensorSpec((1, 32, 32, 3), "uint8", 1 / 128, 128)
    assert (runtime.output.shape, runtime.output.dtype) == ((1, 64), "uint8")
    assert isinstance(runtime.output.scale, float)


def test_invoke(runtime):
    """The output has the model's own type and shape, depends on the input alone and leaves it as it was."""
    stored = pixels()
    first = runtime.invoke(stored)
    other = runtime.invoke(pixels(1))

    assert (first.shape, first.dtype) == ((1, 64), np.uint8)
    assert (first != other).any()
    assert (runtime.invoke(stored) == first).all()
    assert (stored == pixels()).all()


def test_output_is_a_copy(runtime):
    """An output stays as it was when the model runs again, and may be written to."""
    first = runtime.invoke(pixels())
    before = first.copy()
    runtime.invoke(pixels(1))
    assert (first == before).all()

    first[:] = 0
    assert (runtime.invoke(pixels()) == before).all()


@pytest.mark.parametrize(
    "wrong", [np.zeros((1, 32, 31, 3), np.uint8), np.zeros((1, 32, 32, 3), np.float32), np.zeros(3, np.uint8)]
)
def test_wrong_input_is_refused(runtime, wrong):
    """An input of another shape or type fails alone: the next run works."""
    with pytest.raises(errors.InvokeFailed):
        runtime.invoke(wrong)

    assert runtime.invoke(pixels()).any()


def test_devices_agree(tiny_model):
    """The fake Edge TPU computes what the CPU computes."""
    cpu, fake = CpuRuntime(tiny_model), FakeEdgeTpuRuntime(tiny_model.with_name("tiny_edgetpu.tflite"))

    assert (cpu.invoke(pixels()) == fake.invoke(pixels())).all()
    fake.close()


def test_close_twice(runtime):
    """Closing is safe to repeat."""
    runtime.close()
    runtime.close()


def test_threads(tiny_model):
    """The number of threads changes no answer."""
    outputs = {CpuRuntime(tiny_model, threads).invoke(pixels()).tobytes() for threads in (None, 1, 2)}

    assert len(outputs) == 1


def test_dequantise():
    """Real value = (stored value - zero point) * scale; without a scale the value is real already."""
    stored = np.array([[0, 3, 255]], np.uint8)

    assert TensorSpec((1, 3), "uint8", 0.5, 3).dequantise(stored).tolist() == [[-1.5, 0, 126]]
    real = TensorSpec((1, 3), "float32", 0.0, 0).dequantise(np.array([[1.5, -2, 0]], np.float32))
    assert real.tolist() == [[1.5, -2, 0]]
    assert real.dtype == np.float32


# What can be wrong


@pytest.mark.parametrize("device", ["cpu", "fake", "auto", "edgetpu"])
def test_missing_file(device, tmp_path):
    """A missing file is told before anything about the device."""
    with pytest.raises(errors.ModelFileMissing, match=r"none\.tflite"):
        choose_runtime(tmp_path / "none.tflite", device)


def test_folder_is_no_file(tmp_path):
    """A folder in place of the file is told as a file that can't be read."""
    with pytest.raises(errors.ModelFileMissing, match="can't be read"):
        choose_runtime(tmp_path, "cpu")


@pytest.mark.parametrize("content", [b"", b"TFL3", b"this is a text", b"\x00" * 100])
def test_not_a_model(content, tmp_path):
    """Another file is told by its first bytes."""
    path = tmp_path / "net.tflite"
    path.write_bytes(content)

    with pytest.raises(errors.ModelFormatError, match="bytes 4 to 8"):
        choose_runtime(path, "cpu")


def test_broken_model(tiny_model, tmp_path):
    """A model that starts well and is cut off is refused by the run-time."""
    path = tmp_path / "net.tflite"
    path.write_bytes(tiny_model.read_bytes()[:20] + bytes(100))

    with pytest.raises(errors.ModelFormatError, match="can't load"):
        choose_runtime(path, "cpu")


def test_compiled_model_on_cpu(compiled):
    """A compiled model asked to run on the CPU says which file to take instead."""
    with pytest.raises(errors.CompiledModelNeedsEdgeTpu, match="plain file"):
        choose_runtime(compiled, "cpu")


@pytest.mark.usefixtures("no_edge_tpu", "alone")
def test_compiled_model_without_edge_tpu(compiled):
    """A compiled model never falls back to the CPU."""
    with pytest.raises(errors.CompiledModelNeedsEdgeTpu, match="none to run it"):
        choose_runtime(compiled, "auto")


@pytest.mark.usefixtures("no_edge_tpu", "alone")
def test_no_libedgetpu(tiny_model):
    """Asked for, the Edge TPU is not silently replaced by the CPU."""
    with pytest.raises(errors.DelegateLibraryMissing, match="libedgetpu"):
        choose_runtime(tiny_model, "edgetpu")


@pytest.mark.parametrize("device", ["fake", "edgetpu", "usb"])
def test_plain_model_on_edge_tpu(tiny_copy, device):
    """A plain model without a compiled twin is refused by an Edge TPU."""
    with pytest.raises(errors.ModelFormatError, match="not compiled"):
        choose_runtime(tiny_copy, device)


def test_unknown_operator(shared_data):
    """A model with an operator that the run-time doesn't know is refused when it is loaded, and the operator named."""
    with pytest.raises(errors.ModelFormatError, match="fake-op-double"):
        choose_runtime(shared_data / "coral" / "model_invoking_error.tflite", "cpu")


def test_is_compiled(tiny_model, compiled, shared_data):
    """Models made by the real compiler are told from plain ones."""
    real = shared_data / "coral" / "mobilenet_v1_1.0_224_quant_embedding_extractor.tflite"

    assert [is_compiled(read_model(path)) for path in (tiny_model, compiled, real)] == [False, True, False]
    assert is_compiled(read_model(real.with_name(real.stem + "_edgetpu.tflite")))


# Which device


@pytest.mark.parametrize(
    "device",
    ["auto", "cpu", "edgetpu", "usb", "usb:0", "usb:12", "pci", "pci:1", ":0", "/dev/apex_1", "fake", "fake:fail=3"],
)
def test_device_names(device):
    """The names libedgetpu knows, that of a node on PCIe, and ours."""
    assert check_device(device) == device


@pytest.mark.parametrize(
    "device",
    [
        "",
        "tpu",
        "CPU",
        "usb:",
        "usb:x",
        ":",
        "cpu:0",
        "usb:0 ",
        ":100",
        "usb:\u0661",
        "/dev/apex_",
        "/dev/bus/usb",
        "fake:burn",
        "fake:",
    ],
)
def test_unknown_device_names(device, tiny_model):
    """Any other name is refused, and the message lists the good ones."""
    with pytest.raises(errors.DeviceError, match="auto, cpu, edgetpu"):
        choose_runtime(tiny_model, device)


def test_auto_without_edge_tpu(tiny_model, tmp_path, monkeypatch):
    """Without an Edge TPU `auto` takes the CPU, and that is no degradation."""
    monkeypatch.setattr(find_edge_tpus, "__defaults__", (tmp_path,))
    choice = choose_runtime(tiny_model)

    assert (choice.runtime.device, choice.model_path, choice.degraded) == ("cpu", tiny_model, False)
    assert choice.reason == "no Edge TPU is connected"


@pytest.mark.usefixtures("usb_stick")
def test_auto_without_compiled_twin(tiny_copy):
    """An Edge TPU without a compiled model to run is a degradation, and the file that is missing is named."""
    choice = choose_runtime(tiny_copy)

    assert (choice.runtime.device, choice.degraded) == ("cpu", True)
    assert "tiny_edgetpu.tflite" in choice.reason


@pytest.mark.usefixtures("usb_stick", "no_edge_tpu", "alone")
def test_auto_with_unusable_edge_tpu(tiny_model):
    """An Edge TPU that can't be used is a degradation, and the reason says why."""
    choice = choose_runtime(tiny_model)

    assert (choice.runtime.device, choice.model_path, choice.degraded) == ("cpu", tiny_model, True)
    assert "libedgetpu" in choice.reason


def test_asked_for(tiny_model, compiled):
    """A device asked for is the reason; an Edge TPU runs the compiled twin of the file named."""
    assert choose_runtime(tiny_model, "cpu").reason == "the device cpu was asked for"
    for path in (tiny_model, compiled):
        choice = choose_runtime(path, "fake")
        choice.runtime.close()
        assert (choice.runtime.device, choice.model_path, choice.degraded) == ("edgetpu", compiled, False)


def test_finds_edge_tpus(tmp_path):
    """PCIe comes first, a USB stick is found before and after its firmware is loaded, others are not."""
    assert find_edge_tpus(tmp_path) == []
    for name in ("apex_1", "apex_0"):
        (tmp_path / "class" / "apex" / name).mkdir(parents=True)
    add_usb(tmp_path, "1-1", "18d1", "9302")
    add_usb(tmp_path, "2-2", "1a6e", "089a")
    add_usb(tmp_path, "3-1", "18d1", "089a")
    (tmp_path / "bus" / "usb" / "devices" / "2-2:1.0").mkdir()

    assert find_edge_tpus(tmp_path) == ["/dev/apex_0", "/dev/apex_1", "usb 1-1", "usb 2-2"]


def test_lists_edge_tpus_by_pycoral(install_pycoral, tmp_path, monkeypatch):
    """Where the real pycoral is importable it is asked; a module without the function, and none, leave it to /sys."""
    monkeypatch.setattr(find_edge_tpus, "__defaults__", (tmp_path,))
    add_usb(tmp_path, "1-1", "18d1", "9302")
    assert list_edge_tpus() == ["usb 1-1"]
    listed = [{"type": "usb", "path": "/sys/bus/usb/devices/2-2"}, {"type": "pci", "path": "/dev/apex_0"}]
    install_pycoral(f"list_edge_tpus = lambda: {listed}")
    assert list_edge_tpus() == ["/dev/apex_0", "/sys/bus/usb/devices/2-2"]


def test_a_node_on_pcie(tmp_path, monkeypatch):
    """It is the place of a node in the order in which the kernel lists them, as the driver counts; others stay."""
    for name in ("apex_0", "apex_1", "apex_2"):
        (tmp_path / "sys" / "class" / "apex" / name).mkdir(parents=True)
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev" / "apex_0").touch()
    (tmp_path / "dev" / "apex_2").touch()
    monkeypatch.setattr(os, "listdir", lambda _: ["apex_2", "apex_1", "apex_0"])

    assert [driver_name(f"/dev/apex_{number}", tmp_path) for number in (0, 2)] == ["pci:1", "pci:0"]
    with pytest.raises(errors.DeviceNotFound, match="/dev/apex_1; on PCIe there is /dev/apex_0, /dev/apex_2"):
        driver_name("/dev/apex_1", tmp_path)
    with pytest.raises(errors.DeviceNotFound, match="there is none"):
        driver_name("/dev/apex_0", tmp_path / "none")
    for device in ("", "usb", "usb:1", "pci", ":0"):
        assert driver_name(device, tmp_path / "none") == device


@pytest.mark.usefixtures("alone")
def test_open_a_node_on_pcie(compiled, install_pycoral, tmp_path, monkeypatch):
    """The driver is asked for the node by the name it knows."""
    (tmp_path / "sys" / "class" / "apex" / "apex_3").mkdir(parents=True)
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev" / "apex_3").touch()
    monkeypatch.setattr(driver_name, "__defaults__", (tmp_path,))
    install_pycoral(
        "def make_interpreter(model, device=None):\n    raise ValueError(f'Failed to load delegate {device}')"
    )

    with pytest.raises(errors.DeviceNotFound, match="'pci:0'"):
        EdgeTpuRuntime(compiled, "/dev/apex_3")


def add_pci(sysfs, slot, vendor="0x1ac1", device="0x089a"):
    """A PCIe device in a made-up /sys."""
    folder = sysfs / "bus" / "pci" / "devices" / slot
    folder.mkdir(parents=True)
    (folder / "vendor").write_text(vendor + "\n")
    (folder / "device").write_text(device + "\n")
    return folder


def test_rescan_advice(tmp_path):
    """It names the one slot of the Edge TPU, with and without its driver; there is none for USB sticks."""
    assert rescan_advice("", tmp_path) == ""
    add_pci(tmp_path, "0000:00:1f.0", "0x8086")
    assert rescan_advice("", tmp_path) == ""
    folder = add_pci(tmp_path, "0000:01:00.0")
    assert "echo 1 > /sys/bus/pci/devices/0000:01:00.0/remove; echo 1 > /sys/bus/pci/rescan" in rescan_advice(
        "", tmp_path
    )
    (tmp_path / "class" / "apex" / "apex_0").mkdir(parents=True)
    (tmp_path / "class" / "apex" / "apex_0" / "device").symlink_to(folder)
    assert "/0000:01:00.0/remove" in rescan_advice("pci", tmp_path)
    assert rescan_advice("usb", tmp_path) == ""
    add_pci(tmp_path, "0000:02:00.0")
    (tmp_path / "class" / "apex" / "apex_0" / "device").unlink()
    assert "lspci" in rescan_advice(":0", tmp_path)


# libedgetpu and the library that loads it


@pytest.mark.parametrize(
    ("status", "version"),
    [
        ("Package: libedgetpu1-std\nStatus: install ok installed\nSection: misc\nVersion: 16.0\n", "16.0"),
        ("Package: libedgetpu1-max\nStatus: install ok installed\nVersion: 16.0TF2.17.1-1\n", "16.0TF2.17.1-1"),
        (
            "Package: a\nVersion: 1\n\nPackage: libedgetpu1-std\nStatus: install ok installed\nVersion: 15\n\n"
            "Package: z\nVersion: 2\n",
            "15",
        ),
        ("Package: libedgetpu1-std\nStatus: hold ok installed\nVersion: 16.0\n", "16.0"),
        ("Package: libedgetpu1-std\nStatus: install ok triggers-awaited\nVersion: 16.0\n", "16.0"),
        ("Package: libedgetpu1-std\nStatus: install reinstreq half-configured\nVersion: 16.0\n", "16.0"),
        ("Package: libedgetpu1-std\nStatus: deinstall ok config-files\nVersion: 16.0\n", None),
        ("Package: libedgetpu-dev\nVersion: 16.0\n", None),
        ("Package: libedgetpu1-std\nStatus: purge ok not-installed\n\nPackage: z\nVersion: 2\n", None),
        ("", None),
    ],
)
def test_installed_libedgetpu(status, version, tmp_path):
    """The version is read from Debian's list of packages."""
    (tmp_path / "status").write_text(status)

    assert installed_libedgetpu(tmp_path / "status") == version


def test_no_list_of_packages(tmp_path):
    """On a system that isn't Debian the version is unknown."""
    assert installed_libedgetpu(tmp_path / "status") is None


@pytest.mark.parametrize(
    ("name", "version", "libedgetpu"),
    [
        ("tflite_runtime", "2.5.0", "16.0"),
        ("tflite_runtime", "2.11.1", "16.0"),
        ("tflite_runtime", "2.5.0.post1", "15.0"),
        ("tflite_runtime", "2.14.0", "16.0TF2.14.0-1"),
        ("ai_edge_litert", "2.1.0", "16.0TF2.17.1-1"),
        ("ai_edge_litert", "2.1.0", None),
    ],
)
def test_good_pairs(name, version, libedgetpu):
    """Google's build with the run-time it was made for, community builds and unknown ones are let through."""
    assert check_pair(InterpreterLibrary(name, version, None), libedgetpu) is None


@pytest.mark.parametrize(
    ("name", "version"), [("tflite_runtime", "2.12.0"), ("tflite_runtime", "2.11.2"), ("ai_edge_litert", "1.0.1")]
)
def test_bad_pairs(name, version):
    """Google's build with a newer run-time would crash the process and is refused before."""
    with pytest.raises(errors.RuntimeMismatch, match="{} {}".format(name.replace("_", "-"), version)):
        check_pair(InterpreterLibrary(name, version, None), "16.0")


def test_finds_library():
    """The first run-time installed is taken, its version is known."""
    library = find_library(("no_such_library", *CPU_ORDER))

    assert library.name in CPU_ORDER
    assert library.version[0].isdigit()
    assert str(library) == "{} {}".format(library.name.replace("_", "-"), library.version)
    assert library.module.Interpreter


def test_no_library(tmp_path, monkeypatch):
    """Without a usable run-time the message says what was tried and what to install."""
    (tmp_path / "broken_library").mkdir()
    (tmp_path / "broken_library" / "__init__.py").write_text("")
    (tmp_path / "broken_library" / "interpreter.py").write_text("raise SystemError('made for another numpy')")
    monkeypatch.syspath_prepend(str(tmp_path))

    with pytest.raises(errors.RuntimeMissing, match="pip install") as caught:
        find_library(("no_such_library", "broken_library"))
    forget("broken_library")

    assert "no_such_library is not installed" in str(caught.value)
    assert "made for another numpy" in str(caught.value)


PYCORAL = """
from {library}.interpreter import Interpreter

def make_interpreter(model, device=None):
    if device == "usb":
        raise ValueError("Failed to load delegate from libedgetpu.so.1")
    if device == "pci":
        raise OSError("libedgetpu.so.1: cannot open shared object file")
    if device == ":1":
        raise RuntimeError("no such operator")
    return Interpreter(model_content=model)
"""


@pytest.mark.usefixtures("alone")
def test_through_pycoral(compiled, install_pycoral):
    """Where Coral's pycoral is installed, the Edge TPU is used through it."""
    install_pycoral(PYCORAL.format(library=find_library(CPU_ORDER).name))
    runtime = EdgeTpuRuntime(compiled)

    assert (runtime.device, runtime.name) == ("edgetpu", "pycoral")
    assert runtime.invoke(pixels()).any()
    runtime.close()


@pytest.mark.usefixtures("alone")
@pytest.mark.parametrize(
    ("device", "error"),
    [
        ("usb", errors.DeviceNotFound),
        ("pci", errors.DelegateLibraryMissing),
        (":1", errors.ModelFormatError),
    ],
)
def test_pycorals_errors(compiled, install_pycoral, device, error):
    """What pycoral raises is told in our words, and the device is let go."""
    install_pycoral(PYCORAL.format(library=find_library(CPU_ORDER).name))
    for _ in range(2):
        with pytest.raises(error) as caught:
            EdgeTpuRuntime(compiled, device)
        assert type(caught.value) is error


@pytest.mark.usefixtures("alone")
def test_bad_pair_through_pycoral(compiled, install_pycoral, tmp_path, monkeypatch):
    """A pair that crashes is refused before pycoral loads it."""
    (tmp_path / "status").write_text("Package: libedgetpu1-std\nStatus: install ok installed\nVersion: 16.0\n")
    monkeypatch.setattr(installed_libedgetpu, "__defaults__", (tmp_path / "status",))
    monkeypatch.setattr(edgetpu, "LAST_FOR_GOOGLES_BUILD", (1, 0))
    install_pycoral("import os\nmake_interpreter = lambda *arguments, **options: os.abort()")

    with pytest.raises(errors.RuntimeMismatch, match=r"libedgetpu 16\.0 crashes"):
        EdgeTpuRuntime(compiled)


@pytest.mark.usefixtures("no_edge_tpu", "alone")
@pytest.mark.parametrize("code", [None, "import a_module_built_for_another_python"])
def test_other_pycoral(compiled, install_pycoral, code):
    """The other program called pycoral, or one for another Python, is passed over."""
    install_pycoral(code)

    with pytest.raises(errors.DelegateLibraryMissing):
        EdgeTpuRuntime(compiled)


# One process a device


def test_edge_tpu_is_held(compiled):
    """Who has the Edge TPU open keeps others away until it is closed."""
    first = FakeEdgeTpuRuntime(compiled)
    with pytest.raises(errors.DeviceBusy, match="another process"):
        FakeEdgeTpuRuntime(compiled)
    first.close()

    FakeEdgeTpuRuntime(compiled).close()


def test_lock_a_device(tmp_path):
    """A numbered device is locked alone, one without a number locks out all; twice let go is fine."""
    first, second = DeviceLock("usb:0", tmp_path), DeviceLock("usb:1", tmp_path)
    for taken in ("usb:0", "usb", "", "pci"):
        with pytest.raises(errors.DeviceBusy):
            DeviceLock(taken, tmp_path)
    first.release()
    first.release()
    second.release()

    everything = DeviceLock("usb", tmp_path)
    with pytest.raises(errors.DeviceBusy):
        DeviceLock("usb:0", tmp_path)
    everything.release()
    DeviceLock("usb:0", tmp_path).release()


@pytest.mark.parametrize(
    ("held", "asked"),
    [
        ("usb:0", "usb:00"),
        (":0", "usb:0"),
        (":0", "pci:0"),
        (":1", "usb:0"),
        (":1", "pci:1"),
        (":0", ":00"),
        (":0", "pci"),
        ("usb:1", ""),
        ("usb", "usb"),
        ("", "fake"),
    ],
)
def test_names_of_one_device(held, asked, tmp_path):
    """Names that may mean one device exclude each other, whichever comes first, and nothing stays held."""
    for first, second in ((held, asked), (asked, held)):
        lock = DeviceLock(first, tmp_path)
        with pytest.raises(errors.DeviceBusy, match=f"another process holds .*{tmp_path}"):
            DeviceLock(second, tmp_path)
        lock.release()
        DeviceLock(second, tmp_path).release()


@pytest.mark.parametrize(
    ("one", "other"), [("usb:0", "usb:1"), ("usb:0", "pci:0"), (":0", ":1"), (":0", "usb:1"), (":1", "pci:2")]
)
def test_names_of_two_devices(one, other, tmp_path):
    """Devices that are surely two can be held by two; both are then kept from who may open any."""
    locks = [DeviceLock(one, tmp_path), DeviceLock(other, tmp_path)]
    for taken in (one, other, "usb", "pci", ""):
        with pytest.raises(errors.DeviceBusy):
            DeviceLock(taken, tmp_path)
    for lock in locks:
        lock.release()
    DeviceLock("", tmp_path).release()


def test_lock_ends_with_the_process(tmp_path):
    """A process that dies lets the device go."""
    code = "import os, sys; from coral_learn.runtime.lock import *; DeviceLock('usb', sys.argv[1]); os._exit(9)"

    assert subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False).returncode == 9
    DeviceLock("usb", tmp_path).release()


@pytest.fixture
def umask_of_the_service():
    """The umask of its systemd unit."""
    before = os.umask(0o077)
    yield
    os.umask(before)


@pytest.mark.usefixtures("umask_of_the_service")
def test_lock_files_are_for_all_users(tmp_path):
    """Neither the umask nor an older lock file of ours keeps other users from locking."""
    older = tmp_path / "coral-learn-edgetpu.lock"
    older.touch(0o600)
    DeviceLock("usb:0", tmp_path).release()

    assert [oct(path.stat().st_mode & 0o777) for path in sorted(tmp_path.iterdir())] == ["0o644", "0o644"]


AS_A_USER = """
import os, sys
from pathlib import Path
from coral_learn.errors import DeviceBusy
from coral_learn.runtime.lock import DeviceLock

os.setgroups([])
os.setgid(int(sys.argv[1]))
os.setuid(int(sys.argv[1]))
os.umask(0o077)
try:
    lock = DeviceLock(":0", Path())
    print("held", flush=True)
except DeviceBusy as error:
    print(error, flush=True)
sys.stdin.read()
"""


@pytest.mark.skipif(os.getuid() != 0, reason="only root can be other users")
def test_lock_of_another_user(tmp_path):
    """What one user's service locked, another user can lock after it, in a folder where files are their owners'."""
    tmp_path.chmod(0o1777)
    with ExitStack() as ending:

        def start(user):
            command = [sys.executable, "-c", AS_A_USER, user]
            process = subprocess.Popen(command, cwd=str(tmp_path), stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            return ending.enter_context(process)

        service = start("65534")
        assert service.stdout.readline() == b"held\n"
        assert start("1").stdout.readline().startswith(b"another process holds")
        service.communicate(timeout=30)
        assert start("1").stdout.readline() == b"held\n"


def test_lock_folder_missing(tmp_path):
    """A lock file that can't be made is told."""
    with pytest.raises(errors.DeviceBusy, match="can't be opened"):
        DeviceLock("usb", tmp_path / "none")


# The fake's faults


def test_fake_absent(compiled):
    """A fake told to be absent is not found."""
    with pytest.raises(errors.DeviceNotFound, match="absent"):
        FakeEdgeTpuRuntime(compiled, "fake:absent")


@pytest.mark.parametrize("device", ["fakes", "fake:", "fake:burn", "fake:fail=x", "usb"])
def test_fake_unknown(compiled, device):
    """A fake with another name is not found."""
    with pytest.raises(errors.DeviceNotFound, match="fake:abort"):
        FakeEdgeTpuRuntime(compiled, device)


def test_fake_needs_the_plain_twin(compiled, tmp_path):
    """The fake computes through the plain file, and says so when it is missing."""
    alone = tmp_path / "tiny_edgetpu.tflite"
    alone.write_bytes(compiled.read_bytes())

    with pytest.raises(errors.CompiledModelNeedsEdgeTpu, match=r"plain file tiny\.tflite"):
        FakeEdgeTpuRuntime(alone)


def test_fake_fails_in_one_run(compiled):
    """`fake:fail=2` fails in the second run alone."""
    runtime = FakeEdgeTpuRuntime(compiled, "fake:fail=2")
    runtime.invoke(pixels())
    with pytest.raises(errors.InvokeFailed, match="run 2"):
        runtime.invoke(pixels())

    assert runtime.invoke(pixels()).any()
    runtime.close()


FAULTY = """
import os, resource, signal, sys
import numpy as np
from coral_learn.runtime.fake import FakeEdgeTpuRuntime

resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
signal.signal(signal.SIGALRM, lambda number, frame: os._exit(42))
runtime = FakeEdgeTpuRuntime(sys.argv[1], sys.argv[2])
stored = np.zeros(runtime.input.shape, np.uint8)
runtime.invoke(stored)
print("one run", flush=True)
signal.setitimer(signal.ITIMER_REAL, 0.3)
runtime.invoke(stored)
os._exit(0)
"""


@pytest.mark.parametrize(
    ("device", "code"), [("fake:abort=2", -signal.SIGABRT), ("fake:hang=2", 42), ("fake:abort=3", 0)]
)
def test_fake_faults_of_a_process(compiled, device, code):
    """An abort ends the process, a hanging run never returns (an alarm ends it here), both in the run named."""
    command = [sys.executable, "-c", FAULTY, str(compiled), device]
    ended = subprocess.run(command, stdout=subprocess.PIPE, check=False)

    assert (ended.stdout, ended.returncode) == (b"one run\n", code)


@pytest.mark.parametrize("device", ["fake:vanish=2", "fake:vanish=1"])
def test_fake_vanishes(compiled, bus, device):
    """After the run named it is gone: the process ends in the next, and none finds it until the marker is removed."""
    ended = subprocess.run([sys.executable, "-c", FAULTY, str(compiled), device], stdout=subprocess.PIPE, check=False)
    assert (ended.stdout, ended.returncode) == (b"one run\n", 0 if device.endswith("2") else -signal.SIGABRT)
    assert seen_edge_tpus(device) == []
    with pytest.raises(errors.DeviceNotFound, match="plugs it in again"):
        FakeEdgeTpuRuntime(compiled)
    bus.marker.unlink()
    assert seen_edge_tpus(device) == ["/dev/apex_0 (fake)"]
    FakeEdgeTpuRuntime(compiled).close()


def test_fake_heats(compiled, bus):
    """It grows warmer with each run, up to a limit, and reports it as the kernel would."""
    runtime = FakeEdgeTpuRuntime(compiled, "fake:heat=30")
    sensor, degrees = sysfs_of("fake") / "class" / "apex" / "apex_0" / "temp", []
    for _ in range(4):
        degrees.append(int(sensor.read_text()) / 1000)
        runtime.invoke(pixels())
    runtime.close()
    assert degrees == [45, 75, 105, 120]
    assert not bus.dead


def test_fake_dead_link(compiled, bus):
    """From the run named on nothing comes back, the temperature can't be true, and no process opens it until it is."""
    ended = subprocess.run(
        [sys.executable, "-c", FAULTY, str(compiled), "fake:dead_link=2"], stdout=subprocess.PIPE, check=False
    )
    assert (ended.stdout, ended.returncode) == (b"one run\n", 42)
    assert bus.dead
    with pytest.raises(errors.DeviceNotFound, match="link is dead"):
        FakeEdgeTpuRuntime(compiled)
    bus.show(50.0)
    FakeEdgeTpuRuntime(compiled).close()


LOADING = """
import sys, threading, time
from coral_learn.runtime.fake import FakeEdgeTpuRuntime

ticks, done = [time.monotonic()], threading.Event()

def tick():
    while not done.wait(0.01):
        ticks.append(time.monotonic())

threading.Thread(target=tick, daemon=True).start()
FakeEdgeTpuRuntime(sys.argv[1], "fake:load_slowly=1").close()
done.set()
print(max(later - earlier for earlier, later in zip(ticks, ticks[1:])))
"""


def test_fake_loads_slowly(compiled):
    """While it loads no other thread of the process comes to its turn, as with the real driver."""
    ended = subprocess.run(
        [sys.executable, "-c", LOADING, str(compiled)], stdout=subprocess.PIPE, check=True, text=True
    )
    assert float(ended.stdout) > 0.9


def test_nothing_of_the_machine_is_the_fakes():
    """Only names of fakes are looked for in the made-up /sys."""
    assert sysfs_of("usb:0") == sysfs_of("auto") != sysfs_of("fake:hang=2")
