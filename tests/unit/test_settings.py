"""Settings come from the environment, flags beat it, and a wrong value is named."""

import os
from pathlib import Path

import pytest

from framewise.core.errors import SettingsError
from framewise.settings import Settings

EVERYTHING = {
    "HOST": "0.0.0.0",
    "PORT": "8123",
    "WORKERS": "3",
    "THREADS": "5",
    "LOG_LEVEL": "debug",
    "BASIC_AUTH_USER": "ann",
    "BASIC_AUTH_PASS": "s3cret-pass",
    "WEBHOOK_TOKEN": "s3cret-hook",
    "LABEL_STUDIO_URL": "http://localhost:8080/ls/",
    "LABEL_STUDIO_API_KEY": "s3cret-key",
    "MODEL_ROOT": "/srv/models",
    "CACHE_DIR": "/srv/cache",
    "DATA_DIR": "/srv/data",
    "MODEL_PATH": "best.pt",
    "MODEL_SCORE_THRESHOLD": "0.25",
    "ALLOW_CUSTOM_MODEL_PATH": "no",
    "LOCAL_FILES_ROOTS": os.pathsep.join(["/srv/a", "/srv/b"]),
    "MEDIA_HOSTS": "Media.example, *.cdn.example, 192.168.1.0/24, ::1",
    "MEDIA_MAX_BYTES": "2000000000",
    "PREDICT_WAIT_SECONDS": "2.5",
}


def test_defaults():
    settings = Settings.from_env({})
    assert (settings.port, settings.log_level, settings.model_score_threshold) == (9090, "INFO", 0.5)
    assert settings.model_path == "yolov8n-cls.pt"
    assert settings.local_files_roots == ()
    assert settings.label_studio_url is None
    assert settings.allow_custom_model_path is True


def test_every_setting_is_read():
    settings = Settings.from_env(EVERYTHING)
    assert settings == Settings(
        host="0.0.0.0",
        port=8123,
        workers=3,
        threads=5,
        log_level="DEBUG",
        basic_auth_user="ann",
        basic_auth_pass="s3cret-pass",
        webhook_token="s3cret-hook",
        label_studio_url="http://localhost:8080/ls",
        label_studio_api_key="s3cret-key",
        model_root=Path("/srv/models"),
        cache_dir=Path("/srv/cache"),
        data_dir=Path("/srv/data"),
        model_path="best.pt",
        model_score_threshold=0.25,
        allow_custom_model_path=False,
        local_files_roots=(Path("/srv/a"), Path("/srv/b")),
        media_hosts=("media.example", "*.cdn.example", "192.168.1.0/24", "::1"),
        media_max_bytes=2_000_000_000,
        predict_wait_seconds=2.5,
    )


@pytest.mark.parametrize("environ", [{}, EVERYTHING])
def test_the_environment_of_a_child_gives_the_same_settings(environ):
    settings = Settings.from_env(environ)
    assert Settings.from_env(settings.to_env()) == settings


def test_folders_are_made_absolute(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert Settings.from_env({"MODEL_ROOT": "here"}).model_root == tmp_path / "here"


def test_flags_beat_the_environment():
    settings = Settings.from_env({"PORT": "1000", "WORKERS": "3"}, {"port": "2000"})
    assert (settings.port, settings.workers) == (2000, 3)


def test_an_empty_variable_counts_as_not_set():
    assert Settings.from_env({"PORT": "", "BASIC_AUTH_USER": "", "BASIC_AUTH_PASS": ""}) == Settings.from_env({})


def test_label_studio_host_is_another_name_of_its_url():
    assert Settings.from_env({"LABEL_STUDIO_HOST": "http://ls:8080"}).label_studio_url == "http://ls:8080"


def test_label_studio_url_beats_its_other_name():
    settings = Settings.from_env({"LABEL_STUDIO_HOST": "http://old:8080", "LABEL_STUDIO_URL": "http://new:8080"})
    assert settings.label_studio_url == "http://new:8080"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "http"),
        ("PORT", "0"),
        ("PORT", "70000"),
        ("WORKERS", "0"),
        ("WORKERS", "1.5"),
        ("THREADS", "1"),
        ("LOG_LEVEL", "LOUD"),
        ("LABEL_STUDIO_URL", "localhost:8080"),
        ("LABEL_STUDIO_URL", "ftp://ls"),
        ("MODEL_SCORE_THRESHOLD", "1.5"),
        ("MODEL_SCORE_THRESHOLD", "nan"),
        ("ALLOW_CUSTOM_MODEL_PATH", "perhaps"),
        ("LOCAL_FILES_ROOTS", "relative/folder"),
        ("MEDIA_HOSTS", "http://media.example"),
        ("MEDIA_HOSTS", "media.example:8080"),
        ("MEDIA_HOSTS", "media.example/videos"),
        ("MEDIA_HOSTS", "media.*.example"),
        ("MEDIA_HOSTS", "192.168.1.0/33"),
        ("MEDIA_HOSTS", "192.168.1.7/24"),
        ("MEDIA_HOSTS", "192.168.1"),
        ("MEDIA_MAX_BYTES", "50 GB"),
        ("MEDIA_MAX_BYTES", "0"),
        ("LABEL_STUDIO_URL", "http://ls:99999"),
        ("PREDICT_WAIT_SECONDS", "-1"),
        ("PREDICT_WAIT_SECONDS", "1000"),
        ("DATABASE_JOURNAL", "memory"),
        ("MIN_FREE_DISK_BYTES", "2 GB"),
    ],
)
def test_a_wrong_value_is_named_with_its_variable(name, value):
    with pytest.raises(SettingsError) as caught:
        Settings.from_env({name: value})
    assert str(caught.value).startswith(f"{name}: ")
    assert repr(value) in str(caught.value)


