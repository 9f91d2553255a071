"""Sources of frames, and what a --camera setting means."""

import base64
import struct
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import cv2
import numpy as np
import pytest

from service.camera import CameraOptions
from service.camera.sources import open_source, resolve_camera
from service.camera.sources.device import V4l2Source
from service.camera.sources.folder import FolderSource
from service.camera.sources.http import Address, _moved
from service.camera.sources.rtsp import capture_options
from service.errors import CameraError
from service.v4l2 import Node, query


@pytest.mark.parametrize(
    ("setting", "meaning"),
    [
        ("none", None),
        ("", None),
        ("0", "/dev/video0"),
        ("12", "/dev/video12"),
        ("/dev/video1", "/dev/video1"),
        ("pictures", "pictures"),
        ("rtsp://camera/1", "rtsp://camera/1"),
    ],
)
def test_settings(setting, meaning):
    """A number is a device, none is none, the rest is taken as it is."""
    assert resolve_camera(setting) == meaning


def test_auto_takes_the_first_device(tmp_path):
    """By number, not by name; none when there is none, and what takes no pictures is passed over."""
    assert resolve_camera("auto", tmp_path) is None
    for name in ("video10", "video2", "video1", "video", "videoX", "null"):
        (tmp_path / name).touch()
    assert resolve_camera("auto", tmp_path) is None  # files, no devices
    assert resolve_camera("auto", tmp_path, lambda path: path.name != "video1") == str(tmp_path / "video2")


@pytest.mark.parametrize("name", ["/nonexistent", "/dev/video99", "ftp://camera/1", "/dev/null"])
def test_what_is_not_there(name):
    """A CameraError that names it."""
    with pytest.raises(CameraError, match=name):
        open_source(CameraOptions(name))


def test_file_that_is_no_video(tmp_path):
    """Refused when it is opened."""
    path = tmp_path / "notes.mp4"
    path.write_bytes(b"no video")
    with pytest.raises(CameraError, match="can't be opened"):
        open_source(CameraOptions(str(path)))


def test_folder_in_order_again_and_again(tmp_path, make_picture, encode):
    """By name; what can't be decoded is passed over; new pictures are seen in the next round."""
    (tmp_path / "b.png").write_bytes(encode(make_picture("blue"), "PNG"))
    (tmp_path / "c.jpg").write_bytes(b"damaged")
    (tmp_path / "a.png").write_bytes(encode(make_picture("red"), "PNG"))
    source = FolderSource(tmp_path, 1000.0)
    first = [source.read().decode()[0] for _ in range(4)]
    assert np.array_equal(first[0], make_picture("red"))
    assert np.array_equal(first[1], make_picture("blue"))
    assert np.array_equal(first[0], first[2])
    assert np.array_equal(first[1], first[3])
    (tmp_path / "d.png").write_bytes(encode(make_picture("green"), "PNG"))
    later = [source.read().decode()[0] for _ in range(3)]
    assert np.array_equal(later[2], make_picture("green"))


def test_folder_without_a_picture(tmp_path):
    """An error when it is opened, and one when all pictures turn out damaged."""
    with pytest.raises(CameraError, match="holds no picture"):
        FolderSource(tmp_path, 1.0)
    (tmp_path / "a.png").write_bytes(b"damaged")
    with pytest.raises(CameraError, match="can be decoded"):
        FolderSource(tmp_path, 1.0).read()


# -- cameras of the kernel, made up --------------------------------------------------------------

CAPTURE, METADATA, M2M, STREAMING, OF_THE_NODE = 0x1, 0x00800000, 0x8000, 0x04000000, 0x80000000


def node_file(tmp_path, driver, of_device, of_node):
    """What `query` finds for a node whose driver answers so."""

    def ioctl(_, request, data):
        assert (request, len(data)) == (0x80685600, 104)
        return struct.pack("16s32s32sIII12x", driver, b"A camera", b"usb-1", 0x050F00, of_device, of_node)

    path = tmp_path / "video0"
    path.touch()
    return query(path, ioctl)


