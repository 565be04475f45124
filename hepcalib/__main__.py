"""`python -m hepcalib` is the command `hepcalib`."""

from __future__ import annotations

from hepcalib.cli import main

if __name__ == "__main__":
    main()
