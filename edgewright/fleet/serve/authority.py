"""The fleet's own certificate authority: for the server that sites dial, and for the sites."""

import datetime
import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from edgewright.base.errors import UserError
from edgewright.base.files import locked, make_folder, write_new_file

KEY, CERTIFICATE = "authority.key", "authority.pem"
SERVER_KEY, SERVER = "server.key", "server.pem"
YEARS = 20  # of the authority; the server's certificate begins anew with each start
SERVER_DAYS = 365
HOST_NAME = re.compile(r"(?=.{1,253}$)[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*", re.I | re.A)
EARLY = datetime.timedelta(days=1)  # a machine whose clock is behind takes certificates, too


@dataclass(frozen=True, kw_only=True)
class Authority:
    folder: Path
    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @property
    def file(self) -> Path:
        """Its certificate."""
        return self.folder / CERTIFICATE

    def server_files(self, names: Sequence[str]) -> tuple[Path, Path]:
        """Files of a new certificate for these names and addresses, and of its key.

        Raises UserError for what is neither.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = self._sign(
            "edgewright fleet.serve",
            key.public_key(),
            datetime.timedelta(days=SERVER_DAYS),
            ExtendedKeyUsageOID.SERVER_AUTH,
            names,
        )
        files = self.folder / SERVER, self.folder / SERVER_KEY
        for path in files:
            path.unlink(missing_ok=True)
        write_new_file(files[0], pem_of(certificate), mode=0o644)
        write_new_file(files[1], key_pem(key), mode=0o600)
        return files

    def sign_request(self, request: str, site: str, seconds: float) -> x509.Certificate:
        """A site's certificate; of the request it has the key alone. Raises UserError."""
        try:
            parsed = x509.load_pem_x509_csr(request.encode())
            is_signed = parsed.is_signature_valid
        except ValueError:
            is_signed = False
        key = parsed.public_key() if is_signed else None
        if not isinstance(key, ec.EllipticCurvePublicKey):
            raise UserError("certificate request", "is none that its key signed")
        lifetime = datetime.timedelta(seconds=seconds)
        return self._sign(f"site {site}", key, lifetime, ExtendedKeyUsageOID.CLIENT_AUTH, ())

    def _sign(
        self,
        name: str,
        key: ec.EllipticCurvePublicKey,
        lifetime: datetime.timedelta,
        usage: x509.ObjectIdentifier,
        names: Sequence[str],
    ) -> x509.Certificate:
        builder = (
            _builder(name, self.certificate.subject, key, lifetime)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        )
        if names:
            alternatives = x509.SubjectAlternativeName([_general_name(name) for name in names])
            builder = builder.add_extension(alternatives, critical=False)
        return builder.sign(self.key, hashes.SHA256())


def open_authority(folder: Path) -> Authority:
    """The authority of this folder, which is begun where there is none. Raises UserError."""
    make_folder(folder, mode=0o700)
    key_path, certificate_path = folder / KEY, folder / CERTIFICATE
    with locked(folder / "lock"):
        if not key_path.exists():
            certificate_path.unlink(missing_ok=True)
            key = ec.generate_private_key(ec.SECP256R1())
            write_new_file(certificate_path, pem_of(_own_certificate(key)), mode=0o644)
            write_new_file(key_path, key_pem(key), mode=0o600)  # last: it tells that both are there
        try:
            loaded = serialization.load_pem_private_key(key_path.read_bytes(), password=None)
            certificate = x509.load_pem_x509_certificate(certificate_path.read_bytes())
        except (OSError, ValueError) as fault:
            raise UserError(
                str(folder),
                "its key or certificate cannot be read",
                facts=[str(fault)],
                next="bring them back from a backup; without them every site enrols anew",
            ) from fault
    if not isinstance(loaded, ec.EllipticCurvePrivateKey):
        raise UserError(str(key_path), "is no key of an elliptic curve", next="the file of before")
    return Authority(folder=folder, key=loaded, certificate=certificate)


def _own_certificate(key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    name = "edgewright fleet"
    lifetime = datetime.timedelta(days=365 * YEARS)
    return (
        _builder(name, _name(name), key.public_key(), lifetime)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )


def _builder(
    name: str, issuer: x509.Name, key: ec.EllipticCurvePublicKey, lifetime: datetime.timedelta
) -> x509.CertificateBuilder:
    moment = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(_name(name))
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(moment - EARLY)
        .not_valid_after(moment + lifetime)
    )


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _general_name(name: str) -> x509.GeneralName:
    """Raises UserError for what is neither an address nor a host's name."""
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        if HOST_NAME.fullmatch(name):
            return x509.DNSName(name)
    raise UserError(
        f"--name={name}",
        "is no name of a host, and no address",
        next="the same command with e.g. --name=fleet.example, without scheme, port and path",
    )


def pem_of(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
