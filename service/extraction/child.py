"""The extractor's process: load, check, then one image in, one embedding out.

A process and not a thread, because the Edge TPU's driver ends its process when a USB transfer
fails, waits for ever when a PCIe device dies, and holds the interpreter lock while it loads.

On the channel: first ("loaded", None, "") and ("ready", facts, model path), or ("failed", error name, text);
then for each `pixels` one (embedding, milliseconds, None) or (None, 0, text).
"""

import time
from typing import Any, Dict

from coral_learn.errors import CoralLearnError
from coral_learn.extractor import Extractor


def run(channel, arguments: Dict[str, Any]) -> None:
    """Serve embeddings until the channel closes. arguments : model, device, threads."""
    try:
        extractor = Extractor(arguments["model"] or None, arguments["device"], arguments["threads"])
        channel.send(("loaded", None, ""))
        extractor.warm_up()
    except CoralLearnError as error:
        channel.send(("failed", type(error).__name__, str(error)))
        return
    channel.send(("ready", tuple(extractor.info), str(extractor.model_path)))
    while True:
        pixels = channel.recv()
        started = time.perf_counter()
        try:
            embedding = extractor.embed_pixels(pixels)
        except CoralLearnError as error:
            channel.send((None, 0.0, str(error)))
        else:
            channel.send((embedding, (time.perf_counter() - started) * 1000, None))