@pytest.mark.parametrize("given", [{"BASIC_AUTH_USER": "ann"}, {"BASIC_AUTH_PASS": "s3cret-pass"}])
def test_a_user_without_a_password_is_refused_and_the_password_not_shown(given):
    with pytest.raises(SettingsError, match="BASIC_AUTH_USER and BASIC_AUTH_PASS must be set together") as caught:
        Settings.from_env(given)
    assert "s3cret" not in str(caught.value)


def test_secrets_are_not_in_a_printed_settings_object():
    settings = Settings.from_env({"LABEL_STUDIO_API_KEY": "key-3f9", "WEBHOOK_TOKEN": "token-3f9"})
    assert "3f9" not in repr(settings)


@pytest.mark.parametrize(
    "url", ["redis://h", "redis://:s3cret@h:6379/0", "rediss://ann:s3cret@10.0.0.7:6380/12", "redis://h:1/"]
)
def test_a_queue_may_be_on_redis(url):
    settings = Settings.from_env({"QUEUE_URL": url})
    assert settings.queue_url == url
    assert "s3cret" not in repr(settings)
    assert Settings.from_env(settings.to_env()) == settings


@pytest.mark.parametrize(
    "url", ["h:6379", "http://:s3cret@h", "redis://", "redis://:s3cret@h/queue", "redis://:s3cret@h:99999"]
)
def test_a_queue_elsewhere_is_refused_and_its_password_not_shown(url):
    with pytest.raises(SettingsError, match=r"^QUEUE_URL: ") as caught:
        Settings.from_env({"QUEUE_URL": url})
    assert "s3cret" not in str(caught.value)


SECRETS = ("BASIC_AUTH_PASS", "WEBHOOK_TOKEN", "LABEL_STUDIO_API_KEY")


@pytest.mark.parametrize("name", SECRETS)
def test_a_secret_may_be_in_a_file(name, tmp_path):
    (tmp_path / "secret").write_text("  s3cret-3f9 \n")
    settings = Settings.from_env({"BASIC_AUTH_USER": "ann", "BASIC_AUTH_PASS": "" if name == "BASIC_AUTH_PASS" else "x",
                                  f"{name}_FILE": str(tmp_path / "secret")})  # fmt: skip
    assert getattr(settings, name.lower()) == "s3cret-3f9"
    child = {"BASIC_AUTH_USER": "ann", f"{name}_FILE": str(tmp_path / "secret"), **settings.to_env()}
    assert Settings.from_env(child) == settings


def test_a_flag_beats_the_file_of_a_secret(tmp_path):
    (tmp_path / "secret").write_text("from the file")
    given = {"WEBHOOK_TOKEN_FILE": str(tmp_path / "secret")}
    assert Settings.from_env(given, {"webhook_token": "from the flag"}).webhook_token == "from the flag"


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "expected one line in .*, found none"),
        (b" \n", "expected one line in .*, found none"),
        (b"s3cret\nsecond", "expected one line in .*, found several"),
        (b"s3cret\xff", "cannot read .*: it is not UTF-8 text"),
        (None, "cannot read .*: No such file or directory"),
    ],
)
def test_a_file_that_holds_no_secret_is_named_and_not_shown(tmp_path, content, problem):
    path = tmp_path / "token"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SettingsError, match=f"^WEBHOOK_TOKEN_FILE: {problem}") as caught:
        Settings.from_env({"WEBHOOK_TOKEN_FILE": str(path)})
    assert "s3cret" not in str(caught.value)


def test_a_secret_given_twice_is_refused(tmp_path):
    (tmp_path / "secret").write_text("s3cret")
    with pytest.raises(SettingsError, match="WEBHOOK_TOKEN and WEBHOOK_TOKEN_FILE are both set") as caught:
        Settings.from_env({"WEBHOOK_TOKEN": "s3cret", "WEBHOOK_TOKEN_FILE": str(tmp_path / "secret")})
    assert "s3cret" not in str(caught.value)


def test_what_is_no_secret_is_read_from_no_file(tmp_path):
    (tmp_path / "port").write_text("8123")
    assert Settings.from_env({"PORT_FILE": str(tmp_path / "port")}).port == 9090


def test_number_that_is_none_is_named_with_what_was_expected():
    with pytest.raises(SettingsError, match=r"PORT: expected a whole number from 1 to 65535, found 'http'"):
        Settings.from_env({"PORT": "http"})
    with pytest.raises(SettingsError, match=r"MODEL_SCORE_THRESHOLD: expected a number from 0 to 1, found 'half'"):
        Settings.from_env({"MODEL_SCORE_THRESHOLD": "half"})
