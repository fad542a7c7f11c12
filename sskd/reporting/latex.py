"""Text for LaTeX that pdflatex compiles, whatever is in it and whatever encoding fonts have."""

# ruff: noqa: RUF001 - signs that look like others are what this file is about

import re
import unicodedata
from functools import cache

__all__ = ["escape", "escape_code", "safe_name"]

_TEXT = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    '"': "''",  # in some languages' documents the sign itself is an accent
    "`": r"\char96{}",
    "[": "{[}",  # after a row's end it would be taken for the row's distance
    "*": "{*}",
    "\N{NO-BREAK SPACE}": "~",
    "\N{HYPHEN}": "-",
    "\N{NON-BREAKING HYPHEN}": "-",
    "\N{EN DASH}": r"\textendash{}",
    "\N{EM DASH}": r"\textemdash{}",
    "\N{LEFT SINGLE QUOTATION MARK}": r"\textquoteleft{}",
    "\N{RIGHT SINGLE QUOTATION MARK}": r"\textquoteright{}",
    "“": r"\textquotedblleft{}",
    "”": r"\textquotedblright{}",
    "„": "''",
    "\N{FRACTION SLASH}": "/",
    "…": r"\dots{}",
    "•": r"\textbullet{}",
    "†": r"\dag{}",
    "‡": r"\ddag{}",
    "§": r"\S{}",
    "¶": r"\P{}",
    "©": r"\copyright{}",
    "£": r"\pounds{}",
    "€": "EUR",
    "¿": r"\textquestiondown{}",
    "¡": r"\textexclamdown{}",
    "ß": r"\ss{}",
    "ẞ": "SS",
    "æ": r"\ae{}",
    "Æ": r"\AE{}",
    "œ": r"\oe{}",
    "Œ": r"\OE{}",
    "ø": r"\o{}",
    "Ø": r"\O{}",
    "ł": r"\l{}",
    "Ł": r"\L{}",
    "ı": r"\i{}",
    "đ": "d",
    "Đ": "D",
    "ð": "d",
    "Ð": "D",
    "þ": "th",
    "Þ": "Th",
}
_MATHS = {"<": "<", ">": ">", "|": "|", "\N{MINUS SIGN}": "-", "°": r"^\circ"}
_NAMED = {
    "±×÷·¬«»": "pm times div cdot neg ll gg",
    "↑↓←→↔⇑⇓⇐⇒⇔": "uparrow downarrow leftarrow rightarrow leftrightarrow "
    "Uparrow Downarrow Leftarrow Rightarrow Leftrightarrow",
    "≥≤≠≈≡∝∞√∂∇": "geq leq neq approx equiv propto infty surd partial nabla",
    "∈∉∩∪⊂⊆∅∀∃∧∨": "in notin cap cup subset subseteq emptyset forall exists wedge vee",
    "\N{N-ARY SUMMATION}\N{N-ARY PRODUCT}\N{TILDE OPERATOR}\N{INCREMENT}": "sum prod sim Delta",
    "✓✔✗✘★": "surd surd times times star",
    "αβγδεζηθικλμνξπρςστυφχψω": "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda "
    "mu nu xi pi rho varsigma sigma tau upsilon phi chi psi omega",
    "ΓΔΘΛΞΠΣΥΦΨΩ": "Gamma Delta Theta Lambda Xi Pi Sigma Upsilon Phi Psi Omega",
}
_MATHS |= {
    sign: f"\\{name}"
    for signs, names in _NAMED.items()
    for sign, name in zip(signs, names.split(), strict=True)
}
_LIKE_LATIN = dict(zip("ΑΒΕΖΗΙΚΜΝΟΡΤΧο", "ABEZHIKMNOPTXo", strict=True))
_SIGNS = _TEXT | {sign: rf"\ensuremath{{{name}}}" for sign, name in _MATHS.items()} | _LIKE_LATIN
_ACCENTS = {
    "\N{COMBINING GRAVE ACCENT}": "`",
    "\N{COMBINING ACUTE ACCENT}": "'",
    "\N{COMBINING CIRCUMFLEX ACCENT}": "^",
    "\N{COMBINING TILDE}": "~",
    "\N{COMBINING MACRON}": "=",
    "\N{COMBINING BREVE}": "u",
    "\N{COMBINING DOT ABOVE}": ".",
    "\N{COMBINING DIAERESIS}": '"',
    "\N{COMBINING RING ABOVE}": "r",
    "\N{COMBINING DOUBLE ACUTE ACCENT}": "H",
    "\N{COMBINING CARON}": "v",
    "\N{COMBINING DOT BELOW}": "d",
    "\N{COMBINING CEDILLA}": "c",
    "\N{COMBINING MACRON BELOW}": "b",
}
"""Those that fonts of every encoding have; other ones, such as an ogonek, are left out."""


def escape(text: str) -> str:
    """Text as it is to be read: a sign that TeX lacks becomes its parts, or its number."""
    text = unicodedata.normalize("NFC", text)
    # Two of these in a row would become one sign.
    return "".join(
        ("{}" if sign == before and sign in "-,'" else "") + _sign(sign)
        for before, sign in zip(f" {text}", text, strict=False)
    )


def escape_code(text: str) -> str:
    """Text of a program: quotes stay straight, and long words may be broken at their signs."""
    parts = re.split(r"(?<=[./_=:,])(?=\w)", text)
    shown = (r"\char34{}".join(map(escape, part.split('"'))) for part in parts)
    return r"\allowbreak{}".join(shown)


def safe_name(name: str) -> str:
    """A name as a label, or a file's: signs that are not safe there become their numbers."""
    return re.sub(r"[^A-Za-z0-9._=-]", lambda match: f"U{ord(match[0]):04X}", name)


@cache
def _sign(sign: str) -> str:
    if sign in _SIGNS:
        return _SIGNS[sign]
    if sign.isascii() and sign.isprintable():
        return sign
    if unicodedata.category(sign) in ("Cc", "Cf", "Mn"):
        return ""
    parts = unicodedata.normalize("NFKD", sign)
    if parts == sign or any(_is_number(_sign(part)) for part in parts):
        return rf"\texttt{{U+{ord(sign):04X}}}\,"
    base, rest = parts[0], parts[1:]
    found = _sign(base)
    for part in rest:
        accented = part in _ACCENTS and base.isascii() and base.isalpha()
        found = f"\\{_ACCENTS[part]}{{{found}}}" if accented else found + _sign(part)
    raised = unicodedata.decomposition(sign).startswith("<super>")
    return rf"\textsuperscript{{{found}}}" if raised else found


def _is_number(shown: str) -> bool:
    return shown.startswith(r"\texttt")
