"""A release with the script that installs it: what other updaters bring to a board, and run there.

The script is a deployer on the board itself. It goes through `edgectl` (docs/protocol.md): the
board verifies the signature, tries the release, switches, and goes back where it does not work.
"""

import gzip
import hashlib
import io
import shlex

from edgewright.base.errors import ExitCode, UserError
from edgewright.deploy.edgectl import FIRST_CONTACT, INSTALL, NEWER
from edgewright.deploy.install import SELFTEST_SECONDS
from edgewright.deploy.service import PROGRAM, RUNIT, SCRIPT, UNIT_FILE
from edgewright.deploy.transfer import plan_object, write_stream
from edgewright.export.exported import Exported
from edgewright.export.trees import File, Tree, script, tar_bytes
from edgewright.release.programs import SERVICE_FILE

# The service loads its model and infers an image in it; also on an emulated board.
TRIAL_SECONDS = 600

_HEAD = """\
#!/bin/sh
# {about}
set -eu
umask 022
root={root} owner={owner}
edgectl=$root/bin/edgectl
"""
# As in a deploy over SSH: that service starts the default program, whatever the release has.
_REQUIRE_OWN_SERVICE = """\
if [ -f {program} ] && ! grep -qF {service} {program}; then
    echo "{program}: starts no {service}, which the release has: its edgewright is older" >&2
    echo "next: invoke service.install, then install the release again" >&2
    exit {problem}
fi
"""
# `edgectl` says in words what it refuses, on standard error; its exit code is the script's own.
_INSTALL = r"""
compatible={compatible}
here=$(cd "$(dirname "$0")" && pwd)
ask() {{
    command=$1
    shift
    answer=$("$edgectl" "$command" --root="$root" "$@")
}}
fence_of() {{ printf '%s' "$1" | grep -o '"fence":[0-9]*' | head -n 1 | cut -d : -f 2; }}
# Until then the lease keeps others out, and what fails its self-test takes nobody's board.
claim() {{
    claimed=
    [ ! -e "$root/owner" ] || return 0
    echo "$owner" > "$root/owner.new"
    sync
    mv "$root/owner.new" "$root/owner"
    claimed=yes
}}
give_up() {{
    "$edgectl" rollback --root="$root" "$fence" > /dev/null || true
    [ -z "$claimed" ] || rm -f "$root/owner"
    exit "$1"
}}
services() {{ for file in {service_files}; do [ ! -f "$file" ] || echo --service; done; }}

sh "$here/place-edgectl" "$root" {sha256} {protocol} < "$here/edgectl" > /dev/null || {{
    code=$?
    if [ "$code" != {newer} ]; then
        echo "$edgectl: cannot be written, or does not arrive as it is" >&2
        exit "$code"
    fi
}}
ask identify
case $answer in *'"document":null'*) ask keys --compatible="$compatible" < "$here/keys" ;; esac
ask begin --holder="$owner" < "$here/order"
fence=--fence=$(fence_of "$answer")
trap '"$edgectl" gc --root="$root" "$fence" > /dev/null 2>&1 || true' EXIT
case $answer in *'"noop":true'*) claim; exit 0 ;; esac
case $answer in *'"missing":[]'*) ;; *) ask receive "$fence" < "$here/objects" ;; esac
ask seal "$fence"
ask selftest "$fence" --timeout={selftest_s}
claim
ask switch "$fence" --deadline={trial_s} $(services | head -n 1) || give_up "$?"
ask commit "$fence" || give_up "$?"
echo "{release} is current in $root"
"""
# Keys, id and numbers stay: they say what may come after this release. First of all goes what a
# service would start, and last the owner: a removal that was cut is begun again.
_REMOVE = r"""
[ "$(cat "$root/owner" 2>/dev/null)" = "$owner" ] || exit 0
status=$("$edgectl" status --root="$root" 2>/dev/null) || true
rm -f "$root/current" "$root/previous" "$root/former" "$root/txn" "$root/txn.copy"
sync
pid=$(printf '%s' "$status" | grep -o '"pid":[0-9]*' | cut -d : -f 2) || true
[ -z "$pid" ] || kill "$pid" || true
rm -rf "$root/releases" "$root/store" "$root/quarantine" "$root/tmp"
rm -f "$root/owner"
"""
# `tail` counts lines from the file's start: the archive begins after the last one of these.
_UNPACK = r"""#!/bin/sh
# Installs {release} by edgectl; what follows the last line is a tar.gz.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
tail -n +{lines} "$0" | tar -xzf - -C "$folder"
sh "$folder/install"
exit
"""


def installer(exported: Exported, owner: str) -> Tree:
    """The folder that `install` and `remove` lie in, with all that they need.

    `owner` is what a board says its releases belong to from then on; nobody else switches them.
    Raises UserError for a release whose `edgectl` has no first contact by document (0.1.0).
    """
    if exported.protocol < FIRST_CONTACT:
        raise UserError(
            str(exported.release.folder),
            f"its edgectl speaks protocol {exported.protocol}, which no other updater can install",
            next="invoke build, which makes a release with a newer one",
        )
    return {
        "install": script(_install(exported, owner)),
        "remove": script(_remove(exported, owner)),
        "place-edgectl": script("#!/bin/sh\n# <root> <sha256> <protocol>" + INSTALL),
        "edgectl": File(exported.edgectl, 0o755),
        "keys": File(exported.first_keys),
        "order": File(exported.order),
        "objects": File(_objects(exported)),
    }


def self_extracting(exported: Exported, owner: str) -> bytes:
    """The same folder as one script, for updaters that run a file."""
    packed = gzip.compress(tar_bytes(installer(exported, owner), exported.epoch), mtime=0)
    head = _UNPACK.format(release=_title(exported), lines=len(_UNPACK.splitlines()) + 1)
    return head.encode() + packed


def _title(exported: Exported) -> str:
    return f"release {exported.release.id} for {exported.release.manifest.compatible}"


def _head(exported: Exported, owner: str, about: str) -> str:
    root = shlex.quote(exported.release.manifest.deploy_root)
    return _HEAD.format(about=about, root=root, owner=shlex.quote(owner))


def _install(exported: Exported, owner: str) -> str:
    manifest = exported.release.manifest
    service = {"program": PROGRAM, "service": SERVICE_FILE, "problem": int(ExitCode.TARGET)}
    required = _REQUIRE_OWN_SERVICE.format(**service) if manifest.has_own_service else ""
    head = _head(exported, owner, f"Makes {_title(exported)} current.")
    return f"{head}{required}" + _INSTALL.format(
        compatible=shlex.quote(manifest.compatible),
        service_files=shlex.join([SCRIPT, f"{RUNIT}/run", UNIT_FILE]),
        sha256=hashlib.sha256(exported.edgectl).hexdigest(),
        protocol=exported.protocol,
        newer=NEWER,
        selftest_s=SELFTEST_SECONDS,
        trial_s=TRIAL_SECONDS,
        release=_title(exported),
    )


def _remove(exported: Exported, owner: str) -> str:
    return _head(exported, owner, "Takes the releases out of service.") + _REMOVE


def _objects(exported: Exported) -> bytes:
    """Standard input of `edgectl receive`: every object once, not compressed.

    The archive around it compresses better, and the board's own copy of a package is no smaller
    for frames inside.
    """
    contents = {file.sha256: file.path for file in exported.release.manifest.files}
    stream = io.BytesIO()
    write_stream(
        (plan_object(sha256, exported.contents[path]) for sha256, path in contents.items()), stream
    )
    return stream.getvalue()
