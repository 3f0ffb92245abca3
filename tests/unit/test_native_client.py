"""The inside of the C client, under sanitizers: what it says and reads, byte by byte, and what it makes of arrays.

A program with the client's source in it answers questions, one per line. The golden files and the Python client are
what it is compared with.
"""

import itertools
import json
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from melissa_like import protocol
from melissa_like.client import parts
from melissa_like.client.conversion import LostValueError, fill_from
from melissa_like.client.coverage import fault_of_boxes
from melissa_like.protocol.wire import Kind
from melissa_like.records import STORAGE_DTYPES, Box, FieldSpec, Purpose
from tests.integration.compiled import NATIVE, SANITIZED, C, needs, run
from tests.integration.studies import ROOT

GOLDEN = Path(protocol.__file__).parent / "golden"
STUDY, SECRET = bytes(range(16)).hex(), bytes(range(240, 256)).hex()
DTYPES = [
    "float32", "float64", "float16", "int32", "int64", "uint8", "int8", "int16", "uint16", "uint32", "uint64"
]  # fmt: skip

pytestmark = needs("gcc")

Ask = Callable[..., str]


@pytest.fixture(scope="module")
def ask(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ask]:
    folder = tmp_path_factory.mktemp("probe")
    source = ROOT / "tests" / "plugins" / "native_probe.c"
    run(["gcc", *C, *SANITIZED, f"-I{NATIVE}", source, "-lzmq", "-lm", "-o", "probe"], folder)
    with subprocess.Popen([folder / "probe"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None

        def ask(*words: object) -> str:
            process.stdin.write(" ".join(map(str, words)) + "\n")  # type: ignore[union-attr]
            process.stdin.flush()  # type: ignore[union-attr]
            answer = process.stdout.readline()  # type: ignore[union-attr]
            assert answer.endswith("\n"), f"the probe died of {words[0]}"
            return answer.strip()

        yield ask
        process.stdin.close()
        assert process.wait(timeout=60) == 0  # what was not given back is told then


def said(name: str) -> dict[str, Any]:
    return json.loads((GOLDEN / f"{name}.json").read_text())


def golden(name: str) -> str:
    return (GOLDEN / f"{name}.bin").read_bytes().hex()


@pytest.mark.parametrize("name", sorted(path.stem for path in GOLDEN.glob("data_*.json")))
def test_headers_are_the_golden_ones(ask: Ask, name: str) -> None:
    header = said(name)
    time = "nan" if header["time"] is None else header["time"]
    names = ("launcher_incarnation", "server_incarnation", "simulation", "attempt", "client_rank", "num_client_ranks")
    words = [header[word] for word in (*names, "layout_id")]
    kind = [int(Purpose[header["purpose"]]), int(Kind[header["kind"]]), header["field_id"], header["dtype_code"]]
    place = [header["step"], time, *header["offset"], *header["shape"]]
    assert ask("header", header["study"], header["secret"], *words, *kind, *place) == golden(name)


def words_of(message: dict[str, Any]) -> list[object]:
    """The keys of a message in the order of the specification."""
    words: list[object] = []
    for key, value in message.items():
        words += [*value] if isinstance(value, list) else [value.encode().hex() if key == "message" else value]
    if "breaks_contract" in message:
        words = [*words[:2], int(message["breaks_contract"]), words[2]]
    return words


@pytest.mark.parametrize("name", ["hello", "request", "goodbye", "failure", "blocked", "recomputes", "acknowledge"])
def test_what_a_job_says_is_golden(ask: Ask, name: str) -> None:
    control = said(f"control_{name}")
    words = [control["number"], control["acknowledged"], control["type"], *words_of(control["message"])]
    assert ask("control", STUDY, SECRET, 1, *words) == golden(f"control_{name}")


READ = {
    "assignment": "2 2 Assignment simulation 7 attempt 1 purpose 0 parameters:300:150.5 delivered:0,3:5,6",
    "finish": "3 3 Finish no simulation is left",
    "refused": "1 1 Refused the job is not of this study",
    "stop": "3 3 Stop interrupted by SIGINT",
    "acknowledge": "0 3 Acknowledge",
}


@pytest.mark.parametrize("name", READ)
def test_what_the_launcher_says_is_understood(ask: Ask, name: str) -> None:
    assert ask("read", STUDY, SECRET, 1, golden(f"control_{name}")) == READ[name]


@pytest.mark.parametrize("name", ["welcome", "welcome_mesh"])
def test_a_welcome_is_understood(ask: Ask, name: str) -> None:
    control = said(f"control_{name}")
    welcome = control["message"]
    extents = welcome["extents"]

    def shown(fields: list[dict[str, Any]]) -> str:
        return "".join(
            f":{f['name']},{f['dtype']},{f['components']},{-1 if f['extent'] is None else extents.index(f['extent'])}"
            f"{''.join(f',{n}' for n in (f['shape'] if f['extent'] is None else [*f['shape'][:-1], -1]))}"
            for f in fields
        )

    num_steps = -1 if welcome["num_steps"] is None else welcome["num_steps"]
    assert ask("read", STUDY, SECRET, 1, golden(f"control_{name}")).split() == [
        *(str(control["number"]), str(control["acknowledged"]), "Welcome"),
        *("server_incarnation", str(welcome["server_incarnation"]), "layout_id", str(welcome["layout_id"])),
        *("routing", str(welcome["routing"]), "num_steps", str(num_steps)),
        *("budget_bytes", str(welcome["budget_bytes"]), "heartbeat_s", f"{welcome['heartbeat_s']:g}"),
        *("orphan_timeout_s", f"{welcome['orphan_timeout_s']:g}"),
        "".join(f":{name}" for name in ["endpoints", *welcome["server_endpoints"]])[1:],
        "".join(f":{name}" for name in ["parameters", *welcome["parameters"]])[1:],
        "".join(f":{name}" for name in ["extents", *extents])[1:],
        f"fields{shown(welcome['fields'])}",
        f"static{shown(welcome['static'])}",
    ]


def test_another_version_is_told_from_damage(ask: Ask) -> None:
    refused = (GOLDEN / "version_1_refused.bin").read_bytes().hex()
    assert "of version 1, this side speaks 2" in ask("read", STUDY, SECRET, 1, refused)
    assert "no control message" in ask("read", STUDY, SECRET, 1, "93010203")
    assert "another study" in ask("read", STUDY, STUDY, 1, golden("control_stop"))
    assert "launcher incarnation 1, this is 2" in ask("read", STUDY, SECRET, 2, golden("control_stop"))


@pytest.mark.parametrize("name", sorted(path.stem for path in GOLDEN.glob("control_*.bin")))
def test_nothing_that_a_peer_sends_does_harm(ask: Ask, name: str) -> None:
    assert ask("fuzz", STUDY, SECRET, 1, golden(name), 7, 3000) == "survived"


def test_the_golden_connection(ask: Ask) -> None:
    lines = dict(line.split() for line in (GOLDEN / "connection.txt").read_text().splitlines())
    keys = dict(line.split() for line in (GOLDEN / "job.key").read_text().splitlines())
    assert ask("connection", GOLDEN).split() == [
        *(lines[key] for key in ("endpoint", "study", "secret", "launcher_incarnation")),
        *(str(int(lines["encryption"] in those)) for those in (("control", "all"), ("all",))),
        *(lines["launcher_key"], lines["server_key"], keys["public"], keys["secret"]),
    ]


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        (("version 2", "version 1"), "speaks version 1 of the protocol, this process speaks 2"),
        (("version 2\n", ""), "has no line `version ...`, only endpoint"),
        (("study 00", "study zz"), "the value of study is not of 32 hexadecimal digits"),
        (("launcher_key ", "launcher_key x"), "launcher_key is not a key of 40 characters"),
        (("encryption ", "encryption no"), "encryption is not none, control or all"),
    ],
)
def test_a_connection_that_cannot_be_is_refused(ask: Ask, tmp_path: Path, changed: tuple[str, str], told: str) -> None:
    text = (GOLDEN / "connection.txt").read_text()
    assert changed[0] in text
    (tmp_path / "connection.txt").write_text(text.replace(*changed))
    (tmp_path / "job.key").write_text((GOLDEN / "job.key").read_text())
    answer = ask("connection", tmp_path)
    assert told in answer
    assert SECRET not in answer


