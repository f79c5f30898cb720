"""The same promises of a folder, an S3 server and an SFTP server, all real."""

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import obstore
import pytest

from config.errors import UserError
from config.settings import Exchange
from device.exchange.opening import open_place
from device.exchange.place import Missing, Place, TooLarge, Unreachable, check_name
from device.exchange.s3 import S3Place
from tests.servers import SECRET, S3Server, Server, SftpServer, free_port, running, write_secret

BEFORE = datetime(2026, 1, 1, tzinfo=UTC)
KINDS = ["folder", "s3", "sftp"]
SERVERS: dict[str, type[Server]] = {"s3": S3Server, "sftp": SftpServer}


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Server]]:
    """Servers that were needed, kept for the module."""
    found: dict[str, Server] = {}
    yield found
    for server in found.values():
        server.kill()


def started(kind: str, servers: dict[str, Server], tmp: pytest.TempPathFactory) -> Server:
    if kind not in servers:
        folder = tmp.mktemp(kind)
        if kind == "sftp" and not Path("/usr/sbin/sshd").exists():
            pytest.skip("needs OpenSSH's server: apt install openssh-server")
        server = SERVERS[kind](folder)
        server.start()
        servers[kind] = server
    return servers[kind]


@pytest.fixture(params=KINDS)
def exchange(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    servers: dict[str, Server],
) -> Exchange:
    """An exchange of every kind, empty."""
    if request.param == "folder":
        return Exchange(url=str(tmp_path / "exchange"))
    whole = started(request.param, servers, tmp_path_factory).exchange()
    return whole.model_copy(update={"url": f"{whole.url}/{tmp_path.name}"})


@pytest.fixture
def place(exchange: Exchange) -> Iterator[Place]:
    with open_place(exchange) as found:
        yield found


def test_what_is_put_is_there_whole(place: Place, tmp_path: Path) -> None:
    assert place.list("") == []
    assert place.list("labels/box 1") == []
    assert place.size("labels/box 1/a.db") is None
    big = os.urandom(12_000_000)  # over the size from which S3 takes it in parts
    (tmp_path / "big").write_bytes(big)
    place.put("labels/box 1/a.db", tmp_path / "big")
    place.put("labels/box 1/b.json", b"{}")
    place.put("labels/box 2/c.json", b"")
    place.put("root.json", b"root")
    assert place.get("labels/box 1/b.json", 2) == b"{}"
    assert place.get("labels/box 2/c.json", 10) == b""
    place.get_file("labels/box 1/a.db", tmp_path / "back", len(big))
    assert (tmp_path / "back").read_bytes() == big
    assert place.size("labels/box 1/a.db") == len(big)
    assert place.size("labels/box 2/c.json") == 0
    found = [(entry.name, entry.size) for entry in place.list("labels")]
    assert found == [
        ("labels/box 1/a.db", len(big)),
        ("labels/box 1/b.json", 2),
        ("labels/box 2/c.json", 0),
    ]
    assert [entry.name for entry in place.list("labels/box 2")] == ["labels/box 2/c.json"]
    assert [entry.name for entry in place.list("")][-1] == "root.json"
    assert all(entry.modified > 1_700_000_000 for entry in place.list(""))


def test_putting_again_replaces(place: Place) -> None:
    for content in (b"first, and longer", b"second"):
        place.put("acknowledged/box.json", content)
        assert place.get("acknowledged/box.json", 100) == content


def test_missing_is_not_unreachable(place: Place, tmp_path: Path) -> None:
    for call in (
        lambda: place.get("labels/nobody/x.json", 10),
        lambda: place.get_file("labels/nobody/x.json", tmp_path / "x", 10),
    ):
        with pytest.raises(Missing, match="has no labels/nobody/x"):
            call()


def test_no_more_than_the_limit_is_taken(place: Place, tmp_path: Path) -> None:
    place.put("models/big.onnx", b"x" * 3_000_001)
    with pytest.raises(TooLarge, match="larger than 3000000 bytes"):
        place.get("models/big.onnx", 3_000_000)
    with pytest.raises(TooLarge, match="larger than 1 bytes"):
        place.get_file("models/big.onnx", tmp_path / "big", 1)
    assert len(place.get("models/big.onnx", 3_000_001)) == 3_000_001


@pytest.mark.parametrize("name", ["../up", "a/../b", "/etc/passwd", "a//b", ".hidden", "a/", ""])
def test_names_cannot_lead_out(name: str, place: Place) -> None:
    with pytest.raises(ValueError, match="cannot be the name"):
        place.put(name, b"")
    with pytest.raises(ValueError, match="cannot be the name"):
        check_name(name)


