"""A web server for files that also fails in the ways servers and networks do."""

import hashlib
import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, HTTPServer
from socketserver import ThreadingMixIn


class FileServer(ThreadingMixIn, HTTPServer):
    """Serves `contents` (path to bytes) on a free port of 127.0.0.1, with ETag and ranges.

    faults : what the next requests meet, in turn: a status; "stall" (headers, then nothing);
        ("cut", N) (N bytes of the answer, then the end); "no range" (always the whole file); "shifted"
        (another range than asked for); "no length"
    etag : "strong", "weak" or "" (none)
    requests : (path, headers) of each request that came
    """

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.contents, self.faults, self.requests, self.etag = {}, [], [], "strong"
        self.ended = threading.Event()
        self._thread = threading.Thread(target=self.serve_forever, args=(0.02,))
        self._thread.start()

    @property
    def url(self):
        """Its address, without a path."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    @property
    def ranges(self):
        """The range each request asked for, None for the whole file."""
        return [headers.get("Range") for _, headers in self.requests]

    def stop(self):
        """End it, and all that stalls."""
        self.ended.set()
        self.shutdown()
        self._thread.join()
        self.server_close()

    def handle_error(self, *_):
        """A client that goes away is what is tested here."""


class _Handler(BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_GET(self):
        server = self.server
        server.requests.append((self.path, dict(self.headers)))
        fault = server.faults.pop(0) if server.faults else ""
        content = server.contents.get(self.path)
        if isinstance(fault, int) or content is None:
            self.send_error(fault or 404)
            return
        etag = self._etag(content)
        start = self._start(fault, etag)
        if start is not None and start >= len(content):
            self.send_error(416)
            return
        with suppress(OSError):
            self._answer(fault, content, start, etag)

    def _etag(self, content):
        tag = f'"{hashlib.sha256(content).hexdigest()[:8]}"'
        return {"strong": tag, "weak": "W/" + tag, "": None}[self.server.etag]

    def _start(self, fault, etag):
        wanted = self.headers.get("Range")
        changed = self.headers.get("If-Range") not in (None, etag)
        if wanted is None or changed or fault == "no range":
            return None
        return int(wanted[len("bytes=") : -1])

    def _answer(self, fault, content, start, etag):
        body = content[start or 0 :]
        self.send_response(200 if start is None else 206)
        if start is not None:
            shown = start + (fault == "shifted")
            self.send_header("Content-Range", f"bytes {shown}-{len(content) - 1}/{len(content)}")
        if etag:
            self.send_header("ETag", etag)
        if fault != "no length":
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if fault == "stall":
            self.wfile.flush()
            self.server.ended.wait(60)
            return
        self.wfile.write(body[: fault[1]] if isinstance(fault, tuple) else body)
