"""``python -m segzoo`` is the same as ``segzoo``."""

from segzoo.cli import main

if __name__ == "__main__":
    main()
