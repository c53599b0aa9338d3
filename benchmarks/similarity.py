"""Pairs of classes told apart by S_rel, on real images: python benchmarks/similarity.py

Every pair of the seven classes of CIFAR-10 of the studies: 200 images of each of the two and 50 of
each other class, as `srel_core.book.similarity` does it, with three seeds. Prints the shares and
writes them, with the environment, to benchmarks/results/similarity.json. Takes some minutes.
"""

from itertools import combinations

import _results
import numpy as np
import torch

from srel_core.book.similarity import WAYS, Training, compared
from srel_core.experiments import datasets
from srel_core.experiments.provenance import environment
from srel_core.experiments.studies import ANIMALS, VEHICLES

IMAGES, OTHERS, SEEDS = 200, 50, (0, 1, 2)


def main() -> None:
    options = _results.parser(__doc__ or "").parse_args()
    torch.set_num_threads(2)
    classes = tuple(sorted(VEHICLES + ANIMALS))
    found = datasets.load_images("cifar10", classes, "train", IMAGES)
    images = datasets.normalise(found.images).flatten(1)
    labels = found.labels.numpy()
    rows = []
    for pair in combinations(range(len(classes)), 2):
        at = np.flatnonzero(np.isin(labels, pair))
        others = [
            np.flatnonzero(labels == c)[:OTHERS] for c in range(len(classes)) if c not in pair
        ]
        shares = [
            compared(
                images[at], (labels[at] == pair[1]).astype(np.int64),
                images[np.concatenate(others)], seed, Training(lr=1e-2),
            )
            for seed in SEEDS
        ]  # fmt: skip
        row = {
            "pair": [classes[c] for c in pair],
            "shares": {way: [of[way] for of in shares] for way in WAYS},
        }
        print(
            *row["pair"],
            {way: round(float(np.mean([of[way] for of in shares])), 3) for way in WAYS},
        )
        rows.append(row)
    result = {
        "environment": environment("cpu"),
        "images_per_class": IMAGES,
        "images_of_each_other_class": OTHERS,
        "data_checksum": found.checksum,
        "pairs": rows,
    }
    _results.save(options.write_to, "similarity", result)


if __name__ == "__main__":
    main()
