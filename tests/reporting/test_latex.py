"""Whatever is written, LaTeX gets ASCII that it compiles."""

import pytest

from sskd.reporting.latex import escape, escape_code, label


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("größe Łódź", r"gr\"{o}\ss{}e \L{}\'{o}d\'{z}"),
        ("e\N{COMBINING ACUTE ACCENT}", r"\'{e}"),
        ("ą", "a"),
        (
            "λ τ Ω \N{GREEK CAPITAL LETTER ALPHA} ά",
            r"\ensuremath{\lambda} \ensuremath{\tau} \ensuremath{\Omega} A \ensuremath{\alpha}",
        ),
        ("\N{MATHEMATICAL ITALIC SMALL TAU}", r"\ensuremath{\tau}"),
        ("\N{MICRO SIGN}", r"\ensuremath{\mu}"),
        ("a → b", r"a \ensuremath{\rightarrow} b"),
        ("m² ½ ﬁ", r"m\textsuperscript{2} 1/2 fi"),
        ("中Ж😀", r"\texttt{U+4E2D}\,\texttt{U+0416}\,\texttt{U+1F600}\,"),
        ("a\u200bb\x07c", "abc"),
        ("--set ---", r"-{}-set -{}-{}-"),
        ("a \N{EN DASH} b \N{MINUS SIGN}1", r"a \textendash{} b \ensuremath{-}1"),
        ("", ""),
    ],
)
def test_signs_are_kept_replaced_or_named(text: str, shown: str) -> None:
    assert escape(text) == shown


def test_no_sign_of_unicode_is_left() -> None:
    signs = [chr(code) for code in range(32, 0x30000) if not 0xD800 <= code < 0xE000]
    found = [escape(sign) for sign in signs]
    assert all(shown.isascii() for shown in found)
    assert all(shown.count("{") - shown.count(r"\{") == shown.count("}") - shown.count(r"\}")
               for shown in found)  # fmt: skip


def test_long_words_of_code_may_be_broken_and_quotes_stay_straight() -> None:
    shown = escape_code('a.b_c="d" --set')
    assert shown == r"a.\allowbreak{}b\_\allowbreak{}c=\char34{}d\char34{} -{}-set"


@pytest.mark.parametrize(
    ("name", "shown"), [("größe #1_50 %", "groe-1-50"), ("sweep-tau", "sweep-tau"), ("中", "")]
)
def test_a_label_has_letters_and_digits(name: str, shown: str) -> None:
    assert label(name) == shown
