# No packages: a release is installed as it is, by install-release.
