"""coral_learn/image.py: from bytes to the pixels a model takes."""

import struct
import warnings
import zlib
from io import BytesIO

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from coral_learn import image
from coral_learn.errors import ImageBroken, ImageError, ImageFormatUnsupported, ImageTooLarge, ImageTooSmall
from coral_learn.image import ImageHeader, ImageLimits

RED, WHITE, BLACK = (255, 0, 0), (255, 255, 255), (0, 0, 0)


def png(width, height, pixels, depth=8):
    """A greyscale PNG around zlib-packed rows."""

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = struct.pack(">IIBBBBB", width, height, depth, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def quarters():
    """A picture whose four quarters differ, so that each way of turning it shows."""
    rgb = np.zeros((40, 64, 3), np.uint8)
    rgb[:20, :32], rgb[:20, 32:], rgb[20:, :32], rgb[20:, 32:] = RED, (0, 255, 0), (0, 0, 255), WHITE
    return rgb


def turn(rgb, orientation):
    """What a viewer shows for an EXIF orientation (Exif 2.3, tag 0x0112)."""
    return {
        1: rgb,
        2: rgb[:, ::-1],
        3: rgb[::-1, ::-1],
        4: rgb[::-1],
        5: rgb.transpose(1, 0, 2),
        6: np.rot90(rgb, -1),
        7: rgb[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(rgb, 1),
    }[orientation]


def difference(one, other):
    """Mean absolute difference of two pictures of the same shape."""
    assert one.shape == other.shape
    return np.abs(one.astype(int) - other.astype(int)).mean()


def mpo(encode, *pictures):
    """Several JPEGs in one file as phones write them (CIPA DC-007): an index in APP2, then one after another."""
    files = [encode(rgb, "JPEG", quality=95) for rgb in pictures]
    sizes = [len(files[0]) + 90] + [len(file) for file in files[1:]]
    entries = b"".join(
        struct.pack("<IIIHH", 0x030000 if i == 0 else 0, size, sum(sizes[:i]) - 24 if i else 0, 0, 0)
        for i, size in enumerate(sizes)
    )
    index = struct.pack("<2sHIH", b"II", 42, 8, 3) + struct.pack("<HHI4s", 0xB000, 7, 4, b"0100")
    index += struct.pack("<HHII", 0xB001, 4, 1, len(files)) + struct.pack("<HHIII", 0xB002, 7, len(entries), 50, 0)
    app2 = b"MPF\0" + index + entries
    first = files[0][:2] + b"\xff\xe2" + struct.pack(">H", len(app2) + 2) + app2 + files[0][2:]
    assert len(first) == sizes[0]
    return first + b"".join(files[1:])


@pytest.mark.parametrize("format", image.FORMATS)
def test_decodes_every_format(format, encode):
    """Each listed format is recognised and gives the pixels that were stored."""
    rgb = quarters()
    data = encode(rgb, format, **({"quality": 95} if format in ("JPEG", "WEBP") else {}))

    assert image.read_header(data) == ImageHeader(format, 64, 40)
    decoded = image.decode(data)
    assert decoded.dtype == np.uint8
    assert difference(decoded, rgb) < 8
    assert image.check_rgb(decoded) is decoded


def test_every_format_has_media_type_and_suffix():
    """No format is without a media type and a file name suffix."""
    assert set(image.MEDIA_TYPES) == set(image.SUFFIXES) == set(image.FORMATS)


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", ImageTooSmall),
        (b"this is a text, not a picture\n" * 20, ImageFormatUnsupported),
        (b"\x00" * 1000, ImageFormatUnsupported),
        (png(30, 30, b"not packed"), ImageBroken),
        (png(30, 30, zlib.compress(b"")), ImageBroken),
    ],
)
def test_refuses_what_is_no_picture(data, error):
    """Nothing at all, other files and rubbish behind a header are told apart."""
    with pytest.raises(error) as caught:
        image.decode(data)

    assert type(caught.value) is error


def test_refuses_gif(encode):
    """GIF is not decoded, and the message says what is."""
    with pytest.raises(ImageFormatUnsupported, match="JPEG, PNG, BMP, WEBP"):
        image.decode(encode(quarters(), "GIF"))


