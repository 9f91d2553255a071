"""Every setting, in one table: the fields of `Settings`.

A value comes from a flag, else from an environment variable (CORAL_LEARN_PORT for --port), else
from the configuration file, else it is the default. Those marked `changeable` can be changed while the
daemon runs, see `service.preferences`: what is chosen there is stronger than the file, weaker than the
other two.
"""

import argparse
import configparser
import dataclasses
import difflib
import ipaddress
import os
import textwrap
from pathlib import Path
from types import MappingProxyType
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence

from coral_learn.errors import DeviceError
from coral_learn.heads import ImprintingHead
from coral_learn.runtime.choose import DEVICES, check_device
from coral_learn.training import FALSE_ACCEPT_RATE, INCREMENTAL
from service.errors import SettingsError
from service.region import Region

MEGABYTE = 1024 * 1024
PREFIX = "CORAL_LEARN_"
SECTION = "coral-learn"
# Variables that are for the commands, not for the daemon.
OF_COMMANDS = ("CORAL_LEARN_URL", "CORAL_LEARN_TOKEN", "CORAL_LEARN_CA_FILE", "CORAL_LEARN_MIRROR")
LIVE_HEADS = tuple(INCREMENTAL)
# Where a value comes from.
DEFAULT, FILE, ENVIRONMENT, COMMAND_LINE = "default", "the configuration file", "the environment", "the command line"
BY_RELOAD = ("log_level",)  # not changeable over HTTP, but when the configuration file is read again
TURNS = (0, 90, 180, 270)  # degrees


def _setting(
    default: Any,
    help_text: str,
    lowest: float = 0,
    highest: float = 0,
    choices: Sequence[Any] = (),
    changeable: bool = False,
) -> Any:
    facts = {"help": help_text, "range": (lowest, highest), "choices": tuple(choices), "changeable": changeable}
    return dataclasses.field(default=default, metadata=facts)


@dataclasses.dataclass(frozen=True)
class Settings:
    """What the daemon is told. `load` makes one."""

    host: str = _setting("127.0.0.1", "address to listen on; any but this machine's own wants a token from clients")
    port: int = _setting(8080, "TCP port to listen on", 0, 65535)
    data_dir: str = _setting("", "folder for examples and models (default: where the system keeps a service's data)")
    camera: str = _setting(
        "auto",
        "auto (the first V4L2 device that takes pictures), none, a V4L2 device (path or number), an RTSP or HTTP "
        "address, a video file (looped) or a folder of images (looped)",
        changeable=True,
    )
    demo: bool = _setting(False, "show drawn pictures when no camera is connected")
    model: str = _setting("", "extractor, a .tflite file (default: the bundled EfficientNet-Lite0)")
    device: str = _setting("auto", f"where the extractor runs: {DEVICES}")
    on_device_loss: str = _setting(
        "wait",
        "what to do when the Edge TPU is lost: wait for it, or cpu, which stands in until it is back and says so",
        choices=("wait", "cpu"),
    )
    slow_down_at: float = _setting(
        85.0, "degrees Celsius from which on the camera's frames are answered more slowly, 0 for never", 0, 120
    )
    threads: int = _setting(0, "threads of the extractor on a CPU, 0 for one a core, at most 4", 0, 64)
    head: str = _setting("imprinting", f"the live model's head: {', '.join(LIVE_HEADS)}", choices=LIVE_HEADS)
    keep_classes: bool = _setting(
        False, "keep the model's pre-trained classes beside the taught ones (with the head imprinting)"
    )
    false_accept_rate: float = _setting(
        FALSE_ACCEPT_RATE,
        "share of pictures of nothing taught that may get a class instead of none; 1 always gives a class",
        0.001,
        1,
    )
    most_refused: float = _setting(
        0.005, "share of the taught examples themselves that may be taken for none to keep that rate", 0, 1
    )
    camera_fps: float = _setting(
        0.0,
        "frames a second to take, at most; 0 for the camera's own pace, and one picture a second from a folder",
        0,
        240,
        changeable=True,
    )
    camera_width: int = _setting(
        640, "pixels a row to ask of a V4L2 camera; it gives what is nearest", 16, 8192, changeable=True
    )
    camera_height: int = _setting(
        480, "rows of pixels to ask of a V4L2 camera; it gives what is nearest", 16, 8192, changeable=True
    )
    camera_format: str = _setting(
        "",
        "pixel format to ask of a V4L2 camera, four characters such as MJPG or YUYV (default: the driver's choice)",
        changeable=True,
    )
    camera_rotate: int = _setting(
        0, "degrees to turn the camera's picture by, clockwise: 0, 90, 180 or 270", choices=TURNS, changeable=True
    )
    camera_mirror: bool = _setting(
        False, "exchange left and right of the camera's picture, after turning it", changeable=True
    )
    camera_roi: str = _setting(
        "",
        "part of the camera's picture to use, after turning and mirroring: x,y,width,height in shares of it, such as "
        "0.25,0,0.5,1 (default: all)",
        changeable=True,
    )
    camera_frozen_s: float = _setting(
        10.0,
        "seconds of exactly the same picture after which a camera counts as lost, 0 for never; not for videos and "
        "folders",
        0,
        3600,
    )
    decide_threshold: float = _setting(
        0.0, "score below which what the camera shows counts as none of the classes", 0, 1, changeable=True
    )
    decide_frames: int = _setting(
        3, "equal answers in a row before a class is published as decided; 1 decides at once", 1, 1000, changeable=True
    )
    decide_smoothing: float = _setting(
        0.0, "weight of the frames before in a moving average of the scores", 0, 0.95, changeable=True
    )
    review_mb: float = _setting(
        50.0,
        "megabytes of camera frames to keep for review, uncertain and novel ones; 0 keeps none",
        0,
        1e5,
        changeable=True,
    )
    max_upload_mb: float = _setting(16.0, "largest request body, in megabytes", 0.1, 256)
    max_import_mb: float = _setting(
        4096.0, "largest archive to import, in megabytes; it may unpack to twice as many", 0.1, 1e6
    )
    max_megapixels: float = _setting(25.0, "largest picture, in millions of pixels", 0.1, 200)
    min_free_mb: float = _setting(
        100.0,
        "megabytes of the disk to leave free; with less, storing is refused and reading goes on",
        0,
        1e6,
    )
    max_streams: int = _setting(32, "clients that may watch the stream at the same time", 1, 256)
    max_picture_streams: int = _setting(4, "clients that may watch the camera's picture at the same time", 1, 32)
    extractor_timeout: float = _setting(10.0, "seconds an embedding may take before its process is replaced", 0.1, 600)
    job_memory_mb: int = _setting(
        0,
        "megabytes of memory that the process of a training job may use, 0 for half of the machine's",
        0,
        1_000_000,
    )
    allowed_hosts: str = _setting("", "further names this daemon is reached by, separated by commas")
    tls_cert: str = _setting(
        "",
        "certificate chain, a PEM file; with it and tls-key the daemon speaks HTTPS only; a renewed one is taken over",
    )
    tls_key: str = _setting("", "the certificate's private key, a PEM file without a passphrase")
    trusted_proxy: str = _setting(
        "",
        "IP address of the reverse proxy whose X-Forwarded-For, -Proto and -Host are believed, * for any; "
        "with it clients need a token on any address",
    )
    log_level: str = _setting("info", "debug, info, warning or error", choices=("debug", "info", "warning", "error"))
    log_format: str = _setting(
        "auto",
        "auto, text or json; auto is text on a terminal, else a line of JSON each",
        choices=("auto", "text", "json"),
    )


