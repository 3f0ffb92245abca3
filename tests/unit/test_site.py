"""The first site file, from what Slurm said on real and documented clusters."""

from pathlib import Path

import pytest
import yaml
from hydra import compose, initialize_config_module
from hydra.core.config_store import ConfigStore

from melissa_like.config import Config
from melissa_like.errors import ConfigurationError
from melissa_like.launcher import site as command
from melissa_like.launcher.cli import main
from melissa_like.launcher.partitions import Partition, read_accounts, read_partitions, site_yaml

#: Slurm 22.05 with three nodes, one of which has a GPU.
SMALL = """\
main*|up|1-00:00:00|1-infinite|2|4|4000|(null)
main*|up|1-00:00:00|1-infinite|1|4|4000|gpu:1
gpu|up|2:00:00|1-infinite|1|4|4000|gpu:1
"""
#: As sites are: names with dots, kinds of GPUs with their sockets, a partition that is down, sizes that differ.
LARGE = """\
debug|up|30:00|1-2|4|64+|256000+|(null)
cpu.long*|up|5-00:00:00|1-64|900|128|512000|(null)
a100|up|1-12:00:00|1-infinite|80|48|1030000|gpu:a100:4(S:0-1),shard:16
a100|up|1-12:00:00|1-infinite|2|48|1030000|gpu:a100:8(S:0-3)
v100|up|infinite|1-infinite|20|40|190000|gpu:v100:4(S:0-1),nvme:1
maint|down|infinite|1-infinite|900|128|512000|(null)
bigmem|up|2-00:00:00|1|3|192|6000000|(null)
"""


def partition(name: str, **changes: object) -> Partition:
    known = {"is_default": False, "limit_s": None, "most_nodes": None, "num_nodes": 1, "num_cpus": 4, "num_gpus": 0}
    return Partition(name=name, memory_mb=4000, **{**known, **changes})  # type: ignore[arg-type]


def test_partitions_are_read() -> None:
    assert read_partitions(SMALL) == [
        partition("main", is_default=True, limit_s=86400, num_nodes=3, num_gpus=1),
        partition("gpu", limit_s=7200, num_gpus=1),
    ]
    found = {one.name: one for one in read_partitions(LARGE)}
    assert list(found) == ["debug", "cpu.long", "a100", "v100", "bigmem"]
    assert (found["a100"].num_gpus, found["v100"].num_gpus) == (8, 4)
    assert (found["debug"].limit_s, found["debug"].most_nodes, found["debug"].num_cpus) == (1800, 2, 64)
    assert (found["a100"].limit_s, found["v100"].limit_s, found["bigmem"].most_nodes) == (129600, None, 1)
    assert [one.name for one in found.values() if one.is_default] == ["cpu.long"]
    assert read_partitions("\n") == []
    with pytest.raises(ValueError, match="has 2 fields and not 8"):
        read_partitions("main*|up\n")


def test_accounts_are_read() -> None:
    assert read_accounts("") == []
    assert read_accounts("physics\nclimate\nphysics\n") == ["physics", "climate"]


@pytest.mark.parametrize(
    ("said", "accounts", "server", "solver"),
    [
        (
            SMALL,
            [],
            {"partition": "main", "gpus": 1, "time": "1-00:00:00"},
            {"partition": "main", "time": "1-00:00:00"},
        ),
        (
            LARGE,
            ["physics", "climate"],
            {"partition": "a100", "account": "physics", "gpus": 1, "time": "1-00:00:00"},
            {"partition": "cpu.long", "account": "physics", "time": "1-00:00:00"},
        ),
        ("null*|up|infinite|1-infinite|9|4|4000|(null)\n", [], {"partition": "null"}, {"partition": "null"}),
        (
            "short|up|30:00|1|9|4|4000|(null)\n",
            [],
            {"partition": "short", "time": "0:30:00"},
            {"partition": "short", "time": "0:30:00"},
        ),
    ],
    ids=["small", "large", "a name that YAML would misread", "short"],
)
def test_the_file_says_where_server_and_solver_run(
    tmp_path: Path, said: str, accounts: list[str], server: dict[str, object], solver: dict[str, object]
) -> None:
    text = site_yaml(read_partitions(said), accounts, where="login1")
    assert len(text.splitlines()) <= 12
    assert text.startswith("# By `melissa-like site` on login1: a first try.")
    read = yaml.safe_load(text)
    assert read == {"defaults": ["slurm"], "executor": {"server": server, "solver": solver}}
    (tmp_path / "launcher").mkdir()
    (tmp_path / "launcher" / "mine.yaml").write_text(text)
    ConfigStore.instance().store(name="schema", node=Config)
    with initialize_config_module(version_base="1.3", config_module="melissa_like.configs"):
        overrides = [f"hydra.searchpath=[file://{tmp_path}]", "launcher=mine", "run_dir=x"]
        composed = compose("config", overrides=overrides).launcher
    given = {key: value for key, value in composed.executor.server.items() if value is not None}
    assert given == server
    assert composed.executor.scheduler["_target_"] == "melissa_like.launcher.executors.batch.Slurm"


