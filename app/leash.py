"""Tie a child process to the life of its parent, however the parent ends.

The child is started through this file, run as a script: a fresh single-threaded interpreter, so that no code
has to run between the fork and the exec of a parent with threads (`preexec_fn` may hang there).

On Linux the kernel kills the child when the *thread* that started it ends (prctl PR_SET_PDEATHSIG): start
children from the main thread.  Elsewhere this script stays between the two and watches the parent's id.
"""

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence

PR_SET_PDEATHSIG = 1  # <sys/prctl.h>
WATCH_SECONDS = 0.5  # how late a death is noticed where the kernel does not tell


def leashed(command: Sequence[str]) -> list[str]:
    """The command that runs ``command`` as a child of this process which dies with it.

    It keeps open files, environment and, on Linux, the process id.  The exit status is 126 or 127 when the
    program cannot be run.
    """
    if sys.platform == "win32":
        return list(command)  # no signals to pass on there
    return [sys.executable, "-I", "-S", __file__, str(os.getpid()), *command]


def main(parent: int, command: list[str]) -> int:
    """Become ``command`` or, where the kernel has no such tie, run it and watch ``parent``."""
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # Python ignores it, and exec would hand that down
    try:
        if sys.platform != "linux":
            return _watch(parent, command)
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it died before the tie was there
            return 1
        os.execv(command[0], command)  # noqa: S606 - the caller's own command
    except OSError as error:
        print(f"cannot run {command[0]}: {error.strerror}", file=sys.stderr)  # noqa: T201 - the parent's log
        return 127 if isinstance(error, FileNotFoundError) else 126


def _watch(parent: int, command: list[str]) -> int:
    child = subprocess.Popen(command, close_fds=False)  # noqa: S603 - the caller's own command
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda received, _: child.send_signal(received))
    while child.poll() is None:
        if os.getppid() != parent:
            child.kill()
        time.sleep(WATCH_SECONDS)
    return child.returncode if child.returncode >= 0 else 128 - child.returncode


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), sys.argv[2:]))
