"""Prior dictionaries: reading them and averaging them."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmel.document import Alias, Entity
from mmel.errors import InputError
from mmel.kb import KnowledgeBase
from mmel.kb.build import build
from mmel.kb.priors import PriorRow, read_priors
from mmel.kb.update import add


def _write(path: Path, *lines: str) -> Path:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def test_plain(tmp_path: Path) -> None:
    file = _write(tmp_path / "p.tsv", "Lake Town\tQ1\t3", "", "Lake Town\tLake_Town\t1.5", "lake\t17\t0")
    assert list(read_priors(file)) == [
        PriorRow("Lake Town", "Q1", "Q1", 3),
        PriorRow("Lake Town", "Lake_Town", "Lake_Town", 1.5),
        PriorRow("lake", "17", "17", 0),
    ]


def test_deep_ed(tmp_path: Path) -> None:
    file = _write(tmp_path / "p.txt", "Lake Town\t12\t7,8,Lake_Town\t9,4,Lake,_Town\t", "none\t0\t", "one\t3\t5,3,One")
    assert list(read_priors(file)) == [
        PriorRow("Lake Town", "7", "Lake_Town", 8),
        PriorRow("Lake Town", "9", "Lake,_Town", 4),
        PriorRow("one", "5", "One", 3),
    ]


def test_deep_ed_with_probabilities(tmp_path: Path) -> None:
    file = _write(tmp_path / "p.txt", "Lake Town\t200\t7,0.75,Lake_Town\t9,0.25,Lake")
    assert [row.seen for row in read_priors(file)] == [150, 50]


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        (["x"], ":1: has 1 field"),
        (["\tQ1\t3"], ":1: has 1|:1: has 3 field"),
        (["x\tQ1\t3", "x\tQ1"], ":2: has 2 fields, the file's first line has 3"),
        (["x\tQ1\t3", "x\tQ1\tmany"], ":2: field 'count': 'many' is not a number"),
        (["x\tQ1\t3", "x\tQ1\t-3"], "'-3' is not a number of 0 or more"),
        (["x\tmany\t1,2,T"], ":1: field 'total': 'many'"),
        (["x\t3\t1;2;T"], "'1;2;T' is not 'id,count,title'"),
        (["x\t3\t1,nan,T"], "field 'count': 'nan'"),
        ([], "is empty"),
    ],
)
def test_bad_lines_name_their_place(tmp_path: Path, lines: list[str], reason: str) -> None:
    file = _write(tmp_path / "p.tsv", *lines)
    with pytest.raises(InputError, match=reason):
        list(read_priors(file))


def _built(folder: Path, priors: dict[str, Path]) -> KnowledgeBase:
    entities = [
        Entity("Q1", "Lake Town", aliases=(Alias("Lake", 3), Alias("Own", 1))),
        Entity("Q2", "Lake (band)", aliases=(Alias("Lake", 1),)),
        Entity("Q3", "Twin"),
        Entity("Q4", "Twin"),
    ]
    build(entities, folder, priors=priors)
    return KnowledgeBase.open(folder)


def _priors(kb: KnowledgeBase, surface: str) -> dict[str, float]:
    matches = kb.lookup(surface, fuzzy=False)
    return dict(zip(kb.ids(match.index for match in matches), (match.prior for match in matches), strict=True))


def test_dictionaries_are_averaged(tmp_path: Path) -> None:
    wiki = _write(
        tmp_path / "wiki.txt", "Lake\t10\t900,6,Lake_(band)\t901,2,Lake_Town\t902,2,Elsewhere", "Pond\t1\t1,1,Lake_Town"
    )
    yago = _write(tmp_path / "yago.tsv", "Lake\tQ3\t5", "Loch\tQ2\t1", "Loch\tTwin\t9")
    kb = _built(tmp_path / "kb", {"wiki": wiki, "yago": yago})
    # Own counts 3/4, 1/4; wiki over the base's entities 2/8, 6/8; yago all Q3: the mean of the three.
    assert _priors(kb, "Lake") == pytest.approx({"Q1": (0.75 + 0.25) / 3, "Q2": (0.25 + 0.75) / 3, "Q3": 1 / 3})
    # A name that one dictionary has is that dictionary's alone.
    assert _priors(kb, "Pond") == {"Q1": 1.0}
    assert _priors(kb, "Own") == {"Q1": 1.0}
    # "Twin" is the title of two entities and so of none.
    assert _priors(kb, "Loch") == {"Q2": 1.0}
    assert [match.count for match in kb.lookup("Lake")] == [5, 7, 5]
    assert [(prior.name, prior.pairs, prior.unknown) for prior in kb.meta.priors] == [("wiki", 4, 1), ("yago", 3, 1)]


def test_a_dictionary_changes_the_hash(tmp_path: Path) -> None:
    first = _write(tmp_path / "a.tsv", "Lake\tQ3\t5")
    second = _write(tmp_path / "b.tsv", "Lake\tQ3\t6")
    hashes = {
        _built(tmp_path / name, priors).meta.content_hash
        for name, priors in (("x", {}), ("y", {"a": first}), ("z", {"a": second}))
    }
    assert len(hashes) == 3


def test_added_entities_keep_the_average(tmp_path: Path) -> None:
    yago = _write(tmp_path / "yago.tsv", "Lake\tQ3\t5")
    kb = _built(tmp_path / "kb", {"yago": yago})
    assert _priors(kb, "Lake") == pytest.approx({"Q3": 0.5, "Q1": 0.375, "Q2": 0.125})
    add([Entity("Q5", "New Lake", aliases=(Alias("Lake", 4),))], tmp_path / "kb")
    kb = KnowledgeBase.open(tmp_path / "kb")
    assert _priors(kb, "Lake") == pytest.approx({"Q3": 0.5, "Q1": 3 / 16, "Q2": 1 / 16, "Q5": 4 / 16})
    add([Entity("Q1", "Lake Town"), Entity("Q2", "x"), Entity("Q5", "y")], tmp_path / "kb")
    kb = KnowledgeBase.open(tmp_path / "kb")
    assert _priors(kb, "Lake") == {"Q3": 1.0}
    assert _priors(kb, "Own") == {}


def test_a_bad_dictionary_leaves_no_base(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"p\.tsv:1"):
        _built(tmp_path / "kb", {"p": _write(tmp_path / "p.tsv", "x")})
    with pytest.raises(InputError, match=r"cannot be read"):
        _built(tmp_path / "kb", {"p": tmp_path / "missing.tsv"})
    with pytest.raises(InputError, match="is no knowledge base"):
        KnowledgeBase.open(tmp_path / "kb")


@pytest.mark.data
def test_real_priors(data_root: Path) -> None:
    rows = list(read_priors(data_root / "kb" / "priors_sample.txt"))
    assert len({row.surface for row in rows}) == 50
    (first, *_) = rows
    # 685,349 links of the surface, 92.9 % of them to the country.
    assert (first.surface, first.title) == ("United States", "United_States")
    assert first.seen == pytest.approx(685_349 * 0.9291755)
