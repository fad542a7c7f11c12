"""Tokens to classes, and boxes to detections, against cases made by hand."""

from collections.abc import Sequence
from pathlib import Path
from typing import get_args

import pytest
import torch
from transformers import BertTokenizer
from transformers.models.mm_grounding_dino.modeling_mm_grounding_dino import build_label_maps

from sskd.config import GroundedSamConfig
from sskd.models.detections import POOLINGS, choose, class_scores
from sskd.models.text_prompt import phrases, stand_in, tokenize

TOKENS = torch.tensor([[False, True, False, False, False], [False, False, False, True, True]])


def test_the_table_holds_what_the_configuration_can_name() -> None:
    assert set(POOLINGS) == set(
        get_args(GroundedSamConfig.model_fields["token_pooling"].annotation)
    )


@pytest.mark.parametrize(("pooling", "second"), [("mean", 0.5), ("max", 0.8)])
def test_a_class_scores_what_its_tokens_score(pooling: str, second: float) -> None:
    scores = torch.tensor([0.9, 0.3, 0.9, 0.8, 0.2])
    found = class_scores(scores.logit().view(1, 1, 5), TOKENS, pooling=pooling)
    torch.testing.assert_close(found, torch.tensor([[[0.3, second]]]))


def test_of_two_boxes_of_a_class_the_surer_stands_and_classes_do_not_compete() -> None:
    boxes = torch.tensor(
        [[[0.5, 0.5, 0.4, 0.4], [0.5, 0.5, 0.4, 0.38], [0.2, 0.2, 0.1, 0.1], [0.8, 0.8, 0.1, 0.1]]]
    )
    scores = torch.tensor([[[0.9, 0.1], [0.8, 0.6], [0.3, 0.0], [0.05, 0.04]]])
    found = choose(boxes, scores, threshold=0.1, nms_iou=0.7, most=9)
    torch.testing.assert_close(found.boxes[0], boxes[0, :3])
    # The second box is a duplicate as the first class and alone as the second one.
    torch.testing.assert_close(found.scores[0], torch.tensor([[0.9, 0], [0, 0.6], [0.3, 0]]))
    assert choose(boxes, scores, threshold=0.1, nms_iou=0.7, most=2).boxes.shape[1] == 2


def test_images_are_filled_up_to_the_one_with_the_most() -> None:
    boxes = torch.tensor([[0.2, 0.2, 0.1, 0.1], [0.8, 0.8, 0.1, 0.1]]).expand(2, 2, 4)
    scores = torch.tensor([[[0.0], [0.5]], [[0.6], [0.7]]])
    found = choose(boxes, scores, threshold=0.2, nms_iou=0.5, most=9)
    torch.testing.assert_close(found.scores[..., 0], torch.tensor([[0.5, 0], [0.7, 0.6]]))
    none = choose(boxes, scores, threshold=0.9, nms_iou=0.5, most=9)
    assert none.scores.shape == (2, 1, 1)
    assert (none.scores == 0).all()


@pytest.fixture
def tokenizer(foundation_folders: tuple[Path, Path]) -> BertTokenizer:
    return BertTokenizer.from_pretrained(foundation_folders[0])


def test_each_class_has_the_tokens_of_its_phrase(tokenizer: BertTokenizer) -> None:
    words = phrases(("motorcycle", "traffic_light", "Car"), {"Car": "street automobile"})
    assert words == ("motorcycle", "traffic light", "street automobile")
    prompt = tokenize(words, tokenizer, most=40)
    (ids,) = prompt.input_ids
    named = [tokenizer.convert_ids_to_tokens(ids[own]) for own in prompt.class_tokens]
    assert named == [["motor", "##cycle"], ["traffic", "light"], ["street", "automobile"]]
    text = tokenizer(" . ".join(words) + " .", return_tensors="pt").input_ids
    assert torch.equal(prompt.input_ids, text)
    assert prompt.tokens.all()
    (theirs,) = build_label_maps(torch.zeros(1, 1, text.shape[1]), text)
    assert torch.equal(prompt.class_tokens, theirs.bool())


def test_a_stand_in_has_one_token_a_class() -> None:
    assert stand_in(3, most=40).class_tokens.sum(1).tolist() == [1, 1, 1]
    assert stand_in(200, most=256).sentence_of.unique().tolist() == [0, 1]


def test_a_long_list_is_as_few_even_sentences_of_whole_phrases(tokenizer: BertTokenizer) -> None:
    words = ("person", "motorcycle", "traffic light", "car", "bus", "train", "truck")
    prompt = tokenize(words, tokenizer, most=11)
    assert prompt.sentence_of.tolist() == [0, 0, 0, 1, 1, 1, 1]
    assert prompt.tokens.sum(1).tolist() == [10, 10]
    for number, text in enumerate(
        ("person . motorcycle . traffic light .", "car . bus . train . truck .")
    ):
        ids = tokenizer(text, return_tensors="pt").input_ids[0]
        assert torch.equal(prompt.input_ids[number][prompt.tokens[number]], ids)
        (theirs,) = build_label_maps(torch.zeros(1, 1, len(ids)), ids[None])
        own = prompt.class_tokens[prompt.sentence_of == number][:, prompt.tokens[number]]
        assert torch.equal(own, theirs.bool())
    assert tokenize(words, tokenizer, most=18).sentence_of.unique().tolist() == [0]
    # Three and one would fit as well.
    assert tokenize(words[3:], tokenizer, most=9).sentence_of.tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize(
    ("classes", "prompts", "message"),
    [
        (["car"], {"cars": "car"}, "'cars' is no class; did you mean 'car'"),
        (["car", "Car"], {}, "'car' and 'Car' are both called 'car'"),
        (["st. car"], {}, "no '.' or '[?]'"),
        (["car"], {"car": " "}, "a phrase must have letters"),
    ],
)
def test_names_that_make_no_text_are_one_line(
    classes: Sequence[str], prompts: dict[str, str], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        phrases(classes, prompts)


def test_words_that_the_detector_cannot_read_are_one_line(tokenizer: BertTokenizer) -> None:
    with pytest.raises(ValueError, match="does not know the words 'zebra'"):
        tokenize(["car", "zebra"], tokenizer, most=40)
    with pytest.raises(ValueError, match="'traffic light' takes 5 tokens and the detector reads 4"):
        tokenize(["car", "traffic light"], tokenizer, most=4)
