"""Images for the experiments: validated sets of them, and the draws made from them."""

from srel_core.experiments.datasets.draws import augment, draw_per_class, normalise
from srel_core.experiments.datasets.image_set import ImageSet
from srel_core.experiments.datasets.load import load_images
from srel_core.experiments.datasets.store import DataError

__all__ = ["DataError", "ImageSet", "augment", "draw_per_class", "load_images", "normalise"]