FIELDS = {field.name: field for field in dataclasses.fields(Settings)}


class Loaded(NamedTuple):
    """Settings; origins : where each of those comes from that is no default."""

    settings: Settings
    origins: Dict[str, str]


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add a flag for every setting, and --config, to a command's parser."""
    parser.add_argument("--config", metavar="FILE", help=f"configuration file (INI, section [{SECTION}])")
    for field in dataclasses.fields(Settings):
        flag, help_text = "--" + field.name.replace("_", "-"), field.metadata["help"]
        if field.type in (bool, "bool"):
            parser.add_argument(flag, action="store_const", const="true", help=help_text)
        else:
            shown = f" (default: {field.default})" if field.default != "" else ""
            parser.add_argument(flag, metavar="VALUE", help=(help_text + shown).replace("%", "%%"))


def markdown_table() -> str:
    """The settings as the README lists them."""
    rows = ["| setting | default | what |", "|---|---|---|"]
    for field in dataclasses.fields(Settings):
        default = str(field.default).lower() if isinstance(field.default, bool) else field.default
        shown = f"`{default}`" if default != "" else ""
        rows.append(f"| `{field.name.replace('_', '-')}` | {shown} | {field.metadata['help']} |")
    return "\n".join(rows)


def example_config(chosen: Mapping[str, str] = MappingProxyType({})) -> str:
    """A configuration file with every setting, its default and what it is.

    chosen : the settings that are to be in force in it, as text; all others are not
    """
    lines = [
        "# /etc/coral-learn.conf: settings of the service.",
        "# Each is shown with its default; take the # away in front of its name to change it.",
        "# `systemctl reload coral-learn` takes over those marked with [reload], a restart takes over all.",
        "# `coral-learn print-config --config /etc/coral-learn.conf` shows what they come to.",
        f"[{SECTION}]",
    ]
    for name, field in FIELDS.items():
        default = str(field.default).lower() if isinstance(field.default, bool) else field.default
        mark = " [reload]" if field.metadata["changeable"] or name in BY_RELOAD else ""
        lines.append("")
        lines += textwrap.wrap(field.metadata["help"] + mark, 100, initial_indent="# ", subsequent_indent="# ")
        sign, value = ("", chosen[name]) if name in chosen else ("#", default)
        lines.append(f"{sign}{name.replace('_', '-')} = {value}".rstrip())
    return "\n".join(lines) + "\n"


