"""Signing by a command of the user's: a hardware token, a vault, the signer of a CI.

The contract (docs/keys.md): `sh -c COMMAND` gets the document on standard input and the trusted
comment in `EDGEWRIGHT_TRUSTED_COMMENT`, and writes a minisign signature file. What it writes is
verified before it is used.
"""

import os
import subprocess

from edgewright.base.errors import UserError
from edgewright.base.process import TAIL_LINES, end_group
from edgewright.base.text import last_lines, visible
from edgewright.release import minisign
from edgewright.release.minisign import PublicKey, Signature

TRUSTED_COMMENT = "EDGEWRIGHT_TRUSTED_COMMENT"
SECONDS = 120.0  # for the command; somebody may have to touch a token
GRACE_SECONDS = 2.0  # to end after that, before it is killed


def sign(
    command: str, public: PublicKey, data: bytes, trusted_comment: str, *, subject: str
) -> Signature:
    """Have `command` sign `data` and the comment with the key whose public half is given.

    Raises UserError for a command that fails or takes longer than `SECONDS`, and for what is no
    signature by this key over this data and this comment.
    """
    child = subprocess.Popen(
        ["sh", "-c", command],
        env={**os.environ, TRUSTED_COMMENT: trusted_comment},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,  # a process group of its own, to be ended as a whole
    )
    try:
        stdout, stderr = child.communicate(data, timeout=SECONDS)
    except subprocess.TimeoutExpired as late:
        end_group(child, grace=GRACE_SECONDS)
        output = late.stderr or b""
        raise _failed(subject, command, f"has not ended after {SECONDS:g} s", output) from late
    except BaseException:
        end_group(child, grace=GRACE_SECONDS)
        raise
    if child.returncode != 0:
        raise _failed(subject, command, f"ended with exit code {child.returncode}", stderr)
    signature = minisign.parse_signature(stdout, f"{subject}: what its command wrote")
    if signature.trusted_comment != trusted_comment:
        raise UserError(
            f"{subject}: what its command wrote",
            f"has another trusted comment than ${TRUSTED_COMMENT}",
            facts=[
                f"expected: {trusted_comment}",
                f"found: {visible(signature.trusted_comment[:200])}",
            ],
            next="edgewright help keys",
        )
    minisign.verify(signature, data, public, f"{subject}: what its command wrote")
    return signature


def _failed(subject: str, command: str, problem: str, stderr: bytes) -> UserError:
    lines = last_lines(stderr.decode(errors="replace"), TAIL_LINES)
    facts = [f"command: {command}", *(f"| {line}" for line in lines)]
    return UserError(f"{subject}: its command", problem, facts=facts, next="edgewright help keys")
