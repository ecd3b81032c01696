"""Keys that nothing would look at are refused."""

from __future__ import annotations

import pytest

from segzoo.errors import RecipeError
from segzoo.recipe import load_recipe
from segzoo.recipe.consistency import USED_BY, check_consistency
from segzoo.recipe.schema import TransferSection

FOLDER = 'data={"format":"folder","classes":[{"name":"a"},{"name":"b"}],"splits":{"train":0.5,"val":0.5}}'


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["transfer.strategy=frozen_encoder", "transfer.unfreeze_encoder_at=3"],
            "transfer.unfreeze_encoder_at 3 means nothing to strategy 'frozen_encoder', only to 'finetune'",
        ),
        (
            ["transfer.strategy=frozen_encoder", "transfer.encoder_lr_scale=0.1"],
            "transfer.encoder_lr_scale 0.1 means nothing to strategy 'frozen_encoder', only to 'scratch' or 'finetune'",
        ),
        (["transfer.strategy=frozen_encoder", "transfer.layer_decay=0.5"], "transfer.layer_decay 0.5 means nothing"),
        (["transfer.strategy=scratch", "transfer.unfreeze_encoder_at=3"], "transfer.unfreeze_encoder_at 3 means"),
        (["transfer.tap=encoder"], "only to 'feature_hook' or 'feature_identity'"),
        (["transfer.views=2"], "transfer.views 2 means nothing"),
        (["transfer.cache=disk"], "transfer.cache 'disk' means nothing"),
        (
            [FOLDER, 'loss=[{"name":"dice"},{"name":"cross_entropy","class_weights":[1,2,3]}]'],
            "loss.1.class_weights has 3 numbers, but the data has 2 classes",
        ),
        (["transfer.strategy=feature_identity", "transfer.tap=encoder"], "use strategy 'feature_hook'"),
        (["transfer.strategy=feature_hook", "transfer.cache=disk"], "set transfer.views to a number"),
        (["transfer.strategy=feature_hook", "augment=[]", "transfer.views=2"], "means nothing without augment"),
        (
            ["transfer.strategy=feature_hook", "augment=[]", "transfer.cache=memory", "eval.window=[64,64]"],
            "eval.window [64, 64]: transfer.cache 'memory' keeps features of whole images",
        ),
        (
            ["transfer.strategy=feature_hook", "train.cuda_graph=true"],
            "train.cuda_graph true: 'feature_hook' trains a head alone, which is not recorded as a graph; set it to",
        ),
        (
            ["train.cuda_graph=true", "data.image_size=null"],
            "train.cuda_graph true records a step for images of one size, but data.image_size is null",
        ),
        (
            [
                "train.cuda_graph=true",
                "data.image_size=null",
                'augment=[{"name":"RandomCrop","height":32,"width":32,"p":0.5}]',
            ],
            "set data.image_size, or set train.cuda_graph to false",
        ),
        (
            ['scheduler={"name": "onecycle", "max_lr": 0.001}', "optimizer.lr=0.01"],
            "scheduler.max_lr 0.001: one cycle rises to it from optimizer.lr, which is 0.01",
        ),
    ],
)
def test_a_key_that_means_nothing_is_refused(overrides: list[str], message: str) -> None:
    """The message names the path, the value and who would use it."""
    with pytest.raises(RecipeError) as caught:
        check_consistency(load_recipe("quickstart", overrides))
    assert message in str(caught.value)


def test_every_fault_has_its_line() -> None:
    """One look at the message is enough."""
    overrides = ["transfer.strategy=frozen_encoder", "transfer.views=2", "transfer.layer_decay=0.5"]

    with pytest.raises(RecipeError) as caught:
        check_consistency(load_recipe("quickstart", overrides))

    assert len(str(caught.value).splitlines()) == 2


def test_every_key_of_transfer_has_its_strategies() -> None:
    """A new key cannot be forgotten here, and a default asks for nothing."""
    assert set(USED_BY) | {"strategy"} == set(TransferSection.model_fields)
    check_consistency(load_recipe("quickstart", ["transfer.cache=none", "transfer.encoder_lr_scale=1.0"]))


def test_crops_give_images_of_one_size() -> None:
    """A step may be recorded without `data.image_size` where every image is cropped."""
    crop = 'augment=[{"name":"RandomCrop","height":32,"width":32}]'
    check_consistency(load_recipe("quickstart", ["train.cuda_graph=true", "data.image_size=null", crop]))
