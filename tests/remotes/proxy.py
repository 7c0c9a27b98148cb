"""Faults on the way to a remote: proxies before a server, which do to it what networks do.

`Proxy` understands HTTP (S3, WebDAV, HTTP); `Relay` only counts bytes (ssh). Both live in threads
of the process that made them. Each fault says which request, or connection, it is for, so that the
same faults on the same requests do the same; `schedule` draws them from a seed.
"""

from __future__ import annotations

import contextlib
import hashlib
import random
import re
import socket
import struct
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Self

HOST = "127.0.0.1"
WRITES = r"^(PUT|POST|DELETE|MKCOL|MOVE|COPY|PROPPATCH) "
READS = r"^(GET|HEAD|PROPFIND) "
LISTINGS = r"^(GET .*list-type=|PROPFIND )"
_BLOCK = 1 << 16
_ENTRY = re.compile(rb"<(Contents|(?:\w+:)?response)\b.*?</\1>", re.DOTALL)
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER of no time: closing resets the connection
# What is answered without asking the server: status, S3's code, with a Retry-After
_ANSWERS = {
    "unauthorized": (401, "InvalidAccessKeyId", False),
    "forbidden": (403, "AccessDenied", False),
    "skewed": (403, "RequestTimeTooSkewed", False),
    "missing": (404, "NoSuchKey", False),
    "gone": (410, "Gone", False),
    "too many": (429, "TooManyRequests", True),
    "broken": (500, "InternalError", False),
    "unavailable": (503, "SlowDown", True),
}
# Where S3 has an answer of its own, and what others say
_EITHER = {
    "expired": ((400, "ExpiredToken"), (401, "Unauthorized")),
    "quota": ((403, "QuotaExceeded"), (507, "InsufficientStorage")),
}


@dataclass(frozen=True)
class Fault:
    """What happens to the requests (of a `Relay`: to the connections) that it is for.

    `where` is a regular expression searched in `METHOD target` (of a Relay: nothing). The fault
    acts from the `at`-th match on, `times` times (0: always). What `amount` is, by kind:

    no answer of the server's:
    refuse       the connection is reset, and new ones are refused for so many seconds (0: for good)
    cut request  the server and the proxy get so many bytes of the body, then all is reset
    hang         nothing is passed on nor answered for so many seconds (0: for good), then a reset
    swallow      "stored", but the server was never asked
    unauthorized, forbidden, skewed, missing, gone, too many, broken, unavailable, expired, quota
                 an error; seconds of Retry-After for `too many` and `unavailable`

    with the server's answer:
    cut          so many bytes of the answer, head and all, then a reset (0: all is done, untold)
    stall        so many bytes of the answer, then nothing more
    slow         the answer takes so many seconds
    short        the answer is so many bytes shorter, and says that it was meant to be
    truncated    the same, but its length is said as it was; then the connection ends
    flip         a bit of the answer's body is another: bit `amount` modulo its length
    flip request a bit of the request's body, likewise
    twice        the request is delivered twice; the second answer counts
    stale        a listing as it was when first asked for
    partial      a listing without some of its entries (`amount` is the seed of which)

    On a Relay: refuse, cut, hang and slow, after so many bytes in both directions together (slow:
    that many bytes a second), and flip of that byte.
    """

    what: str
    where: str = ""
    at: int = 1
    times: int = 1
    amount: float = 0

    def __str__(self) -> str:
        often = {0: " and on", 1: ""}.get(self.times, f", {self.times} times")
        return f"{self.what} ({self.amount:g}) at {self.where or 'any'} {self.at}{often}"


@dataclass
class Plan:
    """Which fault meets which request."""

    faults: Sequence[Fault]
    _matches: list[int] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self._matches = [0] * len(self.faults)

    def meets(self, name: str) -> Fault | None:
        """Return the fault that a request meets: the first of those whose turn it is."""
        found = None
        with self._lock:
            for i, fault in enumerate(self.faults):
                if not re.search(fault.where, name):
                    continue
                n = self._matches[i] = self._matches[i] + 1
                its_turn = fault.at <= n and (not fault.times or n < fault.at + fault.times)
                found = found or (fault if its_turn else None)
        return found


