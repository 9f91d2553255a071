"""Drawn pictures to try the service with when no camera is connected: three things in many positions.

One thing after the other, each for a while, as if somebody held it up.
"""

from pathlib import Path

import numpy as np

from service.store.files import make_folder

THINGS = ("ball", "cup", "star")
DRAWN = "drawn"  # the kind of camera this is
_IN_A_ROW, _ROUNDS = 4, 2
FPS = 0.6  # pictures a second: a thing is shown for seven seconds, long enough to find the button and hold it
_SIDE = 256


def draw_demo(folder: Path) -> Path:
    """Draw the pictures into a folder, NN-THING.png in the order of showing, unless they are there. Returns it."""
    import cv2

    make_folder(folder)
    shown = {picture_of(thing, variant): (thing, variant) for thing in THINGS for variant in range(_IN_A_ROW * _ROUNDS)}
    for path in folder.glob("*.png"):
        if path.name not in shown:  # of another version
            path.unlink()
    for name, (thing, variant) in shown.items():
        if not (folder / name).exists():
            cv2.imwrite(str(folder / name), draw(thing, variant)[..., ::-1])
    return folder


def picture_of(thing: str, variant: int) -> str:
    """The name of a picture's file."""
    turn, place = divmod(variant, _IN_A_ROW)
    return f"{(turn * len(THINGS) + THINGS.index(thing)) * _IN_A_ROW + place:02d}-{thing}.png"


def draw(thing: str, variant: int) -> np.ndarray:
    """One picture, (256, 256, 3) uint8 RGB; the same for the same variant."""
    import cv2

    random = np.random.RandomState(1000 * THINGS.index(thing) + variant)
    scene = _background(random)
    x, y = random.randint(96, 160, 2)
    size = int(random.randint(48, 72))
    colour = tuple(int(value) for value in random.randint(60, 240, 3))
    {"ball": _ball, "cup": _cup, "star": _star}[thing](cv2, scene, (int(x), int(y)), size, colour, random)
    return cv2.GaussianBlur(scene, (0, 0), 0.7)


def _background(random) -> np.ndarray:
    top, bottom = random.randint(120, 230, 3), random.randint(60, 160, 3)
    share = np.linspace(0, 1, _SIDE)[:, None, None]
    scene = np.broadcast_to(top * (1 - share) + bottom * share, (_SIDE, _SIDE, 3))
    return (scene + random.normal(0, 4, scene.shape)).clip(0, 255).astype(np.uint8)


def _ball(cv2, scene, centre, size, colour, _) -> None:
    cv2.circle(scene, centre, size, colour, -1, cv2.LINE_AA)
    for angle in (0, 60, 120):
        cv2.ellipse(scene, centre, (size, size // 3), angle, 0, 360, (30, 30, 30), 2, cv2.LINE_AA)
    shine = (centre[0] - size // 3, centre[1] - size // 3)
    cv2.circle(scene, shine, size // 6, (255, 255, 255), -1, cv2.LINE_AA)


def _cup(cv2, scene, centre, size, colour, _) -> None:
    left, top = centre[0] - size, centre[1] - size
    right, bottom = centre[0] + size // 2, centre[1] + size
    cv2.rectangle(scene, (left, top), (right, bottom), colour, -1)
    cv2.ellipse(scene, (right, centre[1]), (size // 2, size // 2), 0, -90, 90, colour, 9, cv2.LINE_AA)
    middle, half = ((left + right) // 2, top), ((right - left) // 2, size // 6)
    cv2.ellipse(scene, middle, half, 0, 0, 360, (90, 60, 40), -1, cv2.LINE_AA)


def _star(cv2, scene, centre, size, colour, random) -> None:
    turn = random.uniform(0, 2 * np.pi / 5)
    angles = turn + np.arange(10) * np.pi / 5
    radius = np.where(np.arange(10) % 2 == 0, size * 1.2, size * 0.5)
    points = np.stack([centre[0] + radius * np.cos(angles), centre[1] + radius * np.sin(angles)], axis=1)
    cv2.fillPoly(scene, [points.round().astype(np.int32)], colour, cv2.LINE_AA)
