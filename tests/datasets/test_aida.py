from __future__ import annotations

import json
import random
from pathlib import Path
from typing import ClassVar

import pytest

from mmel.data import main
from mmel.datasets import open_dataset
from mmel.errors import InputError
from tests.datasets.cases import DatasetCase, write_lines

Page = tuple[int, str, int, list[int]]  # id, title, in-links, linked page ids
CITY: Page = (30, "Camelot", 500, [20])
FILM: Page = (10, "Camelot (film)", 900, [])
CLUB: Page = (20, "Avalon F.C.", 50, [30])
ISLAND: Page = (25, "Avalon", 400, [])
# One sentence a document, and its mentions: surface, gold, candidates with the gold first, as published.
DOCUMENTS: dict[int, tuple[list[str], list[tuple[str, Page | None, list[Page]]]]] = {
    1: (["Avalon", "visit", "Camelot", "."], [("Avalon", CLUB, [CLUB, ISLAND]), ("Camelot", CITY, [CITY, FILM])]),
    2: (["Camelot", "thanked", "Merlin"], [("Camelot", CITY, [CITY, FILM]), ("Merlin", None, [])]),
    947: (["Avalon", "sinks"], [("Avalon", ISLAND, [ISLAND, CLUB])]),
}


def candidate_line(page: Page) -> str:
    number, title, in_links, links = page
    address = title.replace(" ", "_")
    return (
        f"CANDIDATE\tid:{number}\tinCount:{in_links}\toutCount:{len(links)}\tlinks:{';'.join(map(str, links))}"
        f"\turl:http://en.wikipedia.org/wiki/{address}\tname:{title}\tnormalName:{title.lower()}"
        f"\tnormalWikiTitle:{title.lower()}\tpredictedType:UNK"
    )


def write_candidates(folder: Path) -> None:
    for number, (_, mentions) in DOCUMENTS.items():
        lines = []
        for surface, gold, candidates in mentions:
            url = f"http://en.wikipedia.org/wiki/{gold[1].replace(' ', '_')}" if gold else "NIL"
            lines.append(
                f"ENTITY\ttext:{surface}\tnormalName:{surface.lower()}\tpredictedType:UNK\tq:true\tqid:Q1\tdocId:{number}"
                f"\torigText:{surface}\turl:{url}"
            )
            lines += map(candidate_line, candidates)
        write_lines(folder / "AIDA_candidates" / "PART_1_1000" / str(number), *lines)


def conll(numbers: list[int]) -> list[str]:
    lines = []
    for number in numbers:
        words, mentions = DOCUMENTS[number]
        names = {surface for surface, _, _ in mentions}
        lines += ["-DOCSTART- -X- O O", ""]
        lines += [f"{word} NNP I-NP {'I-LOC' if word in names else 'O'}" for word in words]
        lines.append("")
    return lines


class TestAida(DatasetCase):
    name = "aida"
    protocol = "PPRforNED"
    expected: ClassVar = {"train": (2, 4, 3, 1), "testa": (1, 1, 1, 0)}
    entity_ids: ClassVar = ["Camelot (film)", "Avalon F.C.", "Avalon", "Camelot"]
    # By in-links the film beats the city and the island the club.
    prior: ClassVar = {"train": (0.0, 1.0), "testa": (1.0, 1.0)}
    breakable = ("PPRforNED/AIDA_candidates/PART_1_1000/1", "ENTITY\ttext:Avalon")
    skip_reason = ""

    def write(self, root: Path) -> None:
        write_lines(root / "conll2003" / "eng.train", *conll([1, 2]))
        write_lines(root / "conll2003" / "eng.testa", *conll([947]))
        write_candidates(root / "PPRforNED")

    def test_a_broken_record_can_be_counted(self, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
        """A candidate file that is cut is an error even then; a mention that is not in the text is counted."""
        path = root / "conll2003" / "eng.train"
        path.write_text(path.read_text().replace("Merlin", "Morgana"))
        assert main(["check", "aida", "--root", str(root), "--json"]) == 1
        printed = capsys.readouterr()
        assert json.loads(printed.out)["skips"] == {"mention not found in the text": 1}
        assert "'Merlin'" in printed.err

    def test_the_order_of_the_files_changes_nothing(self, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
        def everything() -> tuple[object, ...]:
            dataset = open_dataset("aida", root)
            documents = [list(dataset.documents(split)) for split in dataset.splits]
            main(["check", "aida", "--root", str(root), "--json"])
            return documents, list(dataset.entities()), capsys.readouterr().out

        published = everything()
        for seed in range(5):
            for path in (root / "PPRforNED" / "AIDA_candidates" / "PART_1_1000").iterdir():
                blocks = path.read_text().rstrip("\n").split("ENTITY\t")[1:]
                lines = [block.rstrip("\n").split("\n") for block in blocks]
                shuffled = [[f"ENTITY\t{head}", *random.Random(seed).sample(rest, len(rest))] for head, *rest in lines]
                path.write_text("".join(f"{line}\n" for block in shuffled for line in block))
            assert everything() == published

    def test_a_split_that_is_not_there(self, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(
            InputError,
            match="split 'testb' is not there, train, testa are. Expected below the root: conll2003/eng.train",
        ):
            open_dataset("aida", root).documents("testb")
        main(["check", "aida", "--root", str(root)])
        assert "testb: not in the folder" in capsys.readouterr().out

    @pytest.mark.parametrize("folder", ["conll2003", "PPRforNED"])
    def test_both_folders_are_needed(self, root: Path, folder: str) -> None:
        (root / folder).rename(root / "elsewhere")
        with pytest.raises(InputError, match=f"{folder}: is missing"):
            open_dataset("aida", root)
