"""What was raised, as an error in words: which exceptions are nobody's bug."""

import errno
import os

from edgewright.base.errors import EdgewrightError, InterruptedWorkError, UserError

# What a file system says that no code of ours can mend: whose it is, whether it is full. Others, a
# missing file above all, may be a bug of ours and keep their traceback.
MACHINE_FAULTS = {
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EIO,
    errno.ESTALE,
    errno.EISDIR,
    errno.ENOTDIR,
    errno.ELOOP,
    errno.ENAMETOOLONG,
    errno.EMFILE,
    errno.ENFILE,
}
ACCESS = "let this user read and write there, or name another place"
ROOM = "make room there, then run the same command again"
MENDED_BY = {
    errno.EACCES: ACCESS,
    errno.EPERM: ACCESS,
    errno.EROFS: ACCESS,
    errno.ENOSPC: ROOM,
    errno.EDQUOT: ROOM,
    errno.EIO: "look at the kernel's log (dmesg): a disk fails, or a mount lost its server",
    errno.ESTALE: "mount it again: its server has another file there now",
}
INTERRUPTED = InterruptedWorkError("interrupted", "what was there before is unchanged")


def fault_of(raised: BaseException) -> EdgewrightError:
    """The error that a person is shown; one with `ExitCode.BUG` for a bug of ours."""
    if isinstance(raised, EdgewrightError):
        return raised
    if isinstance(raised, KeyboardInterrupt):
        return INTERRUPTED
    if isinstance(raised, FileNotFoundError) and not _is_in_a_folder():
        return UserError("the current folder", "was removed", next="cd, to one that is there")
    if isinstance(raised, OSError) and raised.errno in MACHINE_FAULTS:
        # A full disk says so while an open file is written, and then not which.
        subject = raised.filename or "a file or standard output"
        problem = os.strerror(raised.errno).lower()
        return UserError(str(subject), problem, next=MENDED_BY.get(raised.errno))
    return EdgewrightError(type(raised).__name__, str(raised))


def _is_in_a_folder() -> bool:
    try:
        return bool(os.getcwd())  # noqa: PTH109 - Path.cwd() does the same, and makes a path
    except FileNotFoundError:
        return False
