"""Network cameras for the tests: motion JPEG over HTTP, and RTSP (RFC 2326) with RTP/JPEG (RFC 2435) over its own TCP.

They show what `picture` holds, a JPEG, or what it gives when called with the number of the frame. `silent` makes them
accept and say nothing, as a camera that hangs does; `stop` ends them with all connections, `start` has them back at
the same port.
"""

import base64
import contextlib
import itertools
import re
import socket
import struct
import threading
from typing import Callable, Iterator, List, Optional, Union

_PAYLOAD = 1200  # bytes of a packet
_DESCRIPTION = b"v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=test\r\nt=0 0\r\nm=video 0 RTP/AVP 26\r\na=control:track1\r\n"


class PictureServer:
    """What both have in common: a port, and a thread for each connection."""

    def __init__(self, picture: Union[bytes, Callable[[int], bytes]], rate: float = 50.0):
        self.picture, self.rate, self.silent = picture, rate, False
        self.requests: List[str] = []
        self.port = 0
        self._numbers = itertools.count()
        self.start()

    def start(self) -> "PictureServer":
        """Listen; again at the same port after `stop`."""
        self._stopped = threading.Event()
        self._connections: List[socket.socket] = []
        self._listener = socket.socket()
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listener.bind(("127.0.0.1", self.port))
        self._listener.listen(8)
        self.port = self._listener.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()
        return self

    def stop(self) -> None:
        """Close everything at once."""
        self._stopped.set()
        for one in (self._listener, *self._connections):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        for thread in list(self._threads):
            thread.join(10)
        for one in (self._listener, *self._connections):
            one.close()

    def cut(self) -> None:
        """Break every connection; who comes anew is served."""
        cut, self._connections = self._connections, []
        for one in cut:
            with contextlib.suppress(OSError):  # it may be broken already
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def __enter__(self) -> "PictureServer":
        return self

    def __exit__(self, *_) -> None:
        self.stop()

    def _accept(self) -> None:
        while not self._stopped.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._connections.append(connection)
            thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            with contextlib.suppress(OSError):
                self._talk(connection)
        finally:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def _talk(self, connection: socket.socket) -> None:
        raise NotImplementedError

    def _request(self, connection: socket.socket) -> Optional[str]:
        """The next request's head; None when the other end has gone."""
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            byte = connection.recv(1)
            if not byte:
                return None
            if byte == b"$" and not head:  # a report of the receiver between requests
                _, length = struct.unpack(">BH", connection.recv(3, socket.MSG_WAITALL))
                connection.recv(length, socket.MSG_WAITALL)
                continue
            head += byte
        self.requests.append(head.decode())
        return head.decode()

    def _pictures(self) -> Iterator[bytes]:
        """Pictures at the rate, until the server is stopped; none while it is silent."""
        while not self._stopped.wait(1.0 / self.rate):
            if not self.silent:
                number = next(self._numbers)
                yield self.picture(number) if callable(self.picture) else self.picture

    def _wait_while_silent(self) -> None:
        while self.silent and not self._stopped.wait(0.02):
            pass


