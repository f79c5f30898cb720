"""The machine's lines: what DPRNT of several makers sends, garbage, and a port that goes."""

import os
import pty
import termios
import threading
import time
import tty
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from camera.source import Event
from config.machine import MachineLine
from device.machine.line import LONGEST_LINE, LineReader, PartLine, Splitter, parse
from tests.device.machine.conftest import until

DEFAULT = MachineLine().pattern

SAID = {
    # Haas: CR only; blanks for asterisks; POPEN and PCLOS as DC2 and DC4
    b"\x12PART   42\r\x14": "PART 42",
    b"PART 4711-B LOT L-118 TOOL   37\r": "PART 4711-B LOT L-118 TOOL 37",
    # NCT: LF; Fanuc: CR LF, a percent sign on a line of its own
    b"%\r\nPART*00042\r\n%\r\n": "PART 00042",
    # HUST: DC2 % CR ... CR % DC4
    b"\x12%\rPART 7\r%\x14": "PART 7",
    # the eighth bit is parity
    bytes(b | (0x80 if b.bit_count() % 2 else 0) for b in b"PART 9\r"): "PART 9",
    # DPRNT[] sends a bare end of line
    b"\r\r\nPART 1\n\n": "PART 1",
}


@pytest.mark.parametrize("data", SAID)
def test_lines_of_several_makers(data: bytes) -> None:
    assert list(Splitter().feed(data)) == [SAID[data]]
    assert parse(SAID[data], [DEFAULT]) is not None


@given(st.lists(st.sampled_from(list(SAID)), max_size=6), st.data())
def test_it_does_not_matter_how_the_bytes_come(chunks: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(chunks)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=10)))
    splitter = Splitter()
    found: list[str] = []
    for begin, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        found += splitter.feed(stream[begin:end])
    assert found == list(Splitter().feed(stream))


@given(st.binary(max_size=2000))
def test_noise_gives_lines_of_bounded_length_or_nothing(noise: bytes) -> None:
    splitter = Splitter()
    for line in [*splitter.feed(noise), *splitter.feed(b"\r")]:
        assert line == " ".join(line.split())
        assert line.isascii()
        assert "%" not in line
    assert list(splitter.feed(b"PART 5\r")) == ["PART 5"]


def test_a_line_without_an_end_is_given_up() -> None:
    splitter = Splitter()
    assert [len(x) for x in splitter.feed(b"x" * (LONGEST_LINE + 1))] == [LONGEST_LINE]
    assert list(splitter.feed(b"PART 5\r")) == ["PART 5"]


def test_what_a_line_says() -> None:
    assert parse("PART 4711-B LOT L-118 TOOL 37", [DEFAULT]) == PartLine("4711-B", "L-118", "37")
    assert parse("PART 42", [DEFAULT]) == PartLine("42")
    own = r"O(?P<part>\d+) N\d+"
    assert parse("O1234 N7", [own, DEFAULT]) == PartLine("1234")
    assert parse("PART 42", [own, DEFAULT]) == PartLine("42")
    for bad in ("PXRT 42", "PART", "xPART 42", "PART 42 LOT"):
        assert parse(bad, [own, DEFAULT]) is None


class Port:
    """A serial port whose other end this test holds."""

    def __init__(self, link: Path) -> None:
        self.link = link
        self.plug()

    def plug(self) -> None:
        self.ours, theirs = pty.openpty()
        tty.setraw(theirs)
        self.link.unlink(missing_ok=True)
        self.link.symlink_to(os.ttyname(theirs))
        os.set_blocking(self.ours, False)
        self._theirs = theirs

    def unplug(self) -> None:
        self.link.unlink()
        os.close(self.ours)
        os.close(self._theirs)

    def send(self, data: bytes) -> None:
        os.write(self.ours, data)


@pytest.fixture
def port(tmp_path: Path) -> Port:
    return Port(tmp_path / "ttyMachine")


Reader = Callable[..., tuple[list[tuple[PartLine | None, str]], list[Event]]]


@pytest.fixture
def reader(port: Port, request: pytest.FixtureRequest) -> Reader:
    def start(**values: object) -> tuple[list[tuple[PartLine | None, str]], list[Event]]:
        heard: list[tuple[PartLine | None, str]] = []
        events: list[Event] = []
        settings = MachineLine(port=str(port.link), **values)  # type: ignore[arg-type]
        one = LineReader(
            settings,
            lambda: [settings.pattern],
            lambda part, text: heard.append((part, text)),
            events.append,
        )
        one.start()
        request.addfinalizer(one.close)
        until(lambda: [e for e in events if e.kind == "line"])
        return heard, events

    return start


def test_a_port_that_is_unplugged_and_comes_back(port: Port, reader: Reader) -> None:
    heard, events = reader()
    port.send(b"PART 1\r")
    until(lambda: heard == [(PartLine("1"), "PART 1")])
    port.send(b"PART 2")  # half a line, and the cable is out
    port.unplug()
    until(lambda: "line-lost" in [e.kind for e in events])
    port.plug()
    until(lambda: [e.kind for e in events].count("line") == 2)
    port.send(b"5\rPART 3\r")
    until(lambda: len(heard) == 3)
    # what came after the plug is no half of what came before it
    assert heard[1:] == [(None, "5"), (PartLine("3"), "PART 3")]
    port.unplug()


def test_a_port_that_goes_while_it_is_opened(
    port: Port, reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard, events = reader()
    flush, went = termios.tcflush, threading.Event()

    def go(descriptor: int, queue: int) -> None:
        if not went.is_set():
            went.set()
            port.unplug()
        flush(descriptor, queue)

    port.unplug()
    until(lambda: "line-lost" in [e.kind for e in events])
    monkeypatch.setattr(termios, "tcflush", go)
    port.plug()
    until(went.is_set)
    port.plug()
    until(lambda: [e.kind for e in events].count("line") == 2)
    port.send(b"PART 3\r")
    until(lambda: heard == [(PartLine("3"), "PART 3")])
    port.unplug()


def test_garbled_and_ignored_lines(port: Port, reader: Reader) -> None:
    heard, events = reader(ignore=r"TOOL CHANGE.*")
    port.send(b"TOOL CHANGE 7\r\xff\xfePA\x00RT\x81 ???\rPART 8\r")
    until(lambda: len(heard) == 2)
    assert heard[0][0] is None
    assert heard[1] == (PartLine("8"), "PART 8")
    assert [e.kind for e in events] == ["line", "line-garbled"]
    port.unplug()


def test_a_line_that_comes_late_and_in_pieces(port: Port, reader: Reader) -> None:
    heard, _ = reader()

    def slowly() -> None:
        for byte in b"PART 4711-B\r":
            port.send(bytes([byte]))
            time.sleep(0.02)

    writer = threading.Thread(target=slowly)
    writer.start()
    until(lambda: heard)
    writer.join()
    assert heard == [(PartLine("4711-B"), "PART 4711-B")]
    port.unplug()
