"""The images that an experiment took its steps on, for figures that show them."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from srel_core.experiments.class_experiment import ClassExperiment
from srel_core.experiments.datasets import draw_per_class, load_images
from srel_core.experiments.training import stream

if TYPE_CHECKING:
    import xarray as xr


def probe_images(experiment: ClassExperiment, result: "xr.Dataset") -> NDArray[np.uint8]:
    """The probes of `result`, in its order, as 8-bit images (P, 32, 32, 3).

    They are drawn again, as the experiment drew them. ValueError if it augments its images, which
    are then others than those of the data set, or if the data set is not the one of the result.
    """
    e = experiment
    if e.augment:
        raise ValueError(
            "expected an experiment with augment=False: crops and mirror images are not kept"
        )
    train = load_images(e.dataset, e.classes, "train", e.images_per_class)
    if train.checksum != result.attrs["data_checksum"]:
        raise ValueError(
            f"expected the images of the result, got others under the name {e.dataset!r}: take the "
            "data that it was computed from"
        )
    chosen = draw_per_class(train.labels, e.probes_per_class, stream(e.seed, "probes"))
    pixels = (train.images[chosen] * 255).round().numpy().astype(np.uint8)
    return np.ascontiguousarray(pixels.transpose(0, 2, 3, 1))
