"""Command lines in fresh processes that need not import torch and MONAI again: each is forked from one that has.

``WarmPython`` starts a server that has imported everything and run nothing, and offers a folder with the programs
``python``, ``monai-robust`` and ``torchrun``. Put in front of the path, they run what they are told in a child forked
from the server, with the caller's words, folder, environment and streams, and end with its exit status: what a user's
command does, less the seven seconds of imports.
"""

from __future__ import annotations

import atexit
import json
import os
import random
import runpy
import select
import signal
import socket
import subprocess
import sys
import traceback
import warnings
from pathlib import Path
from typing import Any

_WARM = ("monai.bundle", "monai.engines", "monai.handlers", "monai.losses", "monai.networks.nets", "monai.transforms")
_WARM += ("fire", "matplotlib.pyplot", "torch.distributed.run", "monai_robust.commands.app", "monai_robust.engines")
_WARM += ("monai_robust.evaluation", "monai_robust.commands.bundles", "monai_robust.evaluation.report.page")

# A name on the path, and the words that it stands for.
_PROGRAMS: dict[str, list[str]] = {
    "python": [],
    "monai-robust": ["-m", "monai_robust"],
    "torchrun": ["-m", "torch.distributed.run"],
}
_PROGRAM = """#!{interpreter} -SEs
import json, os, signal, socket, sys
words = {words} + sys.argv[1:]
server = socket.socket(socket.AF_UNIX)
server.connect({address!r})
request = json.dumps({{"words": words, "cwd": os.getcwd(), "env": dict(os.environ), "program": {program!r}}}).encode()
socket.send_fds(server, [len(request).to_bytes(8, "big")], [0, 1, 2])
server.sendall(request)
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, lambda number, frame: server.sendall(bytes([number])))
status = int.from_bytes(server.recv(2), "big", signed=True)
if status < 0:
    signal.signal(-status, signal.SIG_DFL) if -status not in (signal.SIGKILL, signal.SIGSTOP) else None
    os.kill(os.getpid(), -status)
os._exit(status)
"""


class WarmPython:
    """A server of warm processes; ``folder`` holds the programs that use it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "bin"
        self.folder.mkdir()
        address = str(folder / "socket")
        for name, words in _PROGRAMS.items():
            program = self.folder / name
            places = {"interpreter": sys.executable, "program": str(self.folder / "python")}
            program.write_text(_PROGRAM.format(words=words, address=address, **places))
            program.chmod(0o755)
        self._server = subprocess.Popen([sys.executable, __file__, address], stdout=subprocess.PIPE)
        assert self._server.stdout is not None
        assert self._server.stdout.readline() == b"ready\n"

    def run(self, *words: object, **options: Any) -> subprocess.CompletedProcess[str]:
        """``python WORDS`` in a fresh process; options are those of :func:`subprocess.run`."""
        command = [str(self.folder / "python"), *map(str, words)]
        return subprocess.run(command, **{"capture_output": True, "text": True, "check": False, **options})

    def close(self) -> None:
        self._server.kill()
        self._server.wait()


def _serve(address: str) -> None:
    for module in _WARM:
        __import__(module)
    server = socket.socket(socket.AF_UNIX)
    server.bind(address)
    server.listen(16)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for those that watch a child
    print("ready", flush=True)
    while True:
        connection, _ = server.accept()
        head, streams, _, _ = socket.recv_fds(connection, 8, 3)
        request = _received(connection, int.from_bytes(head, "big"))
        if os.fork() == 0:
            server.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            _watch(connection, streams, json.loads(request))
        connection.close()
        for stream in streams:
            os.close(stream)


def _received(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        data += connection.recv(size - len(data))
    return data


def _watch(connection: socket.socket, streams: list[int], request: dict[str, Any]) -> None:
    """Start the child, hand signals on to it, and tell its exit status; end it where its caller has gone."""
    child = os.fork()
    if child == 0:
        connection.close()
        _run(streams, request)
    for stream in streams:
        os.close(stream)
    ended = os.pidfd_open(child)
    while True:
        ready, _, _ = select.select([connection, ended], [], [])
        if ended in ready:
            break
        word = connection.recv(1)
        os.kill(child, word[0] if word else signal.SIGKILL)
        if not word:
            os._exit(0)
    _, code = os.waitpid(child, 0)
    connection.sendall(os.waitstatus_to_exitcode(code).to_bytes(2, "big", signed=True))
    os._exit(0)


def _run(streams: list[int], request: dict[str, Any]) -> None:
    """Be a fresh interpreter that was given the request's words."""
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    sys.executable = request["program"]  # what it starts is warm, too
    random.seed()
    sys.modules["numpy"].random.seed()
    words = request["words"]
    while words[:1] in (["-W"], ["-u"]):
        if words[0] == "-W":
            warnings.simplefilter(words[1])
        words = words[2:] if words[0] == "-W" else words[1:]
    if os.environ.get("PYTHONWARNINGS"):
        warnings.simplefilter(os.environ["PYTHONWARNINGS"])
    os._exit(_status(words))


def _status(words: list[str]) -> int:
    try:
        try:
            _start(words)
            status: Any = 0
        except SystemExit as end:
            status = end.code
        except BaseException:
            status = 1
            try:
                sys.excepthook(*sys.exc_info())
            except SystemExit as end:
                status = end.code
        if not isinstance(status, int | None):
            print(status, file=sys.stderr)
            status = 1
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
    except BaseException:
        traceback.print_exc()
        return 1
    return status or 0


def _start(words: list[str]) -> None:
    if words[0] == "-m":
        sys.argv = words[1:]
        sys.path[0] = os.getcwd()
        runpy.run_module(words[1], run_name="__main__", alter_sys=True)
    elif words[0] == "-c":
        sys.argv = ["-c", *words[2:]]
        sys.path[0] = ""
        exec(compile(words[1], "<string>", "exec"), {"__name__": "__main__"})
    else:
        sys.argv = words
        sys.path[0] = str(Path(words[0]).absolute().parent)
        runpy.run_path(words[0], run_name="__main__")


if __name__ == "__main__":
    _serve(sys.argv[1])
