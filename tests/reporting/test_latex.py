"""Whatever is written, LaTeX gets ASCII that it compiles."""

import pytest

from sskd.reporting.latex import escape, escape_code, safe_name


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


def test_names_stay_apart() -> None:
    assert safe_name("sweep-tau_1.5") == "sweep-tau_1.5"
    assert safe_name("größe #1") == "grU00F6U00DFeU0020U00231"
    assert safe_name("中") != safe_name("日")
