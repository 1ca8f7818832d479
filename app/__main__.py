"""``python -m app``: the same as ``coursegraph``."""

from app.cli import main

if __name__ == "__main__":
    main()