def test_the_other_partitions_are_named_for_whoever_edits_the_file() -> None:
    text = site_yaml(read_partitions(LARGE), ["physics", "climate"], where="login1")
    assert "  server:  # 82 nodes of 48 CPUs, up to 8 GPUs, at most 1-12:00:00" in text
    assert "  solver:  # 900 nodes of 128 CPUs, 64 nodes a job, at most 5-00:00:00" in text
    assert "# other accounts of yours: climate" in text
    assert "# partition debug: 4 nodes of 64 CPUs, 2 nodes a job, at most 0:30:00" in text
    assert "# partition v100: 20 nodes of 40 CPUs, up to 4 GPUs, no time limit" in text
    many = "".join(f"p{number}|up|infinite|1-infinite|1|4|4000|(null)\n" for number in range(20))
    assert site_yaml(read_partitions(many), [], where="x").splitlines()[-1].startswith("# and 16 partitions more")


def said(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[object, str]:
    monkeypatch.setattr("sys.argv", ["melissa-like", "site", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    written = capsys.readouterr()
    return ended.value.code, written.out + written.err


def fake_slurm(folder: Path, sinfo: str, *, code: int = 0, sacctmgr: str | None = None) -> str:
    """A folder for PATH with commands that print what was recorded."""
    for name, text in (("sinfo", sinfo), ("sacctmgr", sacctmgr)):
        if text is not None:
            (folder / f"{name}.out").write_text(text)
            script = folder / name
            script.write_text(f"#!/bin/sh\n/bin/cat '{folder}/{name}.out'\nexit {code}\n")
            script.chmod(0o755)
    return str(folder)


def test_the_command_writes_a_file_of_the_group(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", fake_slurm(tmp_path, LARGE, sacctmgr="physics\n"))
    path = tmp_path / "my_configs" / "launcher" / "jean.yaml"
    code, words = said(monkeypatch, capsys, str(path))
    assert code == 0
    assert f"melissa-like doctor --config-dir {tmp_path / 'my_configs'} launcher=jean" in words
    assert yaml.safe_load(path.read_text())["executor"]["solver"]["account"] == "physics"
    assert said(monkeypatch, capsys, str(path)) == (
        2,
        f"melissa-like: {path} is there already: remove it, or give another name\n",
    )
    code, words = said(monkeypatch, capsys)
    assert code == 0
    assert words == path.read_text()


@pytest.mark.parametrize("path", ["site.yaml", "my_configs/site.yaml", "launcher/site.txt"])
def test_a_file_that_would_not_be_found_is_refused(path: str) -> None:
    with pytest.raises(ConfigurationError, match="would not be found as a file of the group launcher"):
        command.write_site(Path("/nowhere") / path)


@pytest.mark.parametrize(
    ("sinfo", "code", "words"),
    [
        (None, 0, "there is no Slurm here: no program sinfo on PATH"),
        ("", 0, "no partition of this cluster is up"),
        ("slurm_load_partitions: Unable to contact slurm controller\n", 1, "ended with exit code 1"),
        ("gibberish\n", 0, "Slurm does not answer as expected: a line of sinfo has 1 fields"),
    ],
)
def test_what_slurm_does_not_say_is_told(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    sinfo: str | None,
    code: int,
    words: str,
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path) if sinfo is None else fake_slurm(tmp_path, sinfo, code=code))
    ended, told = said(monkeypatch, capsys)
    assert ended == 2
    assert words in told


def test_help(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    code, words = said(monkeypatch, capsys, "--help")
    assert code == 0
    assert words.startswith("usage: melissa-like site [FILE]")
    assert said(monkeypatch, capsys, "a", "b")[0] == 2
