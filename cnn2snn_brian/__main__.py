"""``python -m cnn2snn_brian`` is the command line."""

from cnn2snn_brian.cli import main

if __name__ == "__main__":
    main()