def test_the_golden_bundle(ask: Ask) -> None:
    words = [word for part in said("bundle")["parts"] for word in (golden(part["header"]), part["payload_nbytes"])]
    assert ask("bundle", 2**20, *words).split() == ["-", golden("bundle_index"), golden("bundle_body"), "|"]


def test_what_is_large_goes_alone_and_in_order(ask: Ask) -> None:
    part = golden("data_part_2d")
    frames = ask("bundle", 4096, part, 100, part, 3000, part, 0).split(" |")
    assert [[len(frame) // 2 for frame in message.split()] for message in frames[:-1]] == [
        [0, 8 + 128, 100],
        [128, 3000],
        [0, 8 + 128, 0],
    ]


def numbers(dtype: str) -> np.ndarray:
    """Of all sizes, with the limits of all dtypes and what lies between two of them."""
    random = np.random.default_rng(0)
    if np.dtype(dtype).kind != "f":
        limits = [int(bound) for name in DTYPES[3:] for bound in (np.iinfo(name).min, np.iinfo(name).max)]
        held = np.iinfo(dtype)
        near = {limit + d for limit in limits for d in (-1, 0, 1) if held.min <= limit + d <= held.max}
        return np.asarray(sorted(near), dtype=dtype)
    with np.errstate(over="ignore", invalid="ignore"):
        bits = random.integers(0, 2**64, 400, dtype=np.uint64).view(np.float64)
        halves = np.arange(0, 2**16, 7, dtype=np.uint16).view(np.float16).astype(np.float64)
        ties = np.asarray([1 + 2**-11, 1 + 3 * 2**-11, 2**-24, 2**-25, 3 * 2**-25, 65504, 65519.99, 6e-8, -0.0])
        return np.concatenate(
            [bits, halves, halves[np.isfinite(halves)] * (1 + 2**-11), ties, [np.nan, np.inf, -np.inf]]
        ).astype(dtype)


def converted(array: np.ndarray, to: np.dtype[Any]) -> np.ndarray | str:
    """What the Python client makes of it."""
    out = np.empty(array.shape, to)
    try:
        fill_from(array, to, memoryview(out.reshape(-1).view(np.uint8)))
    except LostValueError as lost:
        return f"{lost.index}, {lost.number}"
    return out


def asked(ask: Ask, array: np.ndarray, to: np.dtype[Any]) -> np.ndarray | str:
    base = array
    while base.base is not None:
        base = base.base
    first = array.__array_interface__["data"][0] - base.__array_interface__["data"][0]
    code, target = DTYPES.index(str(array.dtype)), DTYPES.index(str(to))
    answer = ask("convert", code, target, first, base.tobytes().hex(), array.ndim, *array.shape, *array.strides)
    if answer.startswith("lost"):
        return answer.partition(" at ")[2]
    return np.frombuffer(bytes.fromhex(answer), to).reshape(array.shape)


@pytest.mark.parametrize(("source", "to"), [*itertools.product(DTYPES, STORAGE_DTYPES)])
def test_values_are_those_of_the_python_client(ask: Ask, source: str, to: np.dtype[Any]) -> None:
    values = numbers(source)
    if values.dtype.kind != to.kind:
        assert ask("convert", DTYPES.index(source), DTYPES.index(str(to)), 0, "00", 1, 1, 1) == "refused"
        return
    fits = values
    if not isinstance(converted(values, to), np.ndarray):
        assert asked(ask, values.copy(), to) == converted(values, to)
        fits = np.asarray([value for value in values if isinstance(converted(np.asarray([value]), to), np.ndarray)])
    np.testing.assert_array_equal(asked(ask, fits.copy(), to), converted(fits, to))


@pytest.mark.parametrize("to", ["float32", "float64"])
def test_arrays_of_any_strides(ask: Ask, to: str) -> None:
    whole = np.random.default_rng(1).normal(size=(5, 6, 7))
    views = [whole, whole.T, whole[::2, ::-1, 1:4], whole[:, 3], whole[2, :, ::3], whole[1:4, 2:3, :], whole[..., 0]]
    for view in views:
        np.testing.assert_array_equal(asked(ask, view, np.dtype(to)), converted(view, np.dtype(to)))


def test_a_lost_value_is_written_as_numpy_writes_it(ask: Ask) -> None:
    for value, source, to in [(-2.5e300, "float64", "float32"), (300, "uint16", "uint8"), (2**40, "int64", "int32")]:
        text = np.asarray([value], dtype=source).tobytes().hex()
        answer = ask("convert", DTYPES.index(source), DTYPES.index(to), 0, text, 1, 1, 8)
        assert answer == f"lost {np.asarray([value], dtype=source)[0]} at (0,), 1"


@pytest.mark.parametrize(
    ("shape", "largest"),
    [((5, 7), 10), ((100,), 7), ((3, 4, 5), 1000), ((3, 4, 5), 9), ((2, 1000, 3), 64), ((1, 9), 4)],
)
def test_large_boxes_are_cut_as_in_python(ask: Ask, shape: tuple[int, ...], largest: int) -> None:
    pieces = [
        ":".join(f"{offset},{size}" for offset, size in zip(piece.offset, piece.shape, strict=True))
        for piece in parts._pieces(shape, largest)
    ]
    assert ask("cut", largest, *shape).split() == pieces


@pytest.mark.parametrize(
    ("word", "boxes"),
    [
        ("missing", [((0, 0), (4, 4))]),
        ("missing", [((2, 1), (3, 2)), ((0, 0), (1, 1))]),
        ("missing", [((0, 0), (1, 2)), ((2, 2), (1, 1)), ((6, 0), (1, 4))]),
        ("twice", [((0, 0), (8, 4)), ((3, 1), (2, 2))]),
    ],
)
def test_gaps_are_named_as_in_python(ask: Ask, word: str, boxes: list[tuple[tuple[int, ...], tuple[int, ...]]]) -> None:
    spec = FieldSpec(name="mark", shape=(8, 4))
    size = sum(Box(*box).size for box in boxes)
    expected = re.search(r"has 32(.*); the boxes", fault_of_boxes(spec, [Box(*box) for box in boxes], size))
    assert expected is not None
    assert ask(word, 2, 8, 4, *(n for box in boxes for side in box for n in side)) == expected[1]
