"""Class names as the one sentence that a grounded detector reads, and which token is whose.

Axes: t tokens of the sentence, c foreground classes.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Int

from sskd.config import nearest

__all__ = ["TextPrompt", "phrases", "stand_in", "tokenize"]

_CLS, _SEP, _DOT = 101, 102, 1012
"""BERT's tokens that the detector takes for the borders of phrases: fixed numbers in its code."""


class TextPrompt(NamedTuple):
    """``[CLS] person . rider . car . [SEP]``."""

    input_ids: Int[torch.Tensor, " t"]
    class_tokens: Bool[torch.Tensor, "c t"]
    """Which tokens name a class; each names one at most."""


def phrases(classes: Sequence[str], prompts: Mapping[str, str]) -> tuple[str, ...]:
    """What each class is called, one phrase a class in their order.

    Args:
        classes: The data set's class names.
        prompts: Other words for some of them.

    Raises:
        ValueError: If a prompt is of no class, two classes are called alike, or a phrase is empty
            or holds a character that ends a phrase.
    """
    for name in prompts:
        if name not in classes:
            raise ValueError(f"teacher.prompts: {name!r} is no class{nearest(name, classes)}")
    called: dict[str, str] = {}
    for name in classes:
        phrase = " ".join(prompts.get(name, name).replace("_", " ").lower().split())
        if not phrase or set(phrase) & set(".?"):
            raise ValueError(
                f"teacher.prompts: class {name!r} is called {phrase!r}: a phrase must have letters "
                "and no '.' or '?'"
            )
        first = called.setdefault(phrase, name)
        if first != name:
            raise ValueError(
                f"teacher.prompts: classes {first!r} and {name!r} are both called {phrase!r}"
            )
    return tuple(called)


def tokenize(words: Sequence[str], tokenizer: Any, *, most: int) -> TextPrompt:
    """The sentence's tokens, phrase by phrase, so that each is known to be its class's.

    Args:
        words: One phrase a class.
        tokenizer: BERT's, as it comes with the detector.
        most: Tokens that the detector reads.

    Raises:
        ValueError: If the tokenizer is another one, a phrase has no token that it knows, or there
            are too many.
    """
    marks = tokenizer.convert_tokens_to_ids(["[CLS]", "[SEP]", "."])
    if marks != [_CLS, _SEP, _DOT]:
        raise ValueError("teacher.detector: its tokenizer is not that of bert-base-uncased")
    ids = [list(tokenizer(phrase, add_special_tokens=False).input_ids) for phrase in words]
    for phrase, own in zip(words, ids, strict=True):
        if not own or tokenizer.unk_token_id in own:
            raise ValueError(f"teacher.prompts: the detector does not know the words {phrase!r}")
    prompt = _sentence(ids)
    if len(prompt.input_ids) > most:
        raise ValueError(
            f"teacher.prompts: {len(words)} classes take {len(prompt.input_ids)} tokens and the "
            f"detector reads {most}; call some by shorter words"
        )
    return prompt


def stand_in(count: int) -> TextPrompt:
    """A sentence of that many one-token classes, for a detector with random weights."""
    return _sentence([[_DOT + 100 + i] for i in range(count)])


def _sentence(ids: Sequence[Sequence[int]]) -> TextPrompt:
    sentence, spans = [_CLS], []
    for own in ids:
        spans.append(range(len(sentence), len(sentence) + len(own)))
        sentence += [*own, _DOT]
    sentence.append(_SEP)
    class_tokens = torch.zeros(len(ids), len(sentence), dtype=torch.bool, device="cpu")
    for row, span in zip(class_tokens, spans, strict=True):
        row[list(span)] = True
    return TextPrompt(torch.tensor(sentence, device="cpu"), class_tokens)