@pytest.mark.parametrize(
    ("driver", "of_device", "of_node", "is_camera"),
    [
        (b"uvcvideo", CAPTURE | METADATA | OF_THE_NODE, CAPTURE | STREAMING, True),
        (b"uvcvideo", CAPTURE | METADATA | OF_THE_NODE, METADATA | STREAMING, False),
        (b"mx6s-csi", CAPTURE | STREAMING, 0, True),
        (b"unicam", 0x1000 | OF_THE_NODE, 0x1000, True),
        (b"bcm2835-codec", M2M | OF_THE_NODE, M2M | STREAMING, False),
        (b"bcm2835-codec", 0x4000 | OF_THE_NODE, 0x4000 | STREAMING, False),
        (b"bcm2835-isp", CAPTURE | OF_THE_NODE, CAPTURE | STREAMING, False),
        (b"loopback", 0x2 | OF_THE_NODE, 0x2, False),
    ],
)
def test_which_nodes_take_pictures(tmp_path, driver, of_device, of_node, is_camera):
    """Cameras do; their metadata nodes, codecs and a Raspberry Pi's image processor don't."""
    found = node_file(tmp_path, driver, of_device, of_node)
    assert found.driver == driver.decode()
    assert found.card == "A camera"
    assert found.takes_pictures == is_camera


def test_what_is_no_node(tmp_path):
    """A file, a missing one and a device of another kind are none."""
    (tmp_path / "video0").touch()
    for path in (tmp_path / "video0", tmp_path / "video1", Path("/dev/null")):
        assert query(path) is None


class MadeUpCapture:
    """An opened camera: gives `frames`, in `formats` it knows, and refuses the rest as a driver does."""

    def __init__(self, frames, formats=("YUYV",)):
        self.frames, self.formats, self.values, self.released = list(frames), formats, {}, False
        self.values[cv2.CAP_PROP_FOURCC] = cv2.VideoWriter_fourcc(*formats[0])

    def isOpened(self):
        return True

    def set(self, name, value):
        if name == cv2.CAP_PROP_FOURCC and struct.pack("<I", value).decode() not in self.formats:
            return False
        self.values[name] = value
        return True

    def get(self, name):
        return float(self.values.get(name, 0))

    def read(self):
        return (True, self.frames.pop(0)) if self.frames else (False, None)

    def release(self):
        self.released = True


def made_up_camera(capture, driver="uvcvideo", capabilities=CAPTURE, **options):
    """A source on it."""
    node = Node(driver, "A camera", capabilities)
    return V4l2Source(CameraOptions("/dev/video0", **options), lambda _: capture, lambda _: node)


def test_device_gives_jpegs_as_they_are(make_picture, encode):
    """MJPG is asked for, not converted, and handed on byte by byte; the end is an error that names the device."""
    data = encode(make_picture("red"))
    capture = MadeUpCapture([np.frombuffer(data, np.uint8)[None]], ("YUYV", "MJPG"))
    source = made_up_camera(capture, format="MJPG", width=1280, height=720, fps=10)
    assert source.read().data == data
    assert capture.values[cv2.CAP_PROP_CONVERT_RGB] == 0
    assert capture.values[cv2.CAP_PROP_FRAME_WIDTH] == 1280
    assert capture.values[cv2.CAP_PROP_FRAME_HEIGHT] == 720
    assert capture.values[cv2.CAP_PROP_FPS] == 10
    assert capture.values[cv2.CAP_PROP_BUFFERSIZE] == 1
    with pytest.raises(CameraError, match=r"/dev/video0 delivers no more frames"):
        source.read()
    source.close()
    assert capture.released


def test_device_gives_pixels(make_picture):
    """YUYV comes unconverted; what is of no known layout is converted by OpenCV."""
    yuyv = MadeUpCapture([np.full((48, 64, 2), 128, np.uint8)])
    assert made_up_camera(yuyv).read().decode()[0].shape == (48, 64, 3)
    assert yuyv.values[cv2.CAP_PROP_CONVERT_RGB] == 0
    other = MadeUpCapture([make_picture("red")[..., ::-1]], ("NV12",))
    assert np.array_equal(made_up_camera(other).read().decode()[0], make_picture("red"))
    assert other.values[cv2.CAP_PROP_CONVERT_RGB] == 1


def test_planes_are_converted_by_opencv(make_picture):
    """OpenCV gives them as one row of bytes otherwise, and aborts: seen with the kernel's virtual camera."""
    capture = MadeUpCapture([make_picture("red")[..., ::-1]])
    source = made_up_camera(capture, driver="mx6s-csi", capabilities=0x1000)
    assert capture.get(cv2.CAP_PROP_FOURCC) == cv2.VideoWriter_fourcc(*"YUYV")
    assert capture.values[cv2.CAP_PROP_CONVERT_RGB] == 1
    assert np.array_equal(source.read().decode()[0], make_picture("red"))


