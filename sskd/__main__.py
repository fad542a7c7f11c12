"""``python -m sskd`` is ``sskd``."""

from sskd.cli.app import main

if __name__ == "__main__":
    main()
