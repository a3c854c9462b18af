"""Reading one HTTP/1.1 response from bytes that arrive in any portions.

Owns the grammar that the load needs: a status line, headers, and a body by length, by chunks or up to the end of the
connection. Never decompresses (the load asks for none, so a compressed body is a malformed one), never follows a
redirect, and never keeps more than the limits below, whatever a server sends.
"""

from __future__ import annotations

MAX_HEAD_BYTES = 64 * 1024
MAX_BODY_BYTES = 2 * 1024 * 1024
MAX_CHUNK_LINE_BYTES = 1024
MAX_INTERIM_ANSWERS = 16

_HEX = frozenset(b"0123456789abcdefABCDEF")


class MalformedResponse(Exception):
    """What arrived is not an HTTP/1.1 response within the limits."""


class Response:
    """A response under way: feed it what arrives until `done`.

    Attributes:
        status: HTTP status, 0 until it is known.
        body: its body, whole once `done`.
        done: whether everything arrived.
        reusable: whether the connection can carry another request afterwards.
    """

    __slots__ = (
        "_buffer",
        "_chunked",
        "_chunks",
        "_head",
        "_interim",
        "_length",
        "body",
        "done",
        "reusable",
        "status",
    )

    def __init__(self) -> None:
        self.status = 0
        self.body = b""
        self.done = False
        self.reusable = False
        self._buffer: bytes | bytearray = b""
        self._head = b""
        self._length = -1
        self._chunked = False
        self._chunks: bytes | bytearray = b""
        self._interim = 0

    @property
    def started(self) -> bool:
        """Whether anything arrived."""
        return bool(self._buffer or self._head or self._interim)

    def feed(self, data: bytes) -> bool:
        """Takes the next bytes; empty ones mean the end of the connection.

        Returns:
            `done`.

        Raises:
            MalformedResponse: not a response, cut off by the end of the connection, or over a limit.
        """
        if not data:
            return self._end_of_connection()
        searched = len(self._buffer)
        if searched:
            # A server may send byte by byte; a bytearray grows without copying what is already there.
            if not isinstance(self._buffer, bytearray):
                self._buffer = bytearray(self._buffer)
            self._buffer += data
        else:
            self._buffer = data
        if not self._head and not self._read_head(max(0, searched - 3)):
            return False
        if self._length >= 0:
            return self._read_by_length()
        if self._chunked:
            return self._read_chunks()
        if len(self._buffer) > MAX_BODY_BYTES:
            raise MalformedResponse(f"body over {MAX_BODY_BYTES} bytes")
        return False

    def header(self, name: bytes) -> bytes | None:
        """Value of the first header of that lower-case name, None when there is none."""
        at = self._head.lower().find(b"\r\n" + name + b":")
        if at < 0:
            return None
        start = at + len(name) + 3
        end = self._head.find(b"\r\n", start)
        return self._head[start : end if end >= 0 else None].strip()

    def values(self, name: bytes) -> list[bytes]:
        """Values of all headers of that lower-case name, in their order."""
        fields = (line.partition(b":") for line in self._head.split(b"\r\n")[1:])
        return [value.strip() for field, _, value in fields if field.lower() == name]

    def _read_head(self, search_from: int) -> bool:
        """Reads the head once it is whole; a few interim answers (1xx) before it are passed over."""
        while True:
            end = self._buffer.find(b"\r\n\r\n", search_from)
            if end < 0 or end > MAX_HEAD_BYTES:
                if len(self._buffer) > MAX_HEAD_BYTES:
                    raise MalformedResponse(f"headers over {MAX_HEAD_BYTES} bytes")
                return False
            head = bytes(self._buffer[:end])
            if head[:7] != b"HTTP/1." or head[8:9] != b" " or not head[9:12].isdigit() or head[12:13].strip():
                raise MalformedResponse("no HTTP/1.1 status line")
            status = int(head[9:12])
            self._buffer = self._buffer[end + 4 :]
            if not 100 <= status < 200:
                break
            self._interim += 1
            if status == 101 or self._interim > MAX_INTERIM_ANSWERS:
                raise MalformedResponse("switched protocols unasked, or interim answers without end")
            search_from = 0
        self.status, self._head = status, head
        self._read_framing(head)
        return True

    def _read_framing(self, head: bytes) -> None:
        lower = head.lower()
        self.reusable = head[7:8] == b"1" and b"\r\nconnection: close" not in lower
        at = lower.find(b"\r\ncontent-length:")
        if b"\r\ntransfer-encoding:" in lower:
            # Two lengths, or two encodings: whoever sends that lets two readers see two answers.
            if at >= 0 or lower.count(b"\r\ntransfer-encoding:") > 1:
                raise MalformedResponse("length and transfer encoding contradict each other")
            if (self.header(b"transfer-encoding") or b"").lower() != b"chunked":
                raise MalformedResponse("unknown transfer encoding")
            self._chunked = True
            return
        if at >= 0:
            end = lower.find(b"\r\n", at + 17)
            digits = lower[at + 17 : end if end >= 0 else None].strip()
            if not digits.isdigit() or len(digits) > 12:
                raise MalformedResponse("content length is not a number")
            if end >= 0 and b"\r\ncontent-length:" in lower[end:]:
                raise MalformedResponse("more than one content length")
            self._length = int(digits)
            if self._length > MAX_BODY_BYTES:
                raise MalformedResponse(f"body of {self._length} bytes, limit {MAX_BODY_BYTES}")
        else:
            self.reusable = self.reusable and self.status in (204, 304)
        if self.status in (204, 304):
            self._length = 0

    def _read_by_length(self) -> bool:
        buffer, length = self._buffer, self._length
        if len(buffer) < length:
            return False
        self.body = bytes(buffer) if len(buffer) == length else bytes(buffer[:length])
        # Bytes behind the answer were not asked for; the connection cannot be trusted any more.
        self.reusable = self.reusable and len(buffer) == length
        self.done = True
        return True

    def _read_chunks(self) -> bool:
        at = 0
        while True:
            buffer = self._buffer
            line_end = buffer.find(b"\r\n", at, at + MAX_CHUNK_LINE_BYTES)
            if line_end < 0:
                if len(buffer) - at >= MAX_CHUNK_LINE_BYTES:
                    raise MalformedResponse(f"chunk size line over {MAX_CHUNK_LINE_BYTES} bytes")
                break
            size = _chunk_size(bytes(buffer[at:line_end]))
            data_at = line_end + 2
            if size == 0:
                if self._read_trailers(data_at):
                    return True
                break
            if len(self._chunks) + size > MAX_BODY_BYTES:
                raise MalformedResponse(f"body over {MAX_BODY_BYTES} bytes")
            if len(buffer) < data_at + size + 2:
                break
            if buffer[data_at + size : data_at + size + 2] != b"\r\n":
                raise MalformedResponse("chunk is longer than its size")
            # One growing buffer: a list of tiny chunks would take many times the bytes that were sent.
            if not isinstance(self._chunks, bytearray):
                self._chunks = bytearray()
            self._chunks += buffer[data_at : data_at + size]
            at = data_at + size + 2
        if at:
            self._buffer = self._buffer[at:]
        return False

    def _read_trailers(self, at: int) -> bool:
        """Trailers are read and ignored, up to the empty line."""
        buffer = self._buffer
        if buffer[at : at + 2] == b"\r\n":
            end = at + 2
        else:
            trailers_end = buffer.find(b"\r\n\r\n", at)
            if trailers_end < 0:
                if len(buffer) - at > MAX_HEAD_BYTES:
                    raise MalformedResponse(f"trailers over {MAX_HEAD_BYTES} bytes")
                return False
            end = trailers_end + 4
        self.body = bytes(self._chunks)
        self.reusable = self.reusable and end == len(buffer)
        self.done = True
        return True

    def _end_of_connection(self) -> bool:
        if self._head and not self._chunked and self._length < 0:
            self.body = bytes(self._buffer)
            self.done = True
            return True
        raise MalformedResponse("connection ended within the answer" if self.started else "no answer")


def _chunk_size(line: bytes) -> int:
    digits = line.split(b";", 1)[0].strip()
    if not digits or len(digits) > 8 or not _HEX.issuperset(digits):
        raise MalformedResponse("chunk size is not a number")
    return int(digits, 16)
