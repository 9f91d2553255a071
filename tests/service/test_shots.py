"""From what a camera gives to what is handed out: decoded as little as needed, turned, cut and captioned."""

import importlib.util

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coral_learn import Extractor, image
from service.camera import jpeg
from service.camera.caption import Captions, OpencvPen, PillowPen
from service.camera.making import FrameMaker
from service.camera.shot import Shot
from service.camera.view import View
from service.errors import CameraError
from service.region import Region

OLD_RUNTIME = importlib.util.find_spec("ai_edge_litert") is None


def quarters(width=64, height=48):
    """Red, green / blue, white."""
    rgb = np.zeros((height, width, 3), np.uint8)
    rgb[: height // 2, : width // 2] = (250, 0, 0)
    rgb[: height // 2, width // 2 :] = (0, 250, 0)
    rgb[height // 2 :, : width // 2] = (0, 0, 250)
    rgb[height // 2 :, width // 2 :] = (250, 250, 250)
    return rgb


def colour(pixel):
    """Its name."""
    names = {(1, 0, 0): "red", (0, 1, 0): "green", (0, 0, 1): "blue", (1, 1, 1): "white"}
    return names[tuple(int(value > 128) for value in pixel)]


def corners(rgb):
    """The colours of its corners: upper left, upper right, lower left, lower right."""
    height, width = rgb.shape[:2]
    places = [(y, x) for y in (height // 8, -height // 8) for x in (width // 8, -width // 8)]
    return " ".join(colour(rgb[place]) for place in places)


@pytest.mark.parametrize(
    ("rotate", "mirror", "seen"),
    [
        (0, False, "red green blue white"),
        (0, True, "green red white blue"),
        (90, False, "blue red white green"),
        (90, True, "red blue green white"),
        (180, False, "white blue green red"),
        (270, False, "green white red blue"),
    ],
)
def test_turned_clockwise_then_mirrored(rotate, mirror, seen):
    """The picture itself, what the extractor gets, and the JPEGs of viewers all show the same."""
    view, maker = View(rotate, mirror), FrameMaker(View(rotate, mirror))
    turned = view.apply(quarters())
    assert corners(turned) == seen
    assert view.size(64, 48) == (turned.shape[1], turned.shape[0])
    for shot in (Shot(raw=quarters()[..., ::-1]), Shot(data=jpeg.encode(quarters()))):
        made = maker.make(shot, 32, 32, whole=False)
        assert corners(made.pixels) == seen
        assert corners(image.decode(maker.plain(made))) == seen
        annotated = image.decode(maker.annotated(made, "x"))
        assert corners(annotated[:-16]) == seen
        assert (annotated[-1] < 100).all()
        assert made.size == view.size(64, 48)


def test_region_is_cut_after_turning():
    """The upper left quarter of what was turned by 90 degrees is the lower left one before."""
    maker = FrameMaker(View(90, False, Region(0, 0, 0.5, 0.5)))
    for shot in (Shot(raw=quarters()[..., ::-1]), Shot(data=jpeg.encode(quarters()))):
        made = maker.make(shot, 16, 16, whole=False)
        assert {colour(pixel) for pixel in made.pixels.reshape(-1, 3)} == {"blue"}
        assert made.size == (24, 32)
        assert image.decode(maker.plain(made)).shape == (32, 24, 3)


@given(
    st.integers(16, 90),
    st.integers(16, 90),
    st.sampled_from([0, 90, 180, 270]),
    st.booleans(),
    st.sampled_from([None, Region(0.1, 0.2, 0.5, 0.6), Region(0, 0, 0.01, 1), Region(0, 0, 1, 1)]),
)
def test_every_view_of_every_size(width, height, rotate, mirror, region):
    """Pixels have the model's shape, the picture the size that is told, with and without decoding all of it."""
    maker = FrameMaker(View(rotate, mirror, region))
    pixels = np.random.RandomState(0).randint(0, 256, (height, width, 3)).astype(np.uint8)
    for shot in (Shot(raw=pixels), Shot(data=jpeg.encode(pixels))):
        for whole in (False, True):
            made = maker.make(shot, 24, 16, whole)
            assert made.pixels.shape == (16, 24, 3)
            assert image.decode(maker.plain(made), image.ImageLimits(min_side=1)).shape == (*made.size[::-1], 3)


def test_cameras_own_jpeg_is_handed_on():
    """Byte by byte, where nothing has to be turned or cut; else it is made anew."""
    data = jpeg.encode(quarters())
    for view, same in ((View(), True), (View(region=Region(0, 0, 1, 1)), True), (View(180), False)):
        maker = FrameMaker(view)
        made = maker.make(Shot(data=data), 16, 16, whole=False)
        assert (maker.plain(made) == data) == same
        assert maker.annotated(made, " ") == maker.plain(made)


def test_usual_tables_are_put_back():
    """A motion JPEG without Huffman tables becomes a file every viewer shows; one with tables stays as it is."""
    data = jpeg.encode(quarters())
    start = data.index(b"\xff\xc4")
    bare = data[:start] + data[data.index(b"\xff\xda") :]
    assert jpeg.complete(data) == data
    assert b"\xff\xc4" not in bare
    assert b"\xff\xc4" in jpeg.complete(bare)
    assert np.array_equal(image.decode(jpeg.complete(bare)), image.decode(data))


@given(st.binary(max_size=200))
def test_completing_garbage(data):
    """Damaged files come back; nothing is raised."""
    assert len(jpeg.complete(b"\xff\xd8\xff" + data)) >= len(data)


@pytest.mark.parametrize("width", [640, 642, 100])
def test_yuyv(width, make_picture):
    """Two pixels share their colours; cut to the centre first, the model gets what it would get from all of it."""
    rgb = np.repeat(make_picture("blue", 1, width // 2, 480), 2, axis=1)
    float_rgb = rgb.astype(float)
    y = 16 + (65.7 * float_rgb[..., 0] + 129.1 * float_rgb[..., 1] + 25.1 * float_rgb[..., 2]) / 256
    u = 128 + (-37.9 * float_rgb[..., 0] - 74.5 * float_rgb[..., 1] + 112.4 * float_rgb[..., 2]) / 256
    v = 128 + (112.4 * float_rgb[..., 0] - 94.2 * float_rgb[..., 1] - 18.3 * float_rgb[..., 2]) / 256
    raw = np.stack([y, np.where(np.arange(width) % 2 == 0, u, v)], axis=-1).round().astype(np.uint8)
    shot = Shot.of_capture(raw)
    whole, size = shot.decode()
    assert size == (width, 480)
    assert np.abs(whole.astype(int) - rgb).mean() < 3
    made = FrameMaker(View()).make(shot, 48, 48, whole=False)
    assert made.size == size
    assert np.array_equal(made.pixels, image.fit(whole, 48, 48))
    assert image.decode(FrameMaker(View()).plain(made)).shape == whole.shape


def test_what_a_capture_gives():
    """A row of bytes is a JPEG, three layers are BGR, two are YUYV; anything else is refused."""
    data = jpeg.encode(quarters())
    for shape in ((1, -1), (-1,), (-1, 1), (1, -1, 1)):
        assert Shot.of_capture(np.frombuffer(data, np.uint8).reshape(shape)).data == data
    assert corners(Shot.of_capture(quarters()[..., ::-1]).decode()[0]) == "red green blue white"
    for wrong in (None, np.zeros((0, 0, 3), np.uint8), np.zeros((4, 4, 3), np.float32), np.zeros((4, 4), np.uint8)):
        with pytest.raises(CameraError):
            Shot.of_capture(wrong)


def test_sameness_is_to_the_byte(make_picture):
    """One value in a million changed is another picture."""
    one = make_picture("red", 0, 640, 480)
    other = one.copy()
    assert Shot(raw=one).same_as(Shot(raw=other))
    other[-1, -1, -1] ^= 1
    assert not Shot(raw=one).same_as(Shot(raw=other))
    assert not Shot(raw=one).same_as(Shot(raw=one[:-1]))
    assert Shot(data=b"a").same_as(Shot(data=b"a"))
    assert not Shot(data=b"a").same_as(Shot(data=b"b"))
    assert not Shot(data=b"a").same_as(None)
    assert not Shot(data=b"a").same_as(Shot(raw=one))


def test_exif_rotation(encode, make_picture):
    """A picture on its side is turned upright, and its size is told as it is then."""
    from PIL import Image

    exif = Image.Exif()
    exif[0x0112] = 6
    shot = Shot(data=encode(make_picture("red", 0, 640, 480), exif=exif))
    assert shot.decode(100)[1] == (480, 640)


@pytest.mark.parametrize("pen", [OpencvPen, PillowPen])
@pytest.mark.parametrize(
    "text", ["cup 93 %", "Tasse \u00e4", "\u30ab\u30c3\u30d7", "\U0001f600", "long " * 200, "a\0\n\tb"]
)
@pytest.mark.parametrize("size", [(48, 64), (720, 1280), (16, 16), (1, 1)])
def test_captions(pen, text, size):
    """Drawn at the lower edge of a copy, whatever the text and the size; nothing else is touched."""
    if pen is OpencvPen and not hasattr(pytest.importorskip("cv2"), "FontFace"):
        pytest.skip("OpenCV is older than 5")
    rgb = np.full((*size, 3), 100, np.uint8)
    drawn = Captions(pen()).draw(rgb, text)
    assert drawn.shape == rgb.shape
    assert (rgb == 100).all()
    if min(size) > 16:
        bar = max(14, round(0.06 * size[0]))
        assert (drawn[:-bar] == 100).all()
        assert drawn[-bar:].min() < 100  # dark
        assert drawn[-bar:].max() > 150  # and letters on it


def test_what_can_not_be_written_is_seen():
    """A question mark stands for it."""
    pens = [PillowPen()]
    if hasattr(pytest.importorskip("cv2"), "FontFace"):
        pens.append(OpencvPen())
    for pen in pens:
        rgb = np.zeros((480, 640, 3), np.uint8)
        unknown, marked, other = (Captions(pen).draw(rgb, text) for text in ("a \U000f1234", "a ?", "a !"))
        assert np.array_equal(unknown, marked)
        assert not np.array_equal(unknown, other)
        assert np.array_equal(Captions(pen).draw(rgb, " \n"), rgb)


@pytest.mark.parametrize("width, height", [(640, 480), (1280, 720), (1920, 1080)])
def test_fraction_is_as_good_as_all_drawn(width, height):
    """A drawn picture decoded at a fraction gives the extractor what decoding all of it gives."""
    extractor = Extractor(device="cpu")
    agreement = cosine(extractor, scene(width, height))
    assert agreement >= 0.995


@pytest.mark.skipif(OLD_RUNTIME, reason="takes minutes with this run-time")
def test_fraction_is_as_good_as_all_photographs(shared_data):
    """As cameras would give them. Single ones differ by what changing pixels by one costs as well."""
    from PIL import Image

    extractor = Extractor(device="cpu")
    paths = sorted((shared_data / "coral" / "imprinting").glob("*.png"))
    paths += sorted((shared_data / "imagenet500").glob("*"))[:300:25]
    for width, height in ((640, 480), (1280, 720), (1920, 1080)):
        found = []
        for path in paths:
            with Image.open(path) as opened:
                picture = opened.convert("RGB").resize((width, height), Image.BICUBIC)
            found.append(cosine(extractor, np.asarray(picture)))
        assert np.mean(found) >= 0.996, (width, found)
        assert min(found) >= 0.99, (width, found)


def cosine(extractor, rgb):
    """How the embeddings of a JPEG agree, decoded at a fraction and whole; it has to be a fraction."""
    size = extractor.info.input_width, extractor.info.input_height
    shot, maker = Shot(data=jpeg.encode(rgb)), FrameMaker(View())
    part = maker.make(shot, *size, whole=False)
    assert part.rgb.shape[0] * 2 <= rgb.shape[0]
    assert part.size == (rgb.shape[1], rgb.shape[0])
    one = extractor.embed_pixels(part.pixels)
    other = extractor.embed_pixels(maker.make(shot, *size, whole=True).pixels)
    return float(one @ other / np.linalg.norm(one) / np.linalg.norm(other))


def scene(width, height):
    """A drawn picture with structure of all sizes."""
    import cv2

    random = np.random.RandomState(3)
    layers = [random.randint(0, 256, (height >> k, width >> k, 3)).astype(np.uint8) for k in range(3, 8)]
    mixed = sum(cv2.resize(layer, (width, height), interpolation=cv2.INTER_CUBIC) / 5.0 for layer in layers)
    drawn = mixed.clip(0, 255).astype(np.uint8)
    cv2.circle(drawn, (width // 2, height // 2), height // 3, (200, 40, 30), -1, cv2.LINE_AA)
    return drawn
