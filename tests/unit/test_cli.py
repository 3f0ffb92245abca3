"""The command line before anything is composed: help, unknown commands and options."""

import sys

import pytest

from melissa_like.config.keys import schema_keys
from melissa_like.launcher.cli import main


def said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str
) -> tuple[object, str, str]:
    """The exit code of the command, and what it wrote."""
    monkeypatch.setattr(sys, "argv", ["melissa-like", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    written = capsys.readouterr()
    return ended.value.code, written.out, written.err


@pytest.mark.parametrize("command", ["run", "check"])
def test_help_explains_every_key(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    code, out, _ = said(monkeypatch, capsys, command, "--help")
    assert code == 0
    assert out.startswith("usage: melissa-like COMMAND")
    assert all(f"\n  {key}" in out for key in schema_keys())


@pytest.mark.parametrize("named", ["buffer", "buffer=fifo", "buffer.capacity"])
def test_help_of_one_group(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], named: str) -> None:
    code, out, _ = said(monkeypatch, capsys, "run", named, "--help")
    assert code == 0
    assert "buffer.capacity" in out
    assert "training.batch_size" not in out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["ckeck"], "unknown command 'ckeck': did you mean check?"),
        (["make"], "write one of run, resume, status, scale, site, check"),
        (["run", "--dryrun"], "did you mean --dry-run"),
        (["run", "--conf-dir=x"], "did you mean --config-dir"),
        (["check", "-q"], "unknown option '-q': write one of"),
        (["run", "--help", "bufer"], "'bufer' is no group: write one of study, solver"),
        (["status"], "usage: melissa-like status RUN_DIR"),
    ],
)
def test_what_is_unknown_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    code, _, err = said(monkeypatch, capsys, *arguments)
    assert code == 2
    assert words in err