def test_device_formats():
    """One that the camera doesn't have is refused; on a ribbon cable YUYV is asked for, on USB nothing."""
    refused = MadeUpCapture([])
    with pytest.raises(CameraError, match="doesn't give the format MJPG, it gives YUYV"):
        made_up_camera(refused, format="MJPG")
    assert refused.released
    capture = MadeUpCapture([], ("NV12", "YUYV"))
    made_up_camera(capture, driver="mx6s-csi")
    assert capture.get(cv2.CAP_PROP_FOURCC) == cv2.VideoWriter_fourcc(*"YUYV")
    capture = MadeUpCapture([], ("NV12", "YUYV"))
    made_up_camera(capture)
    assert capture.get(cv2.CAP_PROP_FOURCC) == cv2.VideoWriter_fourcc(*"NV12")


def test_device_that_is_no_camera():
    """A codec named by its path is refused with the reason."""
    node = Node("bcm2835-codec", "", M2M)
    with pytest.raises(CameraError, match=r"/dev/video10 \(bcm2835-codec\) is not a camera"):
        V4l2Source(CameraOptions("/dev/video10"), MadeUpCapture, lambda _: node)


# -- network cameras -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("build", "option"),
    [("avformat: YES (58.76.100)", "stimeout"), ("avformat:  YES (62.12.101)", "timeout"), ("", "timeout")],
)
def test_time_limit_of_rtsp(build, option):
    """Is called otherwise before FFmpeg 5, where `timeout` means to wait for a caller."""
    assert capture_options(2.5, build) == f"rtsp_transport;tcp|{option};2500000"


def test_addresses_are_taken_apart():
    """User and password become a header; what HTTP can't carry is written in percent."""
    found = Address.parse("http://me:p%40ss:word@camera:81/a b?c=d e")
    assert (found.host, found.port, found.target) == ("camera", 81, "/a%20b?c=d%20e")
    assert base64.b64decode(found.headers["Authorization"].split()[1]) == b"me:p@ss:word"
    assert Address.parse("https://[::1]").host == "::1"
    for wrong in ("http://me:secret@camera:port/", "http://", "http://me:secret@:80/"):
        with pytest.raises(CameraError) as error:
            Address.parse(wrong)
        assert "secret" not in str(error.value)


def test_redirects_keep_the_password_to_themselves():
    """It goes along within the same host, and never to another."""
    assert _moved("http://me:pw@camera/a", "/b") == "http://me:pw@camera/b"
    assert _moved("http://me:pw@camera/a", "http://other/b") == "http://other/b"
    assert _moved("http://me:pw@camera/a", "https://camera/b") == "https://camera/b"
    with pytest.raises(CameraError, match="no HTTP address"):
        _moved("http://camera/a", "file:///etc/passwd")


@pytest.fixture
def two_hosts():
    """A camera whose address sends on to another server's picture, and (host, path, sign-in) of all that was asked."""
    asked, jpeg = [], cv2.imencode(".jpg", np.zeros((48, 64, 3), np.uint8))[1].tobytes()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            first = self.server is servers[0]
            asked.append((servers.index(self.server), self.path, self.headers.get("Authorization")))
            self.send_response(302 if first else 200)
            self.send_header("Content-Type", "image/jpeg")
            self.send_header("Content-Length", "0" if first else str(len(jpeg)))
            if first:
                self.send_header("Location", f"http://127.0.0.1:{servers[1].server_port}/picture.jpg")
            self.end_headers()
            self.wfile.write(b"" if first else jpeg)

        def log_message(self, *_):
            """Nothing on standard error."""

    servers = [ThreadingHTTPServer(("127.0.0.1", 0), Handler) for _ in range(2)]
    for server in servers:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://me:secret@127.0.0.1:{servers[0].server_port}/snap", asked
    for server in servers:
        server.shutdown()
        server.server_close()


def test_polling_goes_where_it_belongs(two_hosts):
    """Each picture is asked for at the camera's address; where that sends on to hears nothing of the password."""
    url, asked = two_hosts
    source = open_source(CameraOptions(url, fps=50))
    for _ in range(3):
        assert source.read().is_jpeg
    source.close()
    sign_in = "Basic " + base64.b64encode(b"me:secret").decode()
    assert asked[:6] == 3 * [(0, "/snap", sign_in), (1, "/picture.jpg", None)]
