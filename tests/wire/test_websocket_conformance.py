"""What an echo server answers directly is what it answers through the gateway, to good frames and to bad.

The cases are those of the Autobahn test suite: framing, pings, reserved bits, opcodes, fragmentation, UTF-8
and closing. The server judges them; here it only matters that the gateway changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING

import pytest

from wire.frames import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    Frame,
    close_frame,
    frame,
    handshake,
    read_frame,
)
from wire.wires import Cut, Wire, connect

if TYPE_CHECKING:
    from wire.servers import Server


@dataclass(frozen=True)
class Step:
    """What the client says, and how many frames it waits for before it goes on."""

    data: bytes
    answers: int = 0
    chop: int = 0  # how many bytes go at a time; 0 for all


_BYE = Step(close_frame(1000))
Case = tuple[Step, ...]


def say(*frames: bytes, answers: int = 0, chop: int = 0) -> Step:
    return Step(b"".join(frames), answers, chop)


def _message(opcode: int, *pieces: bytes) -> list[bytes]:
    """A message in as many frames."""
    last = len(pieces) - 1
    return [frame(CONTINUATION if at else opcode, piece, fin=at == last) for at, piece in enumerate(pieces)]


def _framing() -> dict[str, Case]:
    cases: dict[str, Case] = {}
    for name, opcode in (("text", TEXT), ("binary", BINARY)):
        for size in (0, 1, 125, 126, 127, 128, 65_535, 65_536, 200_000):
            payload = b"*" * size if opcode == TEXT else b"\xfe" * size
            cases[f"1 {name} of {size}"] = (say(frame(opcode, payload), answers=1), _BYE)
        cases[f"1 {name} in chops"] = (say(frame(opcode, b"*" * 65_536), answers=1, chop=997), _BYE)
        cases[f"1 {name} byte by byte"] = (say(frame(opcode, b"*" * 300), answers=1, chop=1), _BYE)
    ten = [frame(TEXT, b"%d" % number) for number in range(10)]
    cases["1 ten messages at once"] = (say(*ten, answers=10), _BYE)
    cases["1 no mask"] = (say(frame(TEXT, b"hello", masked=False)),)
    cases["1 a size in more bytes than it takes"] = (say(b"\x81\xfe\x00\x05\0\0\0\0hello", answers=1), _BYE)
    cases["1 a size beyond 63 bits"] = (say(b"\x82\xff" + b"\xff" * 8 + bytes(10)),)
    return cases


def _pings() -> dict[str, Case]:
    return {
        "2 empty": (say(frame(PING), answers=1), _BYE),
        "2 text": (say(frame(PING, b"Hello, world!"), answers=1), _BYE),
        "2 binary": (say(frame(PING, b"\x00\xff\xfe\xfd\xfc\xfb\x00\xff"), answers=1), _BYE),
        "2 of 125": (say(frame(PING, b"\xfe" * 125), answers=1), _BYE),
        "2 of 126": (say(frame(PING, b"\xfe" * 126)),),
        "2 byte by byte": (say(frame(PING, b"\xfe" * 125), answers=1, chop=1), _BYE),
        "2 unsolicited pong": (say(frame(PONG)), _BYE),
        "2 unsolicited pong with a payload": (say(frame(PONG, b"unsolicited")), _BYE),
        "2 unsolicited pong, then ping": (say(frame(PONG, b"pong"), frame(PING, b"ping"), answers=1), _BYE),
        "2 ten": (*(say(frame(PING, b"payload-%d" % number), answers=1) for number in range(10)), _BYE),
        "2 in a message": (
            say(*_message(TEXT, b"one", b"two")[:1], frame(PING, b"?"), answers=1),
            say(*_message(TEXT, b"one", b"two")[1:], answers=1),
            _BYE,
        ),
    }


def _reserved_bits() -> dict[str, Case]:
    cases: dict[str, Case] = {}
    for rsv in range(1, 8):
        cases[f"3 {rsv} in text"] = (say(frame(TEXT, b"small", rsv=rsv)),)
        cases[f"3 {rsv} behind text"] = (
            say(frame(TEXT, b"small"), answers=1),
            say(frame(TEXT, b"small", rsv=rsv), frame(PING)),
        )
    for name, opcode in (("binary", BINARY), ("ping", PING), ("pong", PONG), ("close", CLOSE)):
        cases[f"3 in {name}"] = (say(frame(opcode, b"\x03\xe8", rsv=5), chop=1),)
    cases["3 in a continuation"] = (say(frame(TEXT, b"one", fin=False), frame(CONTINUATION, b"two", rsv=2)),)
    return cases


def _opcodes() -> dict[str, Case]:
    cases: dict[str, Case] = {}
    for opcode in (*range(3, 8), *range(11, 16)):
        cases[f"4 {opcode} without a payload"] = (say(frame(opcode)),)
        cases[f"4 {opcode} behind text"] = (
            say(frame(TEXT, b"Hello"), answers=1),
            say(frame(opcode, b"payload"), frame(PING)),
        )
    return cases


def _fragments() -> dict[str, Case]:
    one, two = _message(TEXT, b"fragment1", b"fragment2")
    five = _message(TEXT, *b"a b c d e".split())
    return {
        "5 ping in two": (say(*_message(PING, b"fragment1", b"fragment2")),),
        "5 pong in two": (say(*_message(PONG, b"fragment1", b"fragment2")),),
        "5 text in two": (say(one, two, answers=1), _BYE),
        "5 text in two, each alone": (say(one), say(two, answers=1), _BYE),
        "5 text in two, byte by byte": (say(one, two, answers=1, chop=1), _BYE),
        "5 text with a ping between": (say(one, frame(PING, b"ping"), two, answers=2), _BYE),
        "5 continuation of nothing": (say(frame(CONTINUATION, b"nothing")),),
        "5 last continuation of nothing": (say(frame(CONTINUATION, b"nothing", fin=False)),),
        "5 continuation behind a message": (
            say(frame(TEXT, b"Hello"), answers=1),
            say(frame(CONTINUATION, b"nothing"), frame(TEXT, b"Hello")),
        ),
        "5 a message in a message": (say(one, frame(TEXT, b"fragment2")),),
        "5 a binary message in a text": (say(one, frame(BINARY, b"fragment2")),),
        "5 five with pings between": (
            say(*chain.from_iterable((piece, frame(PING, b"?")) for piece in five[:4]), answers=4),
            say(five[4], answers=1),
            _BYE,
        ),
        "5 empty in three": (say(*_message(TEXT, b"", b"", b""), answers=1), _BYE),
        "5 all empty but one": (say(*_message(TEXT, b"", b"middle", b""), answers=1), _BYE),
    }


_VALID = {
    "accents": "Hello-\u00b5@\u00df\u00f6\u00e4",
    "greek": "\u03ba\u1f79\u03c3\u03bc\u03b5",
    "two bytes": "\u0080\u07ff",
    "three bytes": "\u0800\ud7ff\ue000\uffff",
    "four bytes": "\U00010000\U0010ffff",
    "noncharacters": "\ufffe\U0001ffff",
    "NUL": "\0",
    "byte order mark": "\ufeff",
}
_INVALID = {
    "a surrogate": b"\xce\xba\xed\xa0\x80edited",
    "a surrogate pair": b"\xed\xa0\x80\xed\xb0\x80",
    "beyond Unicode": b"\xf4\x90\x80\x80",
    "five bytes": b"\xf8\x88\x80\x80\x80",
    "six bytes": b"\xfc\x84\x80\x80\x80\x80",
    "overlong slash": b"\xc0\xaf",
    "overlong in three": b"\xe0\x80\xaf",
    "overlong NUL": b"\xc0\x80",
    "continuation alone": b"\x80",
    "start alone": b"\xce",
    "FE": b"\xfe",
    "FF": b"\xff",
    "latin-1": b"caf\xe9",
    "cut at the end": b"\xe2\x82",
}


def _utf8() -> dict[str, Case]:
    cases: dict[str, Case] = {}
    for name, text in _VALID.items():
        raw = text.encode()
        cases[f"6 {name}"] = (say(frame(TEXT, raw), answers=1), _BYE)
        bytewise = [raw[at : at + 1] for at in range(len(raw))]
        cases[f"6 {name} in fragments of a byte"] = (say(*_message(TEXT, *bytewise), answers=1), _BYE)
    for name, raw in _INVALID.items():
        cases[f"6 {name}"] = (say(frame(TEXT, raw)),)
        cases[f"6 {name} in a second fragment"] = (say(*_message(TEXT, b"fine ", raw)),)
    cases["6 invalid is fine in binary"] = (say(frame(BINARY, b"\xff\xfe"), answers=1), _BYE)
    return cases


def _closes() -> dict[str, Case]:
    cases: dict[str, Case] = {
        "7 behind a message": (say(frame(TEXT, b"Hello World!"), answers=1), _BYE),
        "7 twice": (say(close_frame(1000), close_frame(1000)),),
        "7 then ping": (say(close_frame(1000), frame(PING)),),
        "7 then text": (say(close_frame(1000), frame(TEXT, b"late")),),
        "7 amid a message": (say(_message(TEXT, b"1", b"2")[0], close_frame(1000)),),
        "7 behind 256 KiB": (say(frame(BINARY, bytes(1 << 18)), answers=1), _BYE),
        "7 without a payload": (say(frame(CLOSE)),),
        "7 with one byte": (say(frame(CLOSE, b"a")),),
        "7 with a code": (say(close_frame(1000)),),
        "7 with a reason": (say(close_frame(1000, b"Hello World!")),),
        "7 with 123 bytes of reason": (say(close_frame(1000, b"*" * 123)),),
        "7 with 124 bytes of reason": (say(close_frame(1000, b"*" * 124)),),
        "7 with a reason that is no UTF-8": (say(close_frame(1000, b"\xce\xba\xed\xa0\x80")),),
        "7 in two fragments": (say(frame(CLOSE, b"\x03\xe8", fin=False), frame(CONTINUATION, b"bye")),),
        "7 byte by byte": (say(close_frame(1000, b"bye"), chop=1),),
    }
    for code in (1000, 1001, 1002, 1003, *range(1007, 1015), 3000, 3999, 4000, 4999):
        cases[f"7 code {code}"] = (say(close_frame(code)),)
    for code in (0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535):
        cases[f"7 code {code} that nobody may send"] = (say(close_frame(code)),)
    return cases


CASES = {
    **_framing(),
    **_pings(),
    **_reserved_bits(),
    **_opcodes(),
    **_fragments(),
    **_utf8(),
    **_closes(),
}


@pytest.mark.parametrize("server", ["own"], indirect=True)
@pytest.mark.parametrize("case", CASES)
def test_the_gateway_changes_nothing(server: Server, echo_port: int, case: str) -> None:
    direct = transcript(connect(echo_port), CASES[case])
    assert direct, "the server says something to each case"
    assert transcript(server.connect(), CASES[case]) == direct


def transcript(wire: Wire, case: Case) -> list[Frame]:
    """All frames of the server up to the end of the connection, which has to come in good order."""
    with wire:
        wire.send(handshake(b"/echo"))
        assert wire.head().status == 101
        frames: list[Frame] = []
        for step in case:
            size = step.chop or len(step.data)
            for at in range(0, len(step.data), size):
                wire.send(step.data[at : at + size])
            frames += [read_frame(wire) for _ in range(step.answers)]
        while not frames or frames[-1].opcode != CLOSE:
            frames.append(read_frame(wire))
        with pytest.raises(Cut):
            read_frame(wire)
        return frames
