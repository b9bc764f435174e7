# nooelint: oelint.var.mandatoryvar.HOMEPAGE - whose release it is, is not ours to say
SUMMARY = "A release of edgewright, current in its deploy root"
DESCRIPTION = "Program, model and golden images of a release, and edgectl, which deploys later ones"
SECTION = "misc"
# A release has its bill of materials and its licence texts beside it, in <id>.evidence.
LICENSE = "CLOSED"

EDGEWRIGHT_TAR ?= "edgewright.tar"
EDGEWRIGHT_SHA256 ?= ""

SRC_URI = "file://${EDGEWRIGHT_TAR};unpack=0"
# Where newer releases of OpenEmbedded put what they fetch.
UNPACKDIR ??= "${WORKDIR}"

COMPATIBLE_HOST = "(arm|aarch64).*-linux.*"

# BitBake compares no hash of a local file.
do_install() {
    echo "${EDGEWRIGHT_SHA256}  ${UNPACKDIR}/${EDGEWRIGHT_TAR}" | sha256sum -c -
    tar -xf "${UNPACKDIR}/${EDGEWRIGHT_TAR}" --no-same-owner -C "${D}"
}

# The manifest has the hashes of these bytes.
INHIBIT_PACKAGE_STRIP = "1"
INHIBIT_PACKAGE_DEBUG_SPLIT = "1"
INHIBIT_SYSROOT_STRIP = "1"

FILES:${PN} += "/opt"
# nooelint: oelint.vars.insaneskip - programs come stripped
INSANE_SKIP:${PN} = "already-stripped"
