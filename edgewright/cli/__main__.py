"""The console script `edgewright`: the imports of the program can be interrupted too."""

import sys


def main() -> None:
    """The console script."""
    try:
        from edgewright.cli.program import main

        main()
    except KeyboardInterrupt:
        sys.stderr.write("interrupted: what was there before is unchanged\n")
        sys.exit(130)  # `ExitCode.INTERRUPTED`, which may not be imported yet


if __name__ == "__main__":
    main()
