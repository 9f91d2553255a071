"""Measure what belongs to a published extractor: its mean embedding, and the golden picture's embedding.

    pip install -e .
    python models/measure_mean.py --model FILE.tflite --pictures FOLDER

FOLDER holds photographs of all sorts, in any depth; for the published files those were 500 ImageNet
pictures, one of every second class. Writes NAME.npz beside itself, which `models fetch` puts beside
the model it downloads. The golden picture is that of the bundled model.
"""

import argparse
from pathlib import Path

import numpy as np

from coral_learn import Extractor, image
from coral_learn.catalog import golden_picture
from coral_learn.errors import ImageError

HERE = Path(__file__).resolve().parent


def pictures(folder: Path):
    """Everything in a folder that is a picture, RGB, in the order of names."""
    for path in sorted(folder.rglob("*")):
        try:
            if path.is_file():
                yield image.decode(path.read_bytes())
        except ImageError:
            continue


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="the plain extractor")
    parser.add_argument("--pictures", type=Path, required=True, help="folder of photographs")
    arguments = parser.parse_args()
    extractor = Extractor(arguments.model, device="cpu")
    embeddings = np.stack([extractor.embed(rgb) for rgb in pictures(arguments.pictures)])
    if len(embeddings) < 100:
        raise SystemExit(f"at least 100 pictures are needed in {arguments.pictures}, found {len(embeddings)}")
    target = HERE / (arguments.model.stem + ".npz")
    np.savez(
        target,
        mean_embedding=embeddings.mean(axis=0, dtype=np.float64).astype(np.float16),
        golden_embedding=extractor.embed(image.decode(golden_picture().read_bytes())).astype(np.float16),
    )
    print(f"wrote {target}: the mean of {len(embeddings)} pictures, {embeddings.shape[1]} values")


if __name__ == "__main__":
    main()
