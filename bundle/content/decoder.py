"""Decoding of pictures in processes with a budget of memory and time, which the kernel enforces.

The header of a picture says what an honest one takes. What a forged one makes a decoder do is known
only afterwards, and neither a thread's memory nor its time can be limited. A process's can.
"""

import json
import os
import resource
import signal
import subprocess
import sys
import warnings
import weakref
from contextlib import suppress
from multiprocessing.connection import Connection, Pipe
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bundle.content.pictures import MAX_MEMORY, Resize, UnreadableError, decode_picture, fit_square

MAX_SECONDS = 10
"""Maximum CPU time of one picture, in seconds: the largest ones take about two. The load of the
machine does not count."""
_PIXELS, _REASON = b"+", b"-"
"""First byte of an answer."""


class PictureDecoder:
    """Decoder of picture files to squares of pixels; safe for threads.

    As many processes as threads call it at once; they start when they are needed and end with the
    decoder.

    Args:
        size: side of the square, in pixels.
        how: as `ImageEncoderSpec.resize`.
        fill: colour of padding.
        seconds: maximum CPU time of one picture, s.
    """

    def __init__(
        self, size: int, how: Resize, fill: tuple[int, int, int], seconds: int = MAX_SECONDS
    ) -> None:
        self._size = size
        self._seconds = seconds
        self._options = json.dumps([size, how, fill, seconds])
        self._idle: list[_Process] = []

    def decode(self, content: bytes) -> NDArray[np.uint8]:
        """Pixels [size, size, 3].

        Raises:
            UnreadableError: not a picture, damaged, or it takes more than its budget.
        """
        process = self._take()
        answer = process.ask(content)
        self._idle.append(process)  # one that failed is not used again
        if answer.startswith(_REASON):
            raise UnreadableError(answer[1:].decode())
        return np.frombuffer(answer, np.uint8, offset=1).reshape(self._size, self._size, 3)

    def _take(self) -> "_Process":
        with suppress(IndexError):
            while True:
                process = self._idle.pop()
                if process.alive:
                    return process
        return _Process(self._options, self._seconds)


class _Process:
    """A process that decodes one picture after another."""

    def __init__(self, options: str, seconds: int) -> None:
        ours, theirs = Pipe()
        path = os.pathsep.join(entry or str(Path.cwd()) for entry in sys.path)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", __name__, str(theirs.fileno()), options],
                env={**os.environ, "PYTHONPATH": path, "OPENBLAS_NUM_THREADS": "1"},
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                start_new_session=True,  # Ctrl-C is for the parent
            )
        self._connection = ours
        self._seconds = seconds
        weakref.finalize(self, _end, self._process, ours)

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def ask(self, content: bytes) -> bytes:
        try:
            self._connection.send_bytes(content)
            return self._connection.recv_bytes()
        except (EOFError, OSError):
            code = self._process.wait()
        if code == -signal.SIGXCPU:
            raise UnreadableError(f"takes more than {self._seconds} s to decode")
        how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        raise UnreadableError(f"cannot be decoded (its process ended with {how})")


def _end(process: "subprocess.Popen[bytes]", connection: Connection) -> None:
    connection.close()
    process.kill()
    process.wait()


def _limit(seconds: int) -> None:
    """Allow so much CPU time, and MAX_MEMORY, beyond what the process has taken so far."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    _set_limit(resource.RLIMIT_CPU, int(usage.ru_utime + usage.ru_stime) + 1 + seconds)
    if sys.platform == "linux":
        pages = int(Path("/proc/self/statm").read_text().split()[5])
        _set_limit(resource.RLIMIT_DATA, pages * resource.getpagesize() + MAX_MEMORY)


def _set_limit(what: int, limit: int) -> None:
    hard = resource.getrlimit(what)[1]
    soft = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
    resource.setrlimit(what, (soft, hard))


def _serve(connection: Connection, size: int, how: Resize, fill: list[int], seconds: int) -> None:
    """Answer the pictures that arrive until the parent closes the connection, or has died."""
    red, green, blue = fill
    while True:
        content = connection.recv_bytes()
        _limit(seconds)
        try:
            pixels = fit_square(decode_picture(content, size), size, how, (red, green, blue))
            answer = _PIXELS + pixels.tobytes()
        except UnreadableError as error:
            answer = _REASON + str(error).encode(errors="replace")
        except MemoryError:
            limit = f"{MAX_MEMORY >> 20} MiB"
            answer = _REASON + f"takes more than {limit} of memory to decode".encode()
        connection.send_bytes(answer)


if __name__ == "__main__":
    warnings.simplefilter("ignore")  # about odd files; the answer says more
    _set_limit(resource.RLIMIT_CORE, 0)
    Image.MAX_IMAGE_PIXELS = None  # ours is lower and its message names the size
    with suppress(EOFError, OSError):
        _serve(Connection(int(sys.argv[1])), *json.loads(sys.argv[2]))
