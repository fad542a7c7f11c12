"""Class names as the sentences that a grounded detector reads, and which token is whose.

One sentence, unless there are more classes than the detector reads tokens for.

Axes: s sentences, t tokens of the longest one, c foreground classes.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Int

from sskd.config import nearest

__all__ = ["TextPrompt", "phrases", "stand_in", "tokenize"]

_PAD, _CLS, _SEP, _DOT = 0, 101, 102, 1012
"""BERT's tokens, of which the detector takes the last three for the borders of phrases: fixed
numbers in its code."""


class TextPrompt(NamedTuple):
    """``[CLS] person . rider . car . [SEP]``, or several sentences, filled up to one length."""

    input_ids: Int[torch.Tensor, "s t"]
    tokens: Bool[torch.Tensor, "s t"]
    """Which places are the sentence's and no filling."""
    class_tokens: Bool[torch.Tensor, "c t"]
    """Which places in its own sentence name a class; each names one at most."""
    sentence_of: Int[torch.Tensor, " c"]
    """Which sentence names a class."""


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
    """The sentences' tokens, phrase by phrase, so that each is known to be its class's.

    Args:
        words: One phrase a class.
        tokenizer: BERT's, as it comes with the detector.
        most: Tokens of a sentence that the detector reads.

    Raises:
        ValueError: If the tokenizer is another one, or a phrase has no token that it knows, or is
            longer than a sentence.
    """
    marks = tokenizer.convert_tokens_to_ids(["[CLS]", "[SEP]", "."])
    if marks != [_CLS, _SEP, _DOT]:
        raise ValueError("teacher.detector: its tokenizer is not that of bert-base-uncased")
    ids = [list(tokenizer(phrase, add_special_tokens=False).input_ids) for phrase in words]
    for phrase, own in zip(words, ids, strict=True):
        if not own or tokenizer.unk_token_id in own:
            raise ValueError(f"teacher.prompts: the detector does not know the words {phrase!r}")
        if len(own) + 3 > most:
            raise ValueError(
                f"teacher.prompts: {phrase!r} takes {len(own) + 3} tokens and the detector reads "
                f"{most}; call it by shorter words"
            )
    return _sentences(ids, most)


def stand_in(count: int, *, most: int) -> TextPrompt:
    """Sentences of that many one-token classes, for a detector with random weights."""
    return _sentences([[_DOT + 100 + i] for i in range(count)], most)


def _sentences(ids: Sequence[Sequence[int]], most: int) -> TextPrompt:
    """As few sentences as hold the phrases in their order, and those as even as they can be.

    Even, because the longest costs most, and a class that is left over is not asked for alone.
    """
    sizes = [len(own) + 1 for own in ids]  # with the dot
    fewest = len(_fill(sizes, most - 2))
    parts = next(
        p for room in range(max(sizes), most - 1) if len(p := _fill(sizes, room)) == fewest
    )
    longest = 2 + max(sum(sizes[k] for k in part) for part in parts)
    # Explicit, for models are also built on the meta device, which knows no values.
    input_ids = torch.full((len(parts), longest), _PAD, device="cpu")
    tokens = torch.zeros(len(parts), longest, dtype=torch.bool, device="cpu")
    class_tokens = torch.zeros(len(ids), longest, dtype=torch.bool, device="cpu")
    sentence_of = torch.zeros(len(ids), dtype=torch.int64, device="cpu")
    for number, part in enumerate(parts):
        sentence = [_CLS]
        for k in part:
            class_tokens[k, len(sentence) : len(sentence) + len(ids[k])] = True
            sentence_of[k] = number
            sentence += [*ids[k], _DOT]
        sentence.append(_SEP)
        input_ids[number, : len(sentence)] = torch.tensor(sentence, device="cpu")
        tokens[number, : len(sentence)] = True
    return TextPrompt(input_ids, tokens, class_tokens, sentence_of)


def _fill(sizes: Sequence[int], room: int) -> list[list[int]]:
    """Numbers of the phrases, one sentence after the other filled to at most so many tokens."""
    parts: list[list[int]] = [[]]
    left = room
    for number, size in enumerate(sizes):
        if size > left:
            parts.append([])
            left = room
        parts[-1].append(number)
        left -= size
    return parts
