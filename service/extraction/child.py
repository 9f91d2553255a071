"""The extractor's process: load, check, then one image in, one embedding out.

A process and not a thread, because the Edge TPU's driver ends its process when a USB transfer
fails, waits for ever when a PCIe device dies, and holds the interpreter lock while it loads.

On the channel: first ("loaded", None, "") and ("ready", facts, model path), or ("failed", error name, text);
then for each (place, shape) of shared pixels one `Reply`, packed.
"""

import time
from typing import Any, Dict

from coral_learn.errors import CoralLearnError
from coral_learn.extractor import Extractor
from service.extraction.reply import Reply
from service.shared_pixels import SharedPixels


def run(channel, arguments: Dict[str, Any], pixels: SharedPixels) -> None:
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
        place, shape = channel.recv()
        started = time.perf_counter()
        try:
            embedding = extractor.embed_pixels(pixels.at(place, shape))
        except CoralLearnError as error:
            channel.send_bytes(Reply(None, complaint=str(error)).pack())
        else:
            channel.send_bytes(Reply(embedding, (time.perf_counter() - started) * 1000).pack())
