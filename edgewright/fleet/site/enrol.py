"""How a site gets its certificate: an invitation that counts once, a key that never leaves it."""

from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from edgewright.base.files import make_folder, read_file, write_file, write_new_file
from edgewright.base.schema import parse_json
from edgewright.fleet.documents import EnrolledSite, Enrolment, EnrolRequest, Invitation
from edgewright.fleet.site.line import Line

KEY, CERTIFICATE, AUTHORITY, RECORD = "site.key", "site.pem", "authority.pem", "site.json"
FILE_BYTES = 64 << 10
ENROL = "edgewright site.enrol --invitation=FILE, with a file of site.invite"


@dataclass(frozen=True, kw_only=True)
class Enrolled:
    """A site that has its certificate."""

    site: str
    line: Line


def enrol(invitation: Path, folder: Path) -> Enrolled:
    """Make a key, and have it certified. Raises UserError, LineError and RefusedError."""
    raw = read_file(invitation, limit=FILE_BYTES, next=ENROL)
    invited = parse_json(Invitation, raw, str(invitation), "is no invitation", next=ENROL)
    make_folder(folder, mode=0o700)
    write_file(folder / AUTHORITY, invited.authority)
    key = ec.generate_private_key(ec.SECP256R1())
    request = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name([]))
        .sign(key, hashes.SHA256())
        .public_bytes(serialization.Encoding.PEM)
        .decode()
    )
    line = Line(url=invited.server, authority=folder / AUTHORITY)
    answer = line.ask("/v1/enrol", Enrolment, EnrolRequest(token=invited.token, request=request))
    for name in (KEY, CERTIFICATE):
        (folder / name).unlink(missing_ok=True)
    secret = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    write_new_file(folder / KEY, secret, mode=0o600)
    write_new_file(folder / CERTIFICATE, answer.certificate, mode=0o644)
    record = EnrolledSite(site=answer.site, server=invited.server)
    write_file(folder / RECORD, record.to_json())  # last: it tells that the others are there
    return enrolled(folder)


def enrolled(folder: Path) -> Enrolled:
    """The site that was enrolled on this machine. Raises UserError where none was."""
    raw = read_file(folder / RECORD, limit=FILE_BYTES, next=ENROL)
    record = parse_json(EnrolledSite, raw, str(folder / RECORD), "is damaged", next=ENROL)
    line = Line(
        url=record.server,
        authority=folder / AUTHORITY,
        certificate=folder / CERTIFICATE,
        key=folder / KEY,
    )
    return Enrolled(site=record.site, line=line)