class Door:
    """A port of this machine, served by threads until it is closed."""

    def __init__(self, upstream: tuple[str, int], faults: Sequence[Fault] = ()) -> None:
        self.upstream = upstream
        self.plan = Plan(faults)
        self.seen: list[tuple[str, Fault | None]] = []
        self.closed = threading.Event()
        self._connections: set[socket.socket] = set()
        self._listener: socket.socket | None = None
        self._held: socket.socket | None = None  # while refusing: the port stays ours
        self.port = 0
        self.open()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def met(self) -> list[str]:
        """What the faults did so far, in order: `kind METHOD target`."""
        return [f"{fault.what} {name}" for name, fault in self.seen if fault is not None]

    def open(self) -> None:
        """Accept connections, again."""
        listener, self._held = self._held, None
        if listener is None:
            listener = socket.create_server((HOST, self.port), reuse_port=False)
        listener.listen()
        self._listener, self.port = listener, listener.getsockname()[1]
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    def refuse(self, seconds: float = 0) -> None:
        """Refuse connections, for some time or (0) until `open`."""
        listener, self._listener = self._listener, None
        if listener is not None:
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)  # closing alone would not wake `accept`
            listener.close()
            if not self.closed.is_set():  # bound, and not listening: connections are refused
                self._held = socket.socket()
                self._held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                self._held.bind((HOST, self.port))
        if seconds:
            timer = threading.Timer(seconds, self._open_again)
            timer.daemon = True
            timer.start()

    def _open_again(self) -> None:
        if not self.closed.is_set() and self._listener is None:
            self.open()

    def close(self) -> None:
        """End all connections, and what hangs."""
        self.closed.set()
        self.refuse()
        if self._held is not None:
            self._held.close()
        for connection in list(self._connections):
            _reset(connection)

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            self._connections.add(client)
            threading.Thread(target=self._serve_safely, args=(client,), daemon=True).start()

    def _serve_safely(self, client: socket.socket) -> None:
        try:
            self.serve(client)
        except (OSError, ValueError):
            _reset(client)  # either side has gone
        finally:
            client.close()
            self._connections.discard(client)

    def serve(self, client: socket.socket) -> None:
        """Serve one connection."""
        raise NotImplementedError

    def ask(self) -> socket.socket:
        """Connect to the server."""
        server = socket.create_connection(self.upstream, timeout=60)
        server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._connections.add(server)
        return server

    def done_with(self, server: socket.socket) -> None:
        """Close a connection of `ask`."""
        server.close()
        self._connections.discard(server)

    def wait(self, seconds: float) -> None:
        """Wait so long (0: for good), but not longer than this is open."""
        self.closed.wait(seconds or None)


