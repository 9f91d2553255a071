"""Settings from flags, environment and file; and that the README lists all of them."""

import dataclasses
import re
from pathlib import Path

import pytest

from service.__main__ import main
from service.errors import SettingsError
from service.settings import Settings, example_config, load, load_with_origins, markdown_table

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture
def config(tmp_path):
    """Writes a configuration file."""

    def write(text: str) -> str:
        path = tmp_path / "coral-learn.conf"
        path.write_text(text)
        return str(path)

    return write


def test_strength_of_the_layers(config):
    """A flag is stronger than the environment, that is stronger than the file, that is stronger than the default."""
    path = config("[coral-learn]\nport = 1\nmax-streams = 5\nhead = imprinting\n")
    settings = load({"port": "3"}, {"CORAL_LEARN_PORT": "2", "CORAL_LEARN_MAX_STREAMS": "6"}, path)
    assert (settings.port, settings.max_streams, settings.host) == (3, 6, "127.0.0.1")
    assert load({}, {"CORAL_LEARN_CONFIG": path}).port == 1


def test_every_mistake_is_reported_at_once(config):
    """Unknown names with the nearest known one; values with what is allowed and what came."""
    path = config("[coral-learn]\nprot = 1\ndemo = maybe\n")
    with pytest.raises(SettingsError) as caught:
        load({"port": "99999", "device": "gpu"}, {"CORAL_LEARN_THREADS": "many", "CORAL_LEARN_HEAD": "brain"}, path)
    text = str(caught.value)
    for part in ("did you mean port?", "demo", "0 to 65535", "'gpu'", "whole number", "'brain'"):
        assert part in text


@pytest.mark.parametrize("text", ["no section", "[other]\nport = 1\n", "[coral-learn]\nport\n"])
def test_files_that_can_not_be_understood(config, text):
    """A SettingsError that names the file."""
    with pytest.raises(SettingsError, match=r"coral-learn\.conf"):
        load({}, {}, config(text))


def test_certificate_and_key_belong_together():
    """One without the other is a mistake; the proxy is an address, or * for any."""
    for flags in ({"tls_cert": "/x.pem"}, {"tls_key": "/x.key"}, {"trusted_proxy": "proxy.example"}):
        with pytest.raises(SettingsError, match=next(iter(flags))):
            load(flags, {})
    assert load({"tls_cert": "/x.pem", "tls_key": "/x.key"}, {}).tls_cert == "/x.pem"
    for proxy in ("", "*", "192.0.2.1", "::1"):
        assert load({"trusted_proxy": proxy}, {}).trusted_proxy == proxy


def test_missing_file():
    """A SettingsError, not a stack trace."""
    with pytest.raises(SettingsError, match="can't be read"):
        load({}, {}, "/nonexistent/coral-learn.conf")


@pytest.mark.parametrize("head", ["lda", "knn"])
def test_only_imprinting_keeps_classes(config, head):
    """Keeping pre-trained classes with a head that can't is a mistake, wherever the two come from."""
    path = config(f"[coral-learn]\nhead = {head}\n")
    for flags, environ, file in (
        ({"keep_classes": "true", "head": head}, {}, None),
        ({"keep_classes": "true"}, {"CORAL_LEARN_HEAD": head}, None),
        ({}, {"CORAL_LEARN_KEEP_CLASSES": "yes"}, path),
    ):
        with pytest.raises(SettingsError, match=f"keep_classes works with the head imprinting only, not with {head}"):
            load(flags, environ, file)
    assert load({"keep_classes": "true", "head": "imprinting"}, {}, path).keep_classes is True
    assert load({"keep_classes": "true"}, {}).head == "imprinting"
    assert load({"keep_classes": "false", "head": head}, {}).head == head


def test_data_folder_follows_the_system():
    """systemd's state directory, else XDG's data home, else the home folder."""
    assert load({}, {"STATE_DIRECTORY": "/var/lib/coral-learn"}).data_dir == "/var/lib/coral-learn"
    assert load({}, {"XDG_DATA_HOME": "/x"}).data_dir == "/x/coral-learn"
    assert load({"data_dir": "/y"}, {"STATE_DIRECTORY": "/z"}).data_dir == "/y"


def test_readme_lists_every_setting():
    """The table in the README is the one the settings give."""
    assert markdown_table() in (ROOT / "README.md").read_text(encoding="utf-8")
    assert all(field.metadata["help"] for field in dataclasses.fields(Settings))


def test_example_configuration_explains_every_setting(tmp_path):
    """Its lines are the defaults, and can be read."""
    in_force = tmp_path / "in_force.conf"
    in_force.write_text(re.sub("^#(?=[a-z])", "", example_config(), flags=re.MULTILINE))
    loaded = load_with_origins({}, {}, str(in_force))
    assert loaded.settings == load({}, {})
    assert set(loaded.origins) == {field.name for field in dataclasses.fields(Settings)}


def test_installed_configuration_names_the_data_folder():
    """The generated one, with the folder that systemd makes in force: commands don't get it from systemd."""
    path = ROOT / "systemd" / "coral-learn.conf"
    generated = "coral-learn print-config --example --data-dir /var/lib/coral-learn > systemd/coral-learn.conf"
    assert path.read_text(encoding="utf-8") == example_config({"data_dir": "/var/lib/coral-learn"}), generated
    loaded = load_with_origins({}, {}, str(path))
    assert set(loaded.origins) == {"data_dir"}
    assert loaded.settings == load({}, {"STATE_DIRECTORY": "/var/lib/coral-learn"})


def test_example_configuration_with_settings_in_force(capsys, tmp_path):
    """Flags of the command are in force in what it prints; one that can't be is refused."""
    assert main(["print-config", "--example", "--port", "9000", "--camera", "none"]) == 0
    path = tmp_path / "printed.conf"
    path.write_text(capsys.readouterr().out)
    loaded = load_with_origins({}, {}, str(path))
    assert set(loaded.origins) == {"port", "camera"}
    assert (loaded.settings.port, loaded.settings.camera) == (9000, "none")
    assert main(["print-config", "--example", "--port", "none"]) == 2
    assert "whole number" in capsys.readouterr().err


def test_example_configuration_marks_what_can_be_reloaded():
    """A changeable setting and the log's level; no other."""
    marks = re.findall(r"(\[reload\])?\n#([a-z-]+) =", example_config())
    assert [name for mark, name in marks if mark and name in ("port", "model")] == []
    named = {"camera", "camera-width", "camera-height", "camera-format", "camera-fps", "decide-frames", "log-level"}
    assert {name for mark, name in marks if mark} >= named
