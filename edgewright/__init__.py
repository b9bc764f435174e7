"""Cross-build, audit, deploy and prove inference releases for ARM boards."""


def __getattr__(name: str) -> str:
    """`__version__`: of the installed distribution.

    Reading its metadata takes as long as a third of `import invoke`, so nobody does it in vain.
    """
    if name == "__version__":
        from importlib.metadata import version

        return version("edgewright")
    raise AttributeError(f"module 'edgewright' has no attribute '{name}'")
