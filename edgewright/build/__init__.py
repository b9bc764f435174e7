"""Cross-building: the builder image, Conan packages, `invoke build`."""