class MjpegServer(PictureServer):
    """/stream is motion JPEG, /snapshot one picture.

    lengths : whether parts say how long they are; user : "name:password", if one is wanted
    """

    def __init__(self, picture, rate: float = 50.0, lengths: bool = True, user: str = ""):
        self.lengths, self.user = lengths, user
        super().__init__(picture, rate)

    def url(self, path: str = "stream", user: str = "") -> str:
        return f"http://{user + '@' if user else ''}127.0.0.1:{self.port}/{path}"

    def _talk(self, connection: socket.socket) -> None:
        while True:
            head = self._request(connection)
            if head is None:
                return
            self._wait_while_silent()
            wanted = base64.b64encode(self.user.encode()).decode()
            if self.user and f"Authorization: Basic {wanted}" not in head:
                connection.sendall(b'HTTP/1.1 401 No\r\nWWW-Authenticate: Basic realm="x"\r\nContent-Length: 0\r\n\r\n')
            elif head.startswith("GET /snapshot"):
                data = next(self._pictures())
                head = f"HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\nContent-Length: {len(data)}\r\n\r\n"
                connection.sendall(head.encode() + data)
            elif head.startswith("GET /moved"):
                connection.sendall(b"HTTP/1.1 302 There\r\nLocation: /stream\r\nContent-Length: 0\r\n\r\n")
            elif head.startswith("GET /stream"):
                self._stream(connection)
                return
            else:
                connection.sendall(b"HTTP/1.1 404 None\r\nContent-Length: 0\r\n\r\n")

    def _stream(self, connection: socket.socket) -> None:
        kind = "multipart/x-mixed-replace; boundary=frame"
        connection.sendall(f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\n\r\n".encode())
        for data in self._pictures():
            length = f"Content-Length: {len(data)}\r\n" if self.lengths else ""
            head = f"--frame\r\nContent-Type: image/jpeg\r\n{length}\r\n"
            connection.sendall(head.encode() + data + b"\r\n")


class RtspServer(PictureServer):
    """An RTSP camera. Pictures have sides that 16 divides, are coloured 4:2:0 and have the usual Huffman tables."""

    def url(self, user: str = "") -> str:
        return f"rtsp://{user + '@' if user else ''}127.0.0.1:{self.port}/live"

    def _talk(self, connection: socket.socket) -> None:
        while True:
            head = self._request(connection)
            if head is None:
                return
            self._wait_while_silent()
            number = re.search(r"(?i)^cseq: *(\d+)", head, re.MULTILINE).group(1)
            method, body, more = head.split(" ")[0], b"", ""
            if method == "OPTIONS":
                more = "Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN\r\n"
            elif method == "DESCRIBE":
                body = _DESCRIPTION
                more = f"Content-Type: application/sdp\r\nContent-Length: {len(body)}\r\n"
            elif method == "SETUP":
                more = "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\nSession: 1\r\n"
            else:
                more = "Session: 1\r\n"
            connection.sendall(f"RTSP/1.0 200 OK\r\nCSeq: {number}\r\n{more}\r\n".encode() + body)
            if method == "PLAY":
                threading.Thread(target=self._swallow, args=(connection,), daemon=True).start()
                self._play(connection)
                return

    def _swallow(self, connection: socket.socket) -> None:
        """Read and forget what a client sends while it watches."""
        with contextlib.suppress(OSError):
            while connection.recv(4096):
                pass

    def _play(self, connection: socket.socket) -> None:
        sequence = 0
        for number, data in enumerate(self._pictures()):
            for packet in rtp_packets(data, sequence, int(number * 90000 / self.rate)):
                connection.sendall(b"$\0" + struct.pack(">H", len(packet)) + packet)
                sequence += 1


def rtp_packets(data: bytes, sequence: int, timestamp: int) -> Iterator[bytes]:
    """A JPEG as RTP packets, RFC 2435, with its own quantisation tables (Q = 255)."""
    tables, size, position = b"", (0, 0), 2
    while data[position + 1] != 0xDA:
        kind, length = data[position + 1], int.from_bytes(data[position + 2 : position + 4], "big")
        segment = data[position + 4 : position + 2 + length]
        if kind == 0xDB:
            while segment:
                tables, segment = tables + segment[1:65], segment[65:]
        elif kind == 0xC0:
            size = int.from_bytes(segment[3:5], "big"), int.from_bytes(segment[1:3], "big")
        position += 2 + length
    scan = data[position + 2 + int.from_bytes(data[position + 2 : position + 4], "big") : -2]
    for offset in range(0, len(scan), _PAYLOAD):
        last = offset + _PAYLOAD >= len(scan)
        head = struct.pack(">BBHII", 0x80, 26 | (0x80 if last else 0), sequence & 0xFFFF, timestamp & 0xFFFFFFFF, 1)
        head += struct.pack(">I", offset) + bytes([1, 255, size[0] // 8, size[1] // 8])
        if offset == 0:
            head += struct.pack(">BBH", 0, 0, len(tables)) + tables
        yield head + scan[offset : offset + _PAYLOAD]
        sequence += 1
