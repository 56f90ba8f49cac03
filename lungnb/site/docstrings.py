"""Docstrings are plain prose; Sphinx reads reStructuredText. This turns the one into the other."""

import re

_CODE = re.compile(r"`([^`]+)`")
_LIST = re.compile(r"[*-] ")
_INDENT = "    "


def to_rst(lines: list[str]) -> list[str]:
    """A docstring's lines as reStructuredText that says the same: `code` is code, and so is an indented block.

    A line that begins with a star or a hyphen is an item of a list. Nothing else is markup: stars, bars, underscores and
    backslashes of the prose are shown as they are.
    """
    written, after_code = [], False
    for block in re.split(r"\n(?:[ \t]*\n)+", "\n".join(lines).strip("\n")):
        code = bool(re.search(r"^  ", block, re.M)) and not _LIST.match(block)
        if code:
            written += [] if after_code else ["::", ""]
            written += [_INDENT + line for line in block.splitlines()]
        else:
            written += _prose(block).splitlines()
        written.append("")
        after_code = code
    return written


def _prose(text: str) -> str:
    parts = _CODE.split(text)
    parts[::2] = map(_escape, parts[::2])
    # The escaped blanks vanish; without them a letter that follows would hide where the code ends.
    parts[1::2] = (f"\\ ``{' '.join(part.split())}``\\ " for part in parts[1::2])
    return "".join(parts)


def _escape(text: str) -> str:
    return re.sub(r"([\\|`]|_(?!\w)|\*(?! ))", r"\\\1", text)
