"""What the demo tells at its end; what it shows before is shown by running it."""

import sys

import pytest

import demo


@pytest.mark.parametrize("other", [None, "/another/environment"])
def test_the_environment_is_activated_unless_it_is_the_active_one(monkeypatch, capsys, tmp_path, other):
    monkeypatch.setenv("VIRTUAL_ENV", sys.prefix)
    demo.tell_next(tmp_path)
    assert "activate" not in capsys.readouterr().out
    monkeypatch.setenv("VIRTUAL_ENV", other) if other else monkeypatch.delenv("VIRTUAL_ENV")
    demo.tell_next(tmp_path)
    assert "bin/activate" in capsys.readouterr().out
