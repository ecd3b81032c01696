"""Transfer learning: the parts of a model, freezing them, tapping their features, replacing the head."""

from segzoo.transfer.cut import Cut, CutBeforeHead, CutBehindTap, Features
from segzoo.transfer.parts import PARTS, encoder_layers, freeze, parameter_groups, unfreeze
from segzoo.transfer.tap import Tapped, replace_head, tap

__all__ = [
    "PARTS",
    "Cut",
    "CutBeforeHead",
    "CutBehindTap",
    "Features",
    "Tapped",
    "encoder_layers",
    "freeze",
    "parameter_groups",
    "replace_head",
    "tap",
    "unfreeze",
]
