"""python -m betwixt.cli."""

from betwixt.cli.main import main

if __name__ == "__main__":
    main()
