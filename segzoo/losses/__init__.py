"""Losses as sums that can be added up, so that a batch, a split or several processes give one exact value."""

from segzoo.losses.base import Loss, WeightedSum
from segzoo.losses.build import build_loss
from segzoo.losses.class_weights import enet_weights, median_frequency_weights
from segzoo.losses.cross_entropy import BoundaryCrossEntropy, CrossEntropy, Focal, Ohem
from segzoo.losses.distance_focal import DistanceFocal
from segzoo.losses.lovasz import Lovasz
from segzoo.losses.overlap import Dice, Jaccard, Tversky

__all__ = [
    "BoundaryCrossEntropy",
    "CrossEntropy",
    "Dice",
    "DistanceFocal",
    "Focal",
    "Jaccard",
    "Loss",
    "Lovasz",
    "Ohem",
    "Tversky",
    "WeightedSum",
    "build_loss",
    "enet_weights",
    "median_frequency_weights",
]
