"""What the repository cites of its own documents exists."""

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]
_NUMBER = r"\d+(?:\.\d+)*"
_CITED = re.compile(
    rf"(docs/[\w/-]+\.md),?\s+(?:#:?\s+)?sections?\s+(?:#:?\s+)?({_NUMBER}(?:(?:, | and | to |, and ){_NUMBER})*)"
)
_DOCUMENT = re.compile(r"docs/[\w/-]+\.md")


def _texts():
    names = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\n")
    for name in names:
        path = ROOT / name
        if path.suffix in {".py", ".csv", ".md", ".yaml", ".toml", ".j2", ".cff"} and path.is_file():
            yield name, path.read_text()


def _sections(document: str) -> set[str]:
    return set(re.findall(rf"^#+ ({_NUMBER})\.? ", (ROOT / document).read_text(), flags=re.MULTILINE))


def test_every_cited_document_and_section_exists():
    lost, n_cited = [], 0
    for name, text in _texts():
        lost += [(name, cited) for cited in _DOCUMENT.findall(text) if not (ROOT / cited).is_file()]
        for document, numbers in _CITED.findall(text):
            cited = set(re.findall(_NUMBER, numbers))
            n_cited += len(cited)
            lost += [(name, document, number) for number in cited - _sections(document)]
    assert not lost
    assert n_cited > 100
