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
    before, *rest = _CODE.split(text)
    written = _escape(before)
    for code, after in zip(rest[::2], rest[1::2], strict=True):
        # Markup must not touch a letter: a blank that is escaped keeps them apart and is not shown.
        written += "\\ " * written[-1:].isalnum() + f"``{' '.join(code.split())}``"
        written += "\\ " * after[:1].isalnum() + _escape(after)
    return written


def _escape(text: str) -> str:
    return re.sub(r"([\\|`]|_(?!\w)|\*(?! ))", r"\\\1", text)
