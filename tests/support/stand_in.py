"""A small HTTP server that answers as a test tells it to, and remembers what it was asked."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Callable, Dict, List, NamedTuple


class Asked(NamedTuple):
    """A request that came. path : with its query; connection : the client's port, another one for each connection."""

    method: str
    path: str
    headers: Any
    body: bytes
    connection: int


class StandIn:
    """Listens on a free port of this machine.

    answers : by "METHOD /path", without the query; functions of the handler and the request
    """

    def __init__(self) -> None:
        self.answers: Dict[str, Callable] = {}
        self.asked: List[Asked] = []
        stand_in = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            timeout = 20

            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                asked = Asked(self.command, self.path, self.headers, body, self.client_address[1])
                stand_in.asked.append(asked)
                stand_in.answers[f"{self.command} {self.path.partition('?')[0]}"](self, asked)

            do_GET = do_POST = do_PATCH = do_DELETE = answer

            def log_message(self, *_: Any) -> None:
                """Be quiet."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def on(self, what: str, *answers: Callable) -> None:
        """Give these answers one after another, and the last one from then on."""
        left = list(answers)

        def next_answer(handler: BaseHTTPRequestHandler, asked: Asked) -> None:
            answer = left.pop(0) if len(left) > 1 else left[0]
            answer(handler, asked)

        self.answers[what] = next_answer


def reply(data: bytes, kind: str = "application/json", status: int = 200, **headers: str) -> Callable:
    """An answer with a body."""
    told = {"Content_Type": kind, "Content_Length": str(len(data)), **headers}

    def answer(handler: BaseHTTPRequestHandler, _: Asked) -> None:
        handler.send_response(status)
        for name, value in told.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(data)

    return answer


def json_reply(value: Any, status: int = 200, **headers: str) -> Callable:
    """An answer of JSON."""
    return reply(json.dumps(value).encode(), status=status, **headers)


def refusal(status: int, code: str, detail: str = "no", **headers: str) -> Callable:
    """A problem document."""
    problem = {"type": "about:blank", "title": "No", "status": status, "detail": detail, "code": code}
    return reply(json.dumps(problem).encode(), "application/problem+json", status, **headers)


def hang_up(handler: BaseHTTPRequestHandler, _: Asked) -> None:
    """Close the connection without an answer."""
    handler.close_connection = True


def cut_short(data: bytes, announced: int, kind: str = "application/octet-stream") -> Callable:
    """An answer that ends before all that was announced."""

    def answer(handler: BaseHTTPRequestHandler, asked: Asked) -> None:
        reply(data, kind, Content_Length=str(announced))(handler, asked)
        handler.close_connection = True

    return answer


def chunks(*parts: bytes, kind: str, whole: bool = True) -> Callable:
    """An answer in chunks. whole : whether it ends as it should, or with the connection."""

    def answer(handler: BaseHTTPRequestHandler, _: Asked) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", kind)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        for part in parts:
            handler.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
        if whole:
            handler.wfile.write(b"0\r\n\r\n")
        handler.close_connection = True

    return answer
