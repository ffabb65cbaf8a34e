"""Secrets taken out of what leaves a device in words: logs and diagnoses. Pure.

What looks like a secret is taken out whether it is one or not. A secret that looks like nothing at all is not found, so nothing
that may hold one is put into an answer in the first place: no environment, no file of keys, no request of an application.
"""

import re

GONE = "[taken out]"

_RULES: tuple[tuple[re.Pattern[str], str], ...] = (
    (
        re.compile(r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----.*?(?:-----END [A-Z0-9 ]*PRIVATE KEY-----|\Z)", re.DOTALL),
        GONE,
    ),
    # API and enrolment tokens of ours; JSON web tokens; keys of clouds and forges, by how they begin.
    (re.compile(r"\bef(?:_|1\.)[A-Za-z0-9._-]{16,}"), GONE),
    (re.compile(r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*"), GONE),
    (re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"), GONE),
    (re.compile(r"\b(?:gh[pousr]_|glpat-|sk-|xox[abprs]-)[A-Za-z0-9_-]{16,}"), GONE),
    (re.compile(r"(?i)\b(bearer|basic)\s+[A-Za-z0-9+/=._~-]{8,}"), rf"\1 {GONE}"),
    (re.compile(r"(?i)\b([a-z][a-z0-9+.-]{1,20}://[^\s/:@]{1,100}):[^\s/@]+@"), rf"\1:{GONE}@"),
    (
        re.compile(
            r"(?i)([\"']?\b[a-z0-9_-]{0,40}(?:password|passwd|passphrase|secret|token|api[_-]?key|private[_-]?key)[a-z0-9_-]{0,20}"
            r"[\"']?\s*[:=]\s*)(?:\"[^\"\n]*\"|'[^'\n]*'|[^\s,;}\]]+)"
        ),
        rf"\1{GONE}",
    ),
)


def redacted(text: str) -> str:
    """Return `text` without what looks like a secret; everything else stays as it is."""
    for pattern, instead in _RULES:
        text = pattern.sub(instead, text)
    return text
