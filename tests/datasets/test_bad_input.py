"""What is known to go wrong in published copies, in each form: `mmel data check` tells it with a count."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mmel.data import main
from mmel.datasets.check_consistency import CANDIDATE_UNKNOWN, GOLD_UNKNOWN, SHARED
from mmel.formats import m3el_mtmt, melbench, mimic, ten_candidates, wikidiverse
from mmel.formats.melbench import NO_PICTURE
from mmel.formats.mentions_in_text import DECODED
from tests.datasets import test_wikidiverse as kgmel_form
from tests.datasets import test_wikimel as melbench_form
from tests.datasets.test_m3el_mtmt import instance
from tests.datasets.test_richpediamel import entity, mention

NILS = ("nil", "NIL", "Nil", "")
WIKI = "https://en.wikipedia.org/wiki/"


def write(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")


def write_mimic(root: Path, name: str) -> None:
    nils = [mention(10 + place, "Renn", spelled, f"Renn {place}.") for place, spelled in enumerate(NILS)]
    encoded = mention(2, "Ines%20Hollow", "Q1", "Ines Hollow plays.", image="")
    write(root / f"{name}_train.json", [mention(1, "Renn", "Q9"), encoded, mention(2, "Renn", "Q1", "Renn."), *nils])
    write(root / f"{name}_dev.json", [mention(1, "Renn", "Q1")])
    people = [entity(0, "Q1", "Otto%20Renn", "gone.jpg"), entity(1, "Q1", "Renn"), entity(2, "Q2", "Ulm")]
    write(root / "kb_entity.json", people)
    write(root / "qid2id.json", {"Q1": 5, "Q3": 1})


MIMIC = {
    GOLD_UNKNOWN: 1, SHARED: 1, DECODED: 1, NO_PICTURE: 1, mimic.ID_TWICE: 1, mimic.ENTITY_DECODED: 1,
    mimic.NOT_IN_IDS: 1, mimic.NOT_IN_KB: 1, mimic.OTHER_NUMBER: 1,
}  # fmt: skip


def write_ten(root: Path) -> None:
    def listed(surface: str, gold: str, *candidates: str, **changed: Any) -> dict[str, Any]:
        text = {"name": surface, "context": "Ines Hollow in Ulm.", "category": "Person"}
        return text | {"ids": gold, "cands": list(candidates)} | changed

    nils = [listed("Ulm", spelled, "Q1", context=f"Ulm {place}.") for place, spelled in enumerate(NILS)]
    bare = listed("Ulm", "Q1", "Q1", context="Ulm then.", imgPath="")
    write(root / "train_w_10cands.json", [listed("Ines%20Hollow", "Q9", "Q1", "Q7", "Q1", "nil"), bare, *nils])
    write(root / "test_w_10cands.json", [listed("Ulm", "Q1", "Q1")])
    table = [{"ids": each, "name": "Ines", "des": "", "sum": "Plays."} for each in ("Q1", "Q1", "Q2")]
    write(root / "entity2sum_train.json", table)


TEN = {
    GOLD_UNKNOWN: 1, CANDIDATE_UNKNOWN: 1, SHARED: 1, DECODED: 1, NO_PICTURE: 1, ten_candidates.ENTITY_TWICE: 1,
    m3el_mtmt.GOLD_MISSING: 1, m3el_mtmt.TWICE: 1,
}  # fmt: skip


def write_drin(root: Path) -> None:
    def one(gold: str, text: str = "Renn in Ulm.", image: str = "7.jpg", surface: str = "Renn") -> dict[str, str]:
        return {"mentions": surface, "sentence": text, "imgPath": image, "answer": gold}

    nils = {f"{10 + place}": one(spelled, f"Renn {place}.") for place, spelled in enumerate(NILS)}
    write(
        root / "mentions/WIKIMEL_train.json", {"1": one("Q9"), "2": one("Q1", "Otto Renn", "", "Otto%20Renn"), **nils}
    )
    write(root / "mentions/WIKIMEL_test.json", {"3": one("Q1")})
    lists = root / "candidates/top100/candidates-answer.tsv"
    lists.parent.mkdir(parents=True)
    lists.write_text("".join(f"{name}\tQ1\tQ2\n" for name in ("1", "2", "3", *nils)))
    write(root / "candidates/qid2ne.json", {"Q1": "Otto Renn", "Q2": "Ulm"})
    write(root / "entities/qid2abs.json", {"Q1": "A baker.", "Q3": "A river."})


DRIN = {
    GOLD_UNKNOWN: 1, SHARED: 1, DECODED: 1, NO_PICTURE: 1, m3el_mtmt.GOLD_MISSING: 1, melbench.NO_DESCRIPTION: 1,
    melbench.NO_ENTITY: 1,
}  # fmt: skip


def write_melbench(root: Path) -> None:
    text = melbench_form.sentence_of
    captions = [
        melbench_form.caption(1, text("train", 0), ("Otto%20Renn", "Q9"), imgPath=""),
        *(
            melbench_form.caption(2 + place, text("train", 1 + place), ("Renn", spelled), imgPath="gone.jpg")
            for place, spelled in enumerate(NILS)
        ),
    ]
    melbench_form.write_captions(root / "Wikidata-MEL.json", *captions)
    write(root / "qid2ne.json", {"Q1": "Otto Renn"})
    write(root / "qid2abs.json", {"Q3": "A river."})


MELBENCH = {GOLD_UNKNOWN: 1, DECODED: 1, NO_PICTURE: 1, melbench.NO_DESCRIPTION: 1, melbench.NO_ENTITY: 1}


def write_kgmel(root: Path) -> None:
    caption, renn = kgmel_form.caption, kgmel_form.RENN
    nils = [caption(9, f"Renn {place}", ("Renn", "", spelled)) for place, spelled in enumerate(NILS)]
    encoded = caption(2, "Otto Renn", ("Otto%20Renn", "Otto Renn", "Q9"), imgPath="")
    write(root / "WikiDiverse.train.json", [caption(1, "Renn", renn), encoded, *nils])
    write(root / "WikiDiverse.val.json", [caption(1, "Renn", renn)])
    (root / "kb.jsonl").write_text('{"id": "Q1", "title": "Renn"}\n')


KGMEL = {GOLD_UNKNOWN: 1, SHARED: 1, DECODED: 1, NO_PICTURE: 1}


def write_authors(root: Path) -> None:
    def caption(text: str, *golds: str, picture: str = "https://x.example/a/Otto.svg") -> list[Any]:
        return [text, picture, "sports", [[text[:4], "Person", 0, 4, gold] for gold in golds]]

    nils = [caption(f"Otto {place}", spelled, picture="") for place, spelled in enumerate(NILS)]
    golds = (f"n{WIKI}Ulm", f"{WIKI}Caf%C3%A9", f"{WIKI}Otto_R.")
    odd = [caption(f"Otto in {place}", gold) for place, gold in zip("abc", golds, strict=True)]
    write(root / "train.json", [*odd, *nils])
    write(root / "valid.json", [caption("Otto in a", f"{WIKI}Ulm")])
    (root / "redirects.tsv").write_text("Otto_R.\tOtto_Renn\n")
    (root / "wikipedia_entity2desc_filtered.tsv").write_text("Otto_Renn@@@@A baker.\nUlm@@@@A.\nUlm@@@@B.\n")
    (root / "wikipedia_entity2imgs.tsv").write_text(f"Ines@@@@{WIKI}a.png\n")


AUTHORS = {
    GOLD_UNKNOWN: 1, SHARED: 1, NO_PICTURE: 4, wikidiverse.ODD_ADDRESS: 1, wikidiverse.DECODED: 1,
    wikidiverse.REDIRECTED: 1, wikidiverse.DESCRIBED_TWICE: 1, wikidiverse.NO_ENTITY: 1,
}  # fmt: skip


def write_m3el(root: Path) -> None:
    nils = [instance(spelled, "Q1", sentence=f"Renn {place}.") for place, spelled in enumerate(NILS)]
    encoded = instance("Q9", "Q1", "Q2", "Q1", name="Otto%20Renn", sentence="Otto Renn plays.")
    bare = instance("Q1", sentence="Renn sings.") | {"image": ["", "", "nan"]}
    write(root / "films_train.json", [instance("Q1", "Q1"), encoded, bare, *nils])
    write(root / "films_val.json", [instance("Q1", "Q1")])


M3EL = {
    GOLD_UNKNOWN: 1, SHARED: 1, DECODED: 1, NO_PICTURE: 1, m3el_mtmt.GOLD_MISSING: 1, m3el_mtmt.TWICE: 1,
    m3el_mtmt.NO_CANDIDATES: 1,
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "fill", "noted"),
    [
        ("richpediamel", lambda root: write_mimic(root, "RichpediaMEL"), MIMIC),
        ("wikimel", lambda root: write_mimic(root, "WIKIMEL"), MIMIC),
        ("wikidiverse", lambda root: write_mimic(root, "wiki_diverse"), MIMIC),
        ("richpediamel", write_ten, TEN),
        ("wikimel", write_ten, TEN),
        ("wikidiverse", write_ten, TEN),
        ("wikimel", write_drin, DRIN),
        ("wikimel", write_melbench, MELBENCH),
        ("wikidiverse", write_kgmel, KGMEL),
        ("wikidiverse", write_authors, AUTHORS),
        ("m3el-mtmt", write_m3el, M3EL),
    ],
)
def test_what_goes_wrong_is_told(
    name: str, fill: Callable[[Path], None], noted: dict[str, int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(tmp_path)
    main(["check", name, "--root", str(tmp_path), "--json"])
    report = json.loads(capsys.readouterr().out)
    assert {reason: report["noted"].get(reason, 0) for reason in noted} == noted
    train = report["splits"]["train"]
    assert train["nil"] == len(NILS)
    # Of the pictures that are named none is there.
    assert (train["pictures"]["pictures"], train["pictures"]["pictures_missing"] > 0) == (0, True)
    if fill is write_kgmel:
        assert "train: 3 ids stand twice, the first is '9'" in report["mismatches"]
    if noted is MIMIC:
        assert report["skips"] == {mimic.ENTITY_TWICE: 1}
