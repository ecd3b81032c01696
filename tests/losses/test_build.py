"""A recipe's terms become the losses they name, with every argument they were given."""

import pytest
import torch
from torch import Tensor

from segzoo.losses import (
    BoundaryCrossEntropy,
    CrossEntropy,
    Dice,
    DistanceFocal,
    Focal,
    Jaccard,
    Loss,
    Lovasz,
    Ohem,
    Tversky,
    build_loss,
)
from segzoo.recipe import schema

IGNORED = 255
WEIGHTS = (0.5, 2.0, 0.0)

CASES: list[tuple[schema.LossTerm, Loss]] = [
    (
        schema.CrossEntropy(class_weights=WEIGHTS, label_smoothing=0.1),
        CrossEntropy(ignore_index=IGNORED, class_weights=WEIGHTS, label_smoothing=0.1),
    ),
    (schema.Focal(gamma=3.0, alpha=0.4), Focal(ignore_index=IGNORED, gamma=3.0, alpha=0.4)),
    (
        schema.DistanceFocal(alpha=1.5, beta=2.5, sigma=0.8),
        DistanceFocal(ignore_index=IGNORED, alpha=1.5, beta=2.5, sigma=0.8),
    ),
    (schema.Dice(), Dice(ignore_index=IGNORED)),
    (schema.Jaccard(), Jaccard(ignore_index=IGNORED)),
    (schema.Lovasz(), Lovasz(ignore_index=IGNORED)),
    (schema.Tversky(alpha=0.2, beta=0.9), Tversky(ignore_index=IGNORED, alpha=0.2, beta=0.9)),
    (schema.Ohem(threshold=0.2, min_kept=3), Ohem(ignore_index=IGNORED, threshold=0.2, min_kept=3)),
    (
        schema.BoundaryCrossEntropy(boost=7.0, width=1),
        BoundaryCrossEntropy(ignore_index=IGNORED, boost=7.0, width=1),
    ),
]


def batch() -> tuple[Tensor, Tensor]:
    """Return logits and labels, a few of them ignored."""
    generator = torch.Generator().manual_seed(0)
    target = torch.randint(3, (2, 6, 7), generator=generator)
    target[0, 0] = IGNORED
    return torch.randn(2, 3, 6, 7, generator=generator), target


@pytest.mark.parametrize(("term", "loss"), CASES, ids=lambda value: getattr(value, "name", ""))
def test_every_argument_arrives(term: schema.LossTerm, loss: Loss) -> None:
    """A term gives the value of its class with the same arguments, and another value than its class's own defaults."""
    weights = [WEIGHTS if isinstance(term, schema.CrossEntropy) else None]

    built = build_loss([term], ignore_index=IGNORED, class_weights=weights)

    assert built(*batch()).item() == loss(*batch()).item()
    if term.model_fields_set - {"name"}:
        plain = build_loss([type(term)()], ignore_index=IGNORED, class_weights=[None])
        assert plain(*batch()).item() != loss(*batch()).item()


def test_terms_are_added_with_their_weights() -> None:
    """Every term of the schema has a loss, and counts as often as its weight says."""
    terms = [term.model_copy(update={"weight": 2.0 + place}) for place, (term, _) in enumerate(CASES)]
    weights = [WEIGHTS if isinstance(term, schema.CrossEntropy) else None for term in terms]

    value = build_loss(terms, ignore_index=IGNORED, class_weights=weights)(*batch())

    expected = sum((2.0 + place) * loss(*batch()).item() for place, (_, loss) in enumerate(CASES))
    assert value.item() == pytest.approx(expected, rel=1e-6)
    assert {type(term) for term, _ in CASES} == set(schema.LossTerm.__origin__.__args__)  # type: ignore[attr-defined]