def _reset(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        connection.shutdown(socket.SHUT_RD)
    connection.close()


# -- HTTP ----------------------------------------------------------------------------------------


@dataclass
class Message:
    """A request or an answer: its first line, its headers in order, its body."""

    first: str
    headers: list[tuple[str, str]]
    body: bytes = b""

    def header(self, name: str) -> str:
        """Return a header's value, or nothing."""
        return next((v for k, v in self.headers if k.lower() == name), "")

    def without(self, *names: str) -> list[tuple[str, str]]:
        """Return the headers but for these."""
        return [(k, v) for k, v in self.headers if k.lower() not in names]

    def encoded(self, *, length: int | None = None) -> bytes:
        """Return head and body; the length is the body's, or what is given."""
        headers = self.without("content-length", "transfer-encoding")
        if self.first.startswith("HTTP/") or headers != self.headers:
            headers.append(("Content-Length", str(len(self.body) if length is None else length)))
        lines = [self.first, *(f"{key}: {value}" for key, value in headers), "", ""]
        return "\r\n".join(lines).encode("latin-1") + self.body


class Stream:
    """A connection that is read by lines and by lengths."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self._held = b""

    def head(self) -> Message | None:
        """Read a head, or nothing where the other side has finished. Raises ValueError."""
        while b"\r\n\r\n" not in self._held:
            if not self._more():
                return None
        head, _, self._held = self._held.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        fields = (line.partition(":") for line in lines)
        return Message(first, [(key.strip(), value.strip()) for key, _, value in fields])

    def body(self, head: Message, *, to_the_end: bool = False) -> Iterator[bytes]:
        """Yield the pieces of a body as they come; `to_the_end`: where its length is not said."""
        if "chunked" in head.header("transfer-encoding").lower():
            while size := int(self._line().split(b";")[0], 16):
                yield from self._exactly(size)
                self._line()
            while self._line():
                pass
        elif length := head.header("content-length"):
            yield from self._exactly(int(length))
        elif to_the_end:
            yield self._held
            while piece := self.connection.recv(_BLOCK):
                yield piece

    def _line(self) -> bytes:
        while b"\r\n" not in self._held:
            if not self._more():
                raise ConnectionResetError
        line, _, self._held = self._held.partition(b"\r\n")
        return line

    def _exactly(self, size: int) -> Iterator[bytes]:
        while size:
            if not self._held and not self._more():
                raise ConnectionResetError
            piece, self._held = self._held[:size], self._held[size:]
            size -= len(piece)
            yield piece

    def _more(self) -> bool:
        piece = self.connection.recv(_BLOCK)
        self._held += piece
        return bool(piece)


@dataclass
class Exchange:
    """A request, and the connection that it came by. The answer goes back the same way."""

    client: Stream
    request: Message

    @property
    def name(self) -> str:
        """`METHOD target`."""
        return self.request.first.rpartition(" ")[0]

    @property
    def is_signed(self) -> bool:
        """Whether this is S3's protocol."""
        return "AWS4" in self.request.header("authorization") or "X-Amz-Signature" in self.name

    def read_body(self) -> None:
        """Read the request's body to its end."""
        self.request.body = b"".join(self.client.body(self.request))

    def answer(self, data: bytes) -> None:
        """Send bytes of an answer."""
        self.client.connection.sendall(data)

    def reply(self, status: int, code: str, *headers: tuple[str, str], body: bytes = b"") -> None:
        """Answer in the server's place."""
        if self.name.startswith("HEAD "):
            body = b""
        kind = [("Content-Type", "application/xml")] if body else []
        self.answer(Message(f"HTTP/1.1 {status} {code}", [*kind, *headers], body).encoded())


class Proxy(Door):
    """A proxy that understands HTTP. `watch` is called with each request's name before it."""

    def __init__(self, upstream: tuple[str, int], faults: Sequence[Fault] = ()) -> None:
        self.watch: Callable[[str], None] = lambda name: None
        self._first_listings: dict[str, bytes] = {}
        super().__init__(upstream, faults)

    def serve(self, client: socket.socket) -> None:
        """Serve the requests of one connection."""
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        stream = Stream(client)
        while (head := stream.head()) is not None:
            exchange = Exchange(stream, head)
            fault = self.plan.meets(exchange.name)
            self.seen.append((exchange.name, fault))
            self.watch(exchange.name)
            if head.header("expect"):
                client.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
                head.headers = head.without("expect")
            self._handle(exchange, fault)

    def _handle(self, exchange: Exchange, fault: Fault | None) -> None:
        if fault is not None and fault.what in self._BEFORE:
            self._BEFORE[fault.what](self, exchange, fault)
            return
        exchange.read_body()
        if fault is not None and fault.what in self._INSTEAD:
            self._INSTEAD[fault.what](self, exchange, fault)
            return
        answer = self._deliver(exchange, fault)
        if answer is None:
            raise ConnectionResetError
        self._remember(exchange, answer)
        if fault is None or fault.what not in self._AFTER:
            exchange.answer(self._encoded(exchange, answer))
        else:
            self._AFTER[fault.what](self, exchange, fault, answer)

    # -- before the body is read -----------------------------------------------------------------

    def _refuse(self, exchange: Exchange, fault: Fault) -> None:
        self.refuse(fault.amount)
        raise ConnectionResetError

    def _cut_request(self, exchange: Exchange, fault: Fault) -> None:
        request = exchange.request
        length = int(request.header("content-length") or 1 << 40)
        server = self.ask()
        server.sendall(request.encoded(length=length))
        left = int(fault.amount)
        for piece in exchange.client.body(request) if left else ():
            server.sendall(piece[:left])
            left -= len(piece)
            if left <= 0:
                break
        self.done_with(server)  # with an end, not a reset: what came before it may be stored
        raise ConnectionResetError

    # -- instead of the server -------------------------------------------------------------------

    def _hang(self, exchange: Exchange, fault: Fault) -> None:
        self.wait(fault.amount)
        raise ConnectionResetError

    def _swallow(self, exchange: Exchange, fault: Fault) -> None:
        digest = hashlib.md5(exchange.request.body, usedforsecurity=False).hexdigest()
        status = 200 if exchange.is_signed else 201
        exchange.reply(status, "OK", ("ETag", f'"{digest}"'))

    def _error(self, exchange: Exchange, fault: Fault) -> None:
        wait = False
        if fault.what in _ANSWERS:
            status, code, wait = _ANSWERS[fault.what]
        else:
            status, code = _EITHER[fault.what][0 if exchange.is_signed else 1]
        headers = [("Retry-After", str(int(fault.amount)))] if wait else []
        headers += [("WWW-Authenticate", 'Basic realm="t"')] if status == 401 else []
        body = f"<Error><Code>{code}</Code><Message>{fault.what}</Message></Error>".encode()
        exchange.reply(status, code, *headers, body=body)

    # -- with the server -------------------------------------------------------------------------

    def _deliver(self, exchange: Exchange, fault: Fault | None) -> Message | None:
        request = exchange.request
        if fault is not None and fault.what == "flip request":
            request.body = _flipped(request.body, fault)
        if fault is not None and fault.what == "twice":
            self._deliver(exchange, None)
        server = self.ask()
        try:
            closing = Message(
                request.first,
                [*request.without("connection"), ("Connection", "close")],
                request.body,
            )
            server.sendall(closing.encoded())
            stream = Stream(server)
            answer = stream.head()
            while answer is not None and answer.first.split()[1] == "100":
                answer = stream.head()
            if answer is not None and not exchange.name.startswith("HEAD "):
                answer.body = b"".join(stream.body(answer, to_the_end=True))
        finally:
            self.done_with(server)
        return answer

    def _encoded(self, exchange: Exchange, answer: Message) -> bytes:
        answer.headers = answer.without("connection")
        said = answer.header("content-length")
        heads = exchange.name.startswith("HEAD ") and said
        return answer.encoded(length=int(said) if heads else None)

    def _remember(self, exchange: Exchange, answer: Message) -> None:
        if re.search(LISTINGS, exchange.name):
            key = f"{exchange.name} {exchange.request.header('depth')}"
            self._first_listings.setdefault(key, self._encoded(exchange, answer))

    def _cut(self, exchange: Exchange, fault: Fault, answer: Message) -> None:
        exchange.answer(self._encoded(exchange, answer)[: int(fault.amount)])
        raise ConnectionResetError

    def _stall(self, exchange: Exchange, fault: Fault, answer: Message) -> None:
        exchange.answer(self._encoded(exchange, answer)[: int(fault.amount)])
        self.wait(0)
        raise ConnectionResetError

    def _slow(self, exchange: Exchange, fault: Fault, answer: Message) -> None:
        data = self._encoded(exchange, answer)
        pieces = 10
        size = -(-len(data) // pieces)
        for n in range(0, len(data), size):
            self.wait(fault.amount / pieces)
            exchange.answer(data[n : n + size])

    def _short(self, exchange: Exchange, fault: Fault, answer: Message) -> None:
        answer.body = answer.body[: -max(int(fault.amount), 1)]
        exchange.answer(answer.encoded())

    def _truncated(self, exchange: Exchange, fault: Fault, answer: Message) -> None:
        exchange.answer(self._encoded(exchange, answer)[: -max(int(fault.amount), 1)])
        exchange.client.connection.shutdown(socket.SHUT_RDWR)

    def _flip(self, exchange: Exchange, fault: Fault, answer: Message) -> None:
        answer.body = _flipped(answer.body, fault)
        exchange.answer(self._encoded(exchange, answer))

    def _stale(self, exchange: Exchange, fault: Fault, answer: Message) -> None:
        key = f"{exchange.name} {exchange.request.header('depth')}"
        exchange.answer(self._first_listings.get(key) or self._encoded(exchange, answer))

    def _partial(self, exchange: Exchange, fault: Fault, answer: Message) -> None:
        rng = random.Random(int(fault.amount))
        answer.body = _ENTRY.sub(lambda m: m[0] if rng.random() < 0.5 else b"", answer.body)
        exchange.answer(answer.encoded())

    _BEFORE: ClassVar = {"refuse": _refuse, "cut request": _cut_request}
    _INSTEAD: ClassVar = {
        "hang": _hang, "swallow": _swallow, **dict.fromkeys((*_ANSWERS, *_EITHER), _error),
    }  # fmt: skip
    _AFTER: ClassVar = {
        "cut": _cut, "stall": _stall, "slow": _slow, "short": _short, "truncated": _truncated,
        "flip": _flip, "stale": _stale, "partial": _partial,
    }  # fmt: skip
    KINDS = (*_BEFORE, *_INSTEAD, *_AFTER, "flip request", "twice")


def _flipped(body: bytes, fault: Fault) -> bytes:
    if not body:
        return body
    at, bit = divmod(int(fault.amount) % (len(body) * 8), 8)
    changed = bytearray(body)
    changed[at] ^= 1 << bit
    return bytes(changed)


# -- any protocol --------------------------------------------------------------------------------


class Relay(Door):
    """A proxy that passes bytes on, and counts them. A fault is for the n-th connection."""

    KINDS = ("refuse", "cut", "hang", "slow", "flip")

    def serve(self, client: socket.socket) -> None:
        """Serve one connection."""
        fault = self.plan.meets("")
        self.seen.append(("connection", fault))
        if fault is not None and fault.what == "refuse":
            self.refuse(fault.amount)
            raise ConnectionResetError
        server = self.ask()
        passage = Passage(self, fault)
        back = threading.Thread(target=passage.pump, args=(server, client), daemon=True)
        back.start()
        passage.pump(client, server)
        back.join()
        self.done_with(server)


class Passage:
    """One connection through a relay: what of its fault's amount has passed."""

    def __init__(self, door: Door, fault: Fault | None) -> None:
        self.door, self.fault = door, fault
        self._passed = 0
        self._lock = threading.Lock()

    def pump(self, source: socket.socket, sink: socket.socket) -> None:
        """Pass bytes on in one direction until there are no more, or the fault ends it."""
        with contextlib.suppress(OSError):
            while data := source.recv(_BLOCK):
                sink.sendall(self._hit(data, source, sink))
            sink.shutdown(socket.SHUT_WR)

    def _hit(self, data: bytes, source: socket.socket, sink: socket.socket) -> bytes:
        if self.fault is None:
            return data
        what, amount = self.fault.what, int(self.fault.amount)
        with self._lock:
            before, self._passed = self._passed, self._passed + len(data)
        reached = self._passed > amount >= before
        if what == "slow":
            self.door.closed.wait(len(data) / max(amount, 1))
        elif what == "flip" and reached:
            at = amount - before
            return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
        elif what in {"cut", "hang"} and self._passed > amount:
            with contextlib.suppress(OSError):
                sink.sendall(data[: max(amount - before, 0)])
            if what == "hang":
                self.door.wait(0)
            _reset(source)
            _reset(sink)
            raise ConnectionResetError
        return data


# -- schedules -----------------------------------------------------------------------------------

_WHERE = {
    "swallow": WRITES, "quota": WRITES, "flip request": WRITES, "cut request": WRITES,
    "stale": LISTINGS, "partial": LISTINGS, "short": READS, "flip": READS,
}  # fmt: skip
_SECONDS = {"refuse": (0.1, 0.5), "too many": (0, 1), "unavailable": (0, 1)}


def schedule(
    seed: int, door: type[Proxy | Relay], kinds: Sequence[str] = (), *, requests: int = 12
) -> list[Fault]:
    """Draw one to three faults among about so many requests, the same for the same seed.

    `kinds` are all that this door has, if none are given. What hangs, hangs for good: it is for
    the time-outs of who is tested.
    """
    rng = random.Random(seed)
    draw = _draw_for_relay if issubclass(door, Relay) else _draw
    return [
        draw(rng, rng.choice(kinds or door.KINDS), requests)
        for _ in range(rng.choice((1, 1, 2, 3)))
    ]


def _draw(rng: random.Random, what: str, requests: int) -> Fault:
    amount: float = rng.choice((0, 1, rng.randrange(64), rng.randrange(1024), rng.randrange(65536)))
    if what in _SECONDS:
        amount = round(rng.uniform(*_SECONDS[what]), 2)
    elif what in {"hang", "slow"}:
        amount = {"hang": 0, "slow": 0.2}[what]
    return Fault(
        what,
        where=_WHERE.get(what) or rng.choice(("", WRITES, READS)),
        at=rng.randint(1, requests),
        times=rng.choice((1, 1, 2, 0)),
        amount=amount,
    )


def _draw_for_relay(rng: random.Random, what: str, requests: int) -> Fault:
    """Draw a fault for one of the first connections; a file system of DVC's opens only one."""
    amount: float = rng.choice((0, rng.randrange(4096), rng.randrange(65536)))
    if what == "refuse":
        amount = round(rng.uniform(*_SECONDS[what]), 2)
    elif what == "slow":
        amount = rng.randrange(50_000, 500_000)
    return Fault(what, at=rng.randint(1, 2), times=rng.choice((1, 1, 0)), amount=amount)
