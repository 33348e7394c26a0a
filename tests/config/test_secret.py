"""Secrets are named, read late, and shown never."""

from __future__ import annotations

import copy
import pickle
import traceback

import pytest
from pydantic import BaseModel, TypeAdapter, ValidationError

from mapdr.config.read import read_text
from mapdr.config.secret import Secret
from mapdr.kernel.errors import ConfigurationError

from .fakes import fake_registry

HIDDEN = "hunter2-hunter2"


class Holder(BaseModel):
    secret: Secret


def test_a_secret_is_read_when_it_is_used(tmp_path, monkeypatch):
    secret = Secret("env:MAPDR_TEST_SECRET")
    monkeypatch.setenv("MAPDR_TEST_SECRET", HIDDEN)
    assert secret.reveal() == HIDDEN
    (tmp_path / "key").write_text(f"{HIDDEN}\n")
    beside = TypeAdapter(Secret).validate_python("file:key", context={"base": tmp_path})
    assert beside.reveal() == HIDDEN
    assert beside == Secret("file:key")
    assert len({beside, Secret("file:key"), secret}) == 2


def test_what_is_shown_is_the_place(tmp_path):
    (tmp_path / "key").write_text(HIDDEN)
    holder = Holder.model_validate({"secret": "file:key"}, context={"base": tmp_path})
    assert holder.secret.reveal() == HIDDEN
    shown = f"{holder!r} {holder} {holder.secret} {holder.model_dump_json()} {holder.model_dump()}"
    assert "file:key" in shown
    assert HIDDEN not in shown
    for twin in (copy.deepcopy(holder.secret), pickle.loads(pickle.dumps(holder.secret))):
        assert twin.reveal() == HIDDEN
    assert Holder(secret=holder.secret).secret is holder.secret


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("env:MAPDR_TEST_UNSET", "the secret env:MAPDR_TEST_UNSET is empty or not set"),
        ("file:no-such-file", "the secret file:no-such-file cannot be read: No such file"),
        ("file:latin", "the secret file:latin cannot be read: it is not UTF-8 text"),
        ("file:empty", "the secret file:empty is empty or not set"),
    ],
)
def test_a_missing_secret_is_named(place, message, tmp_path):
    (tmp_path / "latin").write_bytes(b"\xff\xfe\xfahunter2")
    (tmp_path / "empty").write_text("\n")
    with pytest.raises(ConfigurationError, match=message) as caught:
        Secret(place, tmp_path).reveal()
    assert "hunter2" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("value", [HIDDEN, "env:", "file: ", "ENV:X", 7, None, [HIDDEN]])
def test_a_plain_secret_is_refused_without_showing_it(value):
    with pytest.raises(ValidationError) as caught:
        TypeAdapter(Secret).validate_python(value)
    assert 'write where the secret is kept: "env:NAME" or "file:PATH"' in caught.value.errors()[0]["msg"]
    assert HIDDEN not in caught.value.errors()[0]["msg"]


def test_no_problem_shows_a_secret():
    text = f"""
    [node]
    database = "postgresql+psycopg://mapdr:{HIDDEN}@db/mapdr"
    [webhook.one]
    url = "https://user:{HIDDEN}@ris.example/"
    on = "{HIDDEN}"
    secret = "{HIDDEN}"
    headers = {{ Authorization = "Bearer {HIDDEN}", X-Api-Key = "{HIDDEN}" }}
    timeout = "{HIDDEN}"
    [receive.one]
    type = "dicom"
    port = "{HIDDEN}"
    idle_timeout = "{HIDDEN}"
    allow = "{HIDDEN}"
    """
    loaded = read_text(text, fake_registry())
    shown = [str(problem) for problem in loaded.problems]
    assert len(shown) == 9
    assert not [line for line in shown if HIDDEN in line]