def load(flags: Mapping[str, Optional[str]], environ: Mapping[str, str], config: Optional[str] = None) -> Settings:
    """Settings from flags, environment and configuration file, in that order of strength.

    Raises `SettingsError` that lists every mistake.
    """
    return load_with_origins(flags, environ, config).settings


def load_with_origins(
    flags: Mapping[str, Optional[str]], environ: Mapping[str, str], config: Optional[str] = None
) -> Loaded:
    """The same, with where each value comes from."""
    config = config or environ.get(PREFIX + "CONFIG")
    layers = [(FILE, _read_config(config)), (ENVIRONMENT, _read_environ(environ))]
    layers.append((COMMAND_LINE, {name: value for name, value in flags.items() if value is not None}))
    values: Dict[str, Any] = {}
    origins: Dict[str, str] = {}
    mistakes: List[str] = []
    for source, layer in layers:
        for name, text in layer.items():
            if name not in FIELDS:
                mistakes.append(f"{source} sets {name!r}, which doesn't exist{did_you_mean(name, FIELDS)}")
                continue
            try:
                values[name], origins[name] = parse(FIELDS[name], text), source
            except ValueError as error:
                mistakes.append(f"{source} sets {name} to {text!r}: {error}")
    if values.get("keep_classes") and values.get("head", ImprintingHead.kind) != ImprintingHead.kind:
        mistakes.append(f"keep_classes works with the head {ImprintingHead.kind} only, not with {values['head']}")
    if bool(values.get("tls_cert")) != bool(values.get("tls_key")):
        mistakes.append("tls_cert and tls_key belong together; only one of them is set")
    if mistakes:
        raise SettingsError("; ".join(mistakes))
    if not values.get("data_dir"):
        values["data_dir"] = _default_data_dir(environ)
    return Loaded(Settings(**values), origins)


def parse(field, text: str) -> Any:
    """The value of a setting, a field of `Settings`, from text. Raises `ValueError`."""
    kind = type(field.default)
    if kind is bool:
        words = {
            "true": True,
            "yes": True,
            "on": True,
            "1": True,
            "false": False,
            "no": False,
            "off": False,
            "0": False,
        }
        if text.strip().lower() not in words:
            raise ValueError("allowed are true and false")
        return words[text.strip().lower()]
    choices = field.metadata["choices"]
    if kind is str:
        if choices and text not in choices:
            raise ValueError(f"allowed are {', '.join(choices)}")
        return _check_text(field.name, text)
    try:
        value = kind(text)
    except ValueError:
        raise ValueError(f"a {'whole number' if kind is int else 'number'} is needed") from None
    if choices and value not in choices:
        raise ValueError(f"allowed are {', '.join(str(one) for one in choices)}")
    lowest, highest = field.metadata["range"]
    if not choices and not lowest <= value <= highest:
        raise ValueError(f"allowed is {lowest:g} to {highest:g}")
    return value


def _check_text(name: str, text: str) -> str:
    if name == "device":
        try:
            check_device(text)
        except DeviceError as error:
            raise ValueError(str(error)) from error
    if name == "trusted_proxy" and text not in ("", "*"):
        ipaddress.ip_address(text)  # its ValueError says what is wrong
    if name == "camera_format" and text and not (len(text) == 4 and text.isascii() and text.isalnum()):
        raise ValueError("a format has four letters or digits, such as MJPG or YUYV")
    if name == "camera_roi":
        Region.parse(text)
    if "\0" in text:
        raise ValueError("a NUL character is not allowed")
    return text.upper() if name == "camera_format" else text


def _read_config(path: Optional[str]) -> Dict[str, str]:
    if not path:
        return {}
    parser = configparser.ConfigParser(interpolation=None)
    try:
        with open(path, encoding="utf-8") as file:
            parser.read_file(file)
        return {name.replace("-", "_"): value for name, value in parser[SECTION].items()}
    except OSError as error:
        raise SettingsError(f"the configuration file {path} can't be read: {error.strerror}") from error
    except KeyError:
        raise SettingsError(f"the configuration file {path} has no section [{SECTION}]") from None
    except (configparser.Error, UnicodeDecodeError) as error:
        raise SettingsError(f"the configuration file {path} can't be understood: {error}") from error


def _read_environ(environ: Mapping[str, str]) -> Dict[str, str]:
    names = [name for name in environ if name.startswith(PREFIX) and name not in (PREFIX + "CONFIG", *OF_COMMANDS)]
    return {name[len(PREFIX) :].lower(): environ[name] for name in names}


def did_you_mean(name: str, known) -> str:
    """ " (did you mean ...?)" where one of the known names is near, else nothing."""
    close = difflib.get_close_matches(name, list(known), 1)
    return f" (did you mean {close[0]}?)" if close else ""


def _default_data_dir(environ: Mapping[str, str]) -> str:
    if environ.get("STATE_DIRECTORY"):  # set by systemd
        return environ["STATE_DIRECTORY"].split(":")[0]
    base = environ.get("XDG_DATA_HOME") or os.path.join(os.path.expanduser("~"), ".local", "share")
    return str(Path(base) / "coral-learn")