@pytest.mark.parametrize("at_least", [None, 32, 48, 90])
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "BMP"])
def test_refuses_truncated(format, at_least, encode, make_picture):
    """A picture cut in half has a good header and can't be decoded."""
    data = encode(make_picture("red", 0, 200, 200), format)
    half = data[: len(data) // 2]

    with warnings.catch_warnings(), pytest.raises(ImageBroken):
        warnings.simplefilter("ignore")  # as in the daemon: older numpy only warns of what it could not read
        image.decode(half, at_least=at_least)


def test_errors_have_stable_codes():
    """Programs tell the errors apart by `code`."""
    codes = [error.code for error in (ImageError, *sorted(ImageError.__subclasses__(), key=lambda c: c.code))]

    assert codes == [
        "image_unusable",
        "image_broken",
        "image_format_unsupported",
        "image_too_large",
        "image_too_small",
    ]


def test_refuses_too_many_bytes(encode):
    """The limit of bytes is the last size allowed."""
    data = encode(quarters(), "PNG")

    assert image.decode(data, ImageLimits(max_bytes=len(data))).shape == (40, 64, 3)
    with pytest.raises(ImageTooLarge, match=str(len(data))):
        image.read_header(data, ImageLimits(max_bytes=len(data) - 1))


def test_refuses_too_many_pixels(encode):
    """The limit of pixels is the last number allowed."""
    data = encode(quarters(), "PNG")

    assert image.decode(data, ImageLimits(max_pixels=64 * 40)).shape == (40, 64, 3)
    for judge in (image.read_header, image.decode):
        with pytest.raises(ImageTooLarge, match="64 x 40"):
            judge(data, ImageLimits(max_pixels=64 * 40 - 1))


def test_refuses_decompression_bomb():
    """60 million pixels in less than 100 kB are refused."""
    bomb = png(10000, 6000, zlib.compress(bytes(1251 * 6000), 9), depth=1)

    assert len(bomb) < 100_000
    with pytest.raises(ImageTooLarge, match="10000 x 6000"):
        image.decode(bomb)


@pytest.mark.parametrize("side", [6000, 10000, 20000, 2**31 - 1])
def test_refuses_large_from_header_alone(side):
    """The pixels behind the header of a large picture are not looked at: here they would be broken."""
    with pytest.raises(ImageTooLarge):
        image.decode(png(side, side, b"not packed"))


@pytest.mark.parametrize(("width", "height"), [(15, 64), (64, 15), (1, 1)])
def test_refuses_short_sides(width, height, encode, make_picture):
    """Each side needs 16 pixels."""
    with pytest.raises(ImageTooSmall, match=f"{width} x {height}"):
        image.decode(encode(make_picture("red", 0, width, height), "PNG"))
    assert image.decode(encode(make_picture("red", 0, 16, 16), "PNG")).shape == (16, 16, 3)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_turns_upright(orientation, encode):
    """Each of the eight EXIF orientations ends upright; the header tells the stored size."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encode(quarters(), "JPEG", quality=100, subsampling=0, exif=exif.tobytes())

    assert difference(image.decode(data), turn(quarters(), orientation)) < 4
    assert image.read_header(data) == ImageHeader("JPEG", 64, 40)


def test_first_picture_of_mpo(encode):
    """A phone's file of several JPEGs is a JPEG, and the first one counts."""
    rgb = quarters()
    data = mpo(encode, rgb, rgb[::-1])

    assert Image.open(BytesIO(data)).format == "MPO"
    assert image.read_header(data) == ImageHeader("JPEG", 64, 40)
    assert difference(image.decode(data), rgb) < 8


@pytest.mark.parametrize(
    ("pixel", "seen"), [((0, 0, 0, 0), WHITE), ((255, 0, 0, 255), RED), ((0, 0, 0, 51), (204, 204, 204))]
)
def test_transparency_on_white(pixel, seen, encode):
    """What is transparent becomes white, what is half transparent is mixed with white."""
    rgb = image.decode(encode(Image.new("RGBA", (20, 20), pixel), "PNG"))

    assert np.abs(rgb.astype(int) - seen).max() <= 1


@pytest.mark.parametrize("transparency", [0, bytes([0, 255])])
def test_palette_with_transparency(transparency, encode):
    """A transparent palette entry becomes white, whether one entry is named or each has its alpha."""
    picture = Image.new("P", (20, 20), 0)
    picture.putpalette([10, 20, 30, 255, 0, 0])
    picture.paste(1, (10, 0, 20, 20))
    rgb = image.decode(encode(picture, "PNG", transparency=transparency))

    assert rgb[5, 5].tolist() == list(WHITE)
    assert rgb[5, 15].tolist() == list(RED)


def test_palette_without_transparency(encode):
    """A palette picture gives its colours."""
    picture = Image.new("P", (20, 20), 1)
    picture.putpalette([10, 20, 30, 255, 0, 0])

    assert (image.decode(encode(picture, "PNG")) == RED).all()


@pytest.mark.parametrize(("deep", "seen"), [(0, 0), (0x0100, 1), (0x8000, 128), (0xFFFF, 255)])
def test_sixteen_bits_are_scaled(deep, seen, encode):
    """16 bits a pixel are scaled to 8, not clipped."""
    data = encode(np.full((20, 20), deep, np.uint16), "PNG")

    assert (image.decode(data) == seen).all()


def test_cmyk_jpeg(encode):
    """A JPEG for printing gives the colours it shows."""
    rgb = image.decode(encode(Image.new("CMYK", (20, 20), (0, 255, 255, 0)), "JPEG"))

    assert difference(rgb, np.full((20, 20, 3), RED, np.uint8)) < 3


@pytest.mark.parametrize("format", ["JPEG", "PNG", "BMP", "WEBP"])
def test_grey(format, encode):
    """A grey picture has three equal channels."""
    ramp = np.tile(np.arange(0, 240, 10, np.uint8), (24, 1))
    rgb = image.decode(encode(Image.fromarray(ramp), format))

    assert difference(rgb, np.repeat(ramp[..., None], 3, axis=2)) < 4


def test_black_and_white(encode):
    """One bit a pixel gives 0 and 255."""
    picture = Image.fromarray(np.eye(20, dtype=np.uint8) * 255).convert("1")

    assert (image.decode(encode(picture, "PNG"))[..., 1] == np.eye(20) * 255).all()


@pytest.mark.parametrize(
    ("size", "at_least", "decoded"),
    [
        ((640, 480), 224, (320, 240)),
        ((480, 640), 224, (240, 320)),
        ((1600, 1200), 150, (200, 150)),
        ((1600, 1200), 151, (400, 300)),
        ((640, 480), 240, (320, 240)),
        ((640, 480), 241, (640, 480)),
        ((100, 80), 224, (100, 80)),
        ((640, 480), None, (640, 480)),
    ],
)
def test_jpeg_at_a_fraction(size, at_least, decoded, encode, make_picture):
    """A large JPEG is decoded smaller, its shorter side never below `at_least`; a small one isn't enlarged."""
    rgb = image.decode(encode(make_picture("green", 0, *size)), at_least=at_least)

    assert (rgb.shape[1], rgb.shape[0]) == decoded


@pytest.mark.parametrize(("side", "at_least"), [(188, 48), (1276, 320)])
def test_jpeg_at_a_fraction_rounds_up(side, at_least, encode, make_picture):
    """Not even by rounding does the shorter side fall below `at_least`."""
    assert min(image.decode(encode(make_picture("green", 0, side, side)), at_least=at_least).shape[:2]) >= at_least


def test_fraction_looks_the_same(encode):
    """A JPEG decoded at a fraction and fitted is the picture fitted from the full size."""
    data = encode(quarters().repeat(16, axis=0).repeat(16, axis=1), quality=95)
    full, fraction = image.decode(data), image.decode(data, at_least=64)

    assert fraction.shape[0] < full.shape[0]
    assert difference(image.fit(full, 32, 32), image.fit(fraction, 32, 32)) < 3


def test_fraction_turns_upright(encode):
    """A picture is turned upright when decoded at a fraction as well."""
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encode(quarters().repeat(8, axis=0).repeat(8, axis=1), exif=exif.tobytes())

    assert difference(image.decode(data, at_least=40), turn(quarters(), 6)) < 20


def test_other_formats_are_averaged_down(encode, make_picture):
    """By a whole factor that keeps the side asked for; a palette stays as it is."""
    picture = make_picture("green", 0, 640, 480)
    assert image.decode(encode(picture, "PNG"), at_least=100).shape == (120, 160, 3)
    assert image.decode(encode(picture, "PNG"), at_least=241).shape == (480, 640, 3)
    palette = Image.fromarray(picture).quantize(8)
    assert image.decode(encode(palette, "PNG"), at_least=100).shape == (480, 640, 3)


def test_decode_side_is_the_longer_input_side():
    """A picture is decoded no smaller than what is made of it."""
    assert (image.decode_side(224, 224), image.decode_side(96, 160)) == (224, 160)


@pytest.mark.parametrize("size", [(640, 480), (480, 640), (1280, 720), (1920, 1080), (1001, 777), (449, 601)])
@pytest.mark.parametrize("format", ["JPEG", "BMP"])
def test_fraction_gives_the_same_pixels(format, size, encode):
    """Of a picture with detail of all sizes, whatever it is reduced by."""
    data = encode(detailed(*size), format, **({"quality": 90} if format == "JPEG" else {}))
    full, fraction = image.decode(data), image.decode(data, at_least=image.decode_side(224, 224))
    one, other = (image.fit(rgb, 224, 224).astype(np.float32) for rgb in (full, fraction))

    assert min(fraction.shape[:2]) < 2 * 224 <= min(full.shape[:2])
    assert np.abs(one - other).mean() < 2
    one, other = one - one.mean(), other - other.mean()
    assert (one * other).sum() > 0.996 * np.sqrt((one**2).sum() * (other**2).sum())


def detailed(width, height):
    """Random spots of all sizes."""
    random = np.random.RandomState(0)
    total, weights = np.zeros((height, width, 3), np.float32), (1, 2, 3, 4, 5, 6)
    for k, weight in enumerate(weights):
        layer = random.randint(0, 256, (-(-height // 2**k), -(-width // 2**k), 3)).astype(np.uint8)
        total += weight * np.asarray(Image.fromarray(layer).resize((width, height), Image.BICUBIC), np.float32)
    return (total / sum(weights)).astype(np.uint8)


@pytest.mark.parametrize("target", [(32, 32), (40, 24), (24, 40)])
@pytest.mark.parametrize("size", [(640, 480), (480, 640), (200, 200), (16, 16), (1, 1), (1, 500), (500, 1), (33, 31)])
def test_fit_gives_the_models_shape(size, target):
    """Landscape, portrait, square and tiny pictures all end in the model's shape; a plain colour stays what it is."""
    fitted = image.fit(np.full((size[1], size[0], 3), (10, 120, 250), np.uint8), *target)

    assert fitted.shape == (target[1], target[0], 3)
    assert fitted.dtype == np.uint8
    assert fitted.flags.c_contiguous
    assert (fitted == (10, 120, 250)).all()


@pytest.mark.parametrize("portrait", [False, True])
def test_fit_keeps_the_centre(portrait):
    """The longer side loses both ends alike."""
    rgb = np.full((60, 180, 3), RED, np.uint8)
    rgb[:, 60:120] = WHITE
    fitted = image.fit(rgb.transpose(1, 0, 2) if portrait else rgb, 20, 20)

    assert (fitted == WHITE).all()


def test_fit_keeps_proportions():
    """A square stays a square."""
    rgb = np.zeros((120, 200, 3), np.uint8)
    rgb[30:90, 70:130] = WHITE
    bright = image.fit(rgb, 40, 40)[..., 0] > 127

    assert bright.any(axis=0).sum() == bright.any(axis=1).sum() == 20


def test_fit_averages_what_it_shrinks():
    """Fine patterns become grey instead of flickering."""
    black_or_white = np.random.RandomState(0).randint(0, 2, (512, 512, 1)) * 255
    fitted = image.fit(np.repeat(black_or_white, 3, axis=2).astype(np.uint8), 32, 32)

    assert abs(fitted.mean() - 127.5) < 3
    assert fitted.std() < 20  # of single pixels it is 127


@pytest.mark.parametrize("shrink", [1.6, 1.99, 2.4, 3.2, 5.0])
def test_fit_skips_no_pixel(shrink):
    """Stripes too narrow to be seen in the result turn grey, however much it is shrunk; wide ones stay."""
    side = round(100 * shrink)

    def contrast(stripe):
        column = ((np.arange(side) / stripe).astype(int) % 2 * 200 + 20).astype(np.uint8)
        return image.fit(np.tile(column[:, None, None], (1, side, 3)), 100, 100)[10:-10, 10:-10].std()

    assert contrast(shrink / 2) < 60
    assert contrast(4 * shrink) > 90  # of 100


def test_fit_leaves_a_fitting_picture(make_picture):
    """A picture that has the model's shape is not changed."""
    rgb = make_picture("blue", 0, 32, 32)

    assert (image.fit(rgb, 32, 32) == rgb).all()


def test_fit_takes_sizes_of_numpy(make_picture):
    """As the shape of a model's input has them."""
    rgb = make_picture("blue", 0, 200, 100)

    assert (image.fit(rgb, np.int64(32), np.int64(32)) == image.fit(rgb, 32, 32)).all()


def test_fit_takes_views_and_read_only_arrays(make_picture):
    """A mirrored view and a read-only array fit as a plain array does."""
    rgb = make_picture("blue", 0, 200, 100)
    mirrored = np.ascontiguousarray(rgb[:, ::-1])
    rgb.setflags(write=False)

    assert (image.fit(rgb[:, ::-1], 32, 32) == image.fit(mirrored, 32, 32)).all()


@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros((20, 20), np.uint8),
        np.zeros((20, 20, 4), np.uint8),
        np.zeros((20, 20, 3), np.float32),
        np.zeros((0, 20, 3), np.uint8),
        [],
        "picture",
    ],
)
def test_check_rgb_refuses(wrong):
    """Only an array of shape (height, width, 3) and type uint8 is an RGB picture."""
    with pytest.raises(ImageBroken, match="shape"):
        image.check_rgb(wrong)


@pytest.fixture(scope="module")
def samples(encode):
    """One small file of each kind that the decoder has a way of its own for."""
    rgb, exif = quarters(), Image.Exif()
    exif[0x0112] = 6
    palette = Image.fromarray(rgb).convert("P")
    return [
        encode(rgb, "JPEG", exif=exif.tobytes()),
        encode(Image.fromarray(rgb).convert("CMYK"), "JPEG"),
        mpo(encode, rgb, rgb),
        encode(rgb, "PNG", exif=exif.tobytes()),
        encode(palette, "PNG", transparency=0),
        encode(np.full((20, 20), 300, np.uint16), "PNG"),
        encode(rgb, "BMP"),
        encode(rgb, "WEBP"),
        encode(Image.fromarray(rgb).convert("RGBA"), "WEBP", lossless=True),
    ]


@given(
    which=st.integers(0, 8),
    cut=st.floats(0, 1),
    changes=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=8),
    early=st.booleans(),
)
def test_damaged_pictures_raise_only_image_errors(samples, which, cut, changes, early):
    """Whatever the bytes, the answer is a picture or an `ImageError`."""
    data = bytearray(samples[which])
    for place, value in changes:
        data[int(place * min(len(data), 64 if early else len(data)))] = value
    data = bytes(data[: int(len(data) * max(cut, 0.02))] if cut < 0.7 else data)
    try:
        rgb = image.decode(data, ImageLimits(max_pixels=100_000), at_least=16)
    except ImageError:
        return
    assert image.check_rgb(rgb).size <= 300_000


@given(st.binary(max_size=300), st.sampled_from([b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"BM", b"RIFF"]))
def test_rubbish_raises_only_image_errors(rubbish, start):
    """Any bytes, with the start of a known format or without, are refused with an `ImageError`."""
    with pytest.raises(ImageError):
        image.decode(start + rubbish)


def test_blur_takes_sharpness_away():
    """The more a picture is blurred the less sharp it is; an empty one is not sharp at all."""
    sharp = np.random.RandomState(0).randint(0, 256, (64, 64, 3)).astype(np.uint8)
    found = [image.sharpness(sharp), *(image.sharpness(cv2.GaussianBlur(sharp, (0, 0), s)) for s in (1, 2, 4))]
    assert found == sorted(found, reverse=True)
    assert found[0] > 1000 * found[-1]
    assert image.sharpness(np.full((64, 64, 3), 128, np.uint8)) == 0
    with pytest.raises(ImageBroken):
        image.sharpness(sharp[..., 0])