def test_writers_at_once_leave_one_whole_object(exchange: Exchange) -> None:
    contents = [bytes([i]) * 500_000 for i in range(4)]

    def write(content: bytes) -> None:
        with open_place(exchange) as own:
            for _ in range(5):
                own.put("models/timestamp.json", content)

    threads = [threading.Thread(target=write, args=[content]) for content in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with open_place(exchange) as reader:
        assert reader.get("models/timestamp.json", 1_000_000) in contents
        assert [entry.name for entry in reader.list("")] == ["models/timestamp.json"]


def test_a_name_that_a_server_lists_twice_is_there_once(
    servers: dict[str, Server],
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As rclone does after uploads of one name at once, about one time in ten."""
    with open_place(started("s3", servers, tmp_path_factory).exchange()) as place:
        assert isinstance(place, S3Place)
        for name in ("twice/a.json", "twice/b.json"):
            place.put(name, b"{}")
        pages: list[Any] = list(obstore.list(place._store, prefix="twice"))
        old = [[{**meta, "last_modified": BEFORE, "size": 9} for meta in page] for page in pages]
        monkeypatch.setattr(obstore, "list", lambda *_, **__: [*pages, *old])
        found = place.list("twice")
    assert [(entry.name, entry.size) for entry in found] == [
        ("twice/a.json", 2),
        ("twice/b.json", 2),
    ]


@pytest.mark.parametrize("kind", ["s3", "sftp"])
def test_a_server_that_dies_is_unreachable_and_back_later(kind: str, tmp_path: Path) -> None:
    with running(SERVERS[kind], tmp_path / "server") as server:
        exchange = server.exchange(timeout_s=2)
        with open_place(exchange) as place:
            place.put("a.json", b"a")
            server.kill()
            with pytest.raises(Unreachable) as error:
                place.put("b.json", b"b")
            assert "\n" not in str(error.value)
        with pytest.raises(Unreachable), open_place(exchange) as place:
            place.get("a.json", 10)
        server.start()
        with open_place(exchange) as place:
            assert place.get("a.json", 10) == b"a"
            place.put("b.json", b"b")


@pytest.mark.parametrize("kind", ["s3", "sftp"])
def test_nobody_listens(kind: str, tmp_path: Path) -> None:
    with running(SERVERS[kind], tmp_path / "server") as server:
        exchange = server.exchange(timeout_s=1)
    with pytest.raises(Unreachable, match="then run this again"), open_place(exchange) as place:
        place.list("")


@pytest.mark.parametrize("kind", ["s3", "sftp"])
def test_a_server_that_never_answers(kind: str, tmp_path: Path) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as silent:
        port = silent.getsockname()[1]
        with running(SERVERS[kind], tmp_path / "server") as server:
            whole = server.exchange(timeout_s=1)
        changes = {
            "url": whole.url.replace(f":{server.port}/", f":{port}/"),
            "s3_endpoint": f"http://127.0.0.1:{port}" if kind == "s3" else "",
        }
        silenced = whole.model_copy(update=changes)
        with pytest.raises(Unreachable), open_place(silenced) as place:
            place.get("a.json", 10)


def test_a_wrong_secret_is_refused_and_not_shown(tmp_path: Path) -> None:
    with running(S3Server, tmp_path / "server") as server:
        wrong = write_secret(tmp_path / "wrong", "box-1\nhush hush\n".replace(" ", "-"))
        exchange = server.exchange(s3_credentials=wrong)
        with open_place(exchange) as place:
            for call in (lambda: place.put("a", b""), lambda: place.list("")):
                with pytest.raises(UserError, match="refuses the key") as error:
                    call()
                assert not isinstance(error.value, (Unreachable, Missing))
                assert "hush" not in str(error.value)
                assert SECRET not in str(error.value)


def test_a_bucket_that_does_not_exist(tmp_path: Path) -> None:
    with running(S3Server, tmp_path / "server") as server:
        exchange = server.exchange(url="s3://elsewhere")
        with open_place(exchange) as place, pytest.raises(UserError, match="no such bucket"):
            place.list("")


def test_credentials_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID", raising=False)
    with running(S3Server, tmp_path / "server") as server:
        exchange = server.exchange(s3_credentials=None)
        with pytest.raises(UserError, match="AWS_ACCESS_KEY_ID"), open_place(exchange):
            pass
        key_id, secret = (tmp_path / "server/credentials").read_text().split("\n")[:2]
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", key_id)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", secret)
        with open_place(exchange) as place:
            place.put("a", b"1")
            assert place.get("a", 1) == b"1"


def test_files_of_secrets_are_for_their_owner_only(tmp_path: Path) -> None:
    open_to_all = write_secret(tmp_path / "secret", "id\nsecret\n")
    open_to_all.chmod(0o644)
    exchange = Exchange(url="s3://plant", s3_credentials=open_to_all)
    with pytest.raises(UserError, match="chmod 600"), open_place(exchange):
        pass
    exchange = Exchange(url="s3://plant", s3_credentials=tmp_path / "nothing")
    with pytest.raises(UserError, match="No such file"), open_place(exchange):
        pass
    one_word = write_secret(tmp_path / "one", "id\n")
    exchange = Exchange(url="s3://plant", s3_credentials=one_word)
    with pytest.raises(UserError, match="holds 1 words"), open_place(exchange):
        pass


def test_an_unknown_or_changed_host_key_is_refused(tmp_path: Path) -> None:
    with running(SftpServer, tmp_path / "server") as server:
        exchange = server.exchange()
        known = tmp_path / "server/known_hosts"
        right = known.read_text()
        known.write_text("")
        with pytest.raises(UserError, match="host key is not in"), open_place(exchange):
            pass
        other = (tmp_path / "server/other.pub").read_text().split()[1]
        known.write_text(right.replace(right.split()[2], other))
        with pytest.raises(UserError, match="shows another host key"), open_place(exchange):
            pass
        known.unlink()
        with pytest.raises(UserError, match="ssh-keyscan"), open_place(exchange):
            pass


def test_a_key_that_is_not_let_in(tmp_path: Path) -> None:
    with running(SftpServer, tmp_path / "server") as server:
        exchange = server.exchange(sftp_key=tmp_path / "server/other")
        with pytest.raises(UserError, match="refuses user or key"), open_place(exchange):
            pass
        (tmp_path / "server/other").write_text("no key at all")
        with pytest.raises(UserError), open_place(exchange):
            pass
        exchange = server.exchange(sftp_key=None)
        with pytest.raises(UserError, match="sftp_key: not set"), open_place(exchange):
            pass


@pytest.mark.parametrize("url", ["s3://", "sftp://host/x", "sftp://u@host:port/x"])
def test_addresses_that_are_none(url: str, tmp_path: Path) -> None:
    secret = write_secret(tmp_path / "s", "a\nb")
    exchange = Exchange(url=url, s3_credentials=secret, sftp_key=secret)
    with pytest.raises(UserError, match=r"exchange\.url"), open_place(exchange):
        pass


def test_a_folder_that_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with open_place(Exchange(url=str(tmp_path / "file"))) as place:
        with pytest.raises(Unreachable):
            place.put("a", b"")
        with pytest.raises(Unreachable):
            place.list("")


def test_links_in_a_folder_lead_nowhere(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("not yours")
    with open_place(Exchange(url=str(tmp_path / "exchange"))) as place:
        place.put("models/a", b"")
        (tmp_path / "exchange/models/b").symlink_to(secret)
        assert [entry.name for entry in place.list("")] == ["models/a"]
        with pytest.raises(Missing):
            place.get("models/b", 100)
        assert place.size("models/b") is None


def test_what_dead_writers_left_is_not_listed_and_goes(tmp_path: Path) -> None:
    with open_place(Exchange(url=str(tmp_path))) as place:
        place.put("labels/a", b"")
        old, new = tmp_path / "labels/.b.1234", tmp_path / "labels/.c.1234"
        for path in (old, new):
            path.write_bytes(b"half")
        os.utime(old, (1, 1))
        assert [entry.name for entry in place.list("")] == ["labels/a"]
        place.put("labels/d", b"")
        assert not old.exists()
        assert new.exists()


def test_the_servers_of_the_tests_listen_on_loopback_only(tmp_path: Path) -> None:
    for kind in (S3Server, SftpServer):
        with running(kind, tmp_path / kind.__name__) as server:
            for address in ("127.0.0.2", "::1"):
                family = socket.AF_INET6 if ":" in address else socket.AF_INET
                with socket.socket(family) as client:
                    client.settimeout(2)
                    assert client.connect_ex((address, server.port)) != 0
    assert free_port() > 0
