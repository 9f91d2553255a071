"""What daemons are taught for several files of tests."""


def teach_mostly_right(daemon, make_picture, encode) -> None:
    """Two classes well enough to train, with one picture under the wrong name."""
    for colour in ("red", "green"):
        for seed in range(12):
            daemon.teach(colour, encode(make_picture(colour, seed)))
    daemon.teach("red", encode(make_picture("green", 90)))
