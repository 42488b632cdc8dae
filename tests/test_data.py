from __future__ import annotations

from pathlib import Path

import pytest

from mmel.data import main
from mmel.datasets import dataset_names, open_dataset
from mmel.errors import InputError


def test_the_list_says_which_counts_are_not_known(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    # No split stands without its counts, or without the word that nothing is known.
    assert all(line.strip().split()[-1] not in ("train", "val", "test") for line in lines)
    assert any(line.strip() == "train, val, test: counts not known" for line in lines)
    (place,) = (number for number, line in enumerate(lines) if line.startswith("wikidiverse "))
    assert "KGMEL train" in lines[place + 1]
    assert "5,548 documents, 11,151 mentions" in lines[place + 1]
    titles = {line.split()[0] for line in lines if not line.startswith(" ")}
    assert titles == set(dataset_names())


def test_of_one_dataset_the_list_says_what_its_folder_holds(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "richpediamel"]) == 0
    text = capsys.readouterr().out
    assert "qid2id.json: optional" in text
    assert "get it: https" in text
    assert "wikidiverse" not in text


@pytest.mark.parametrize("name", [name for name in dataset_names() if name != "sample"])
def test_a_folder_that_lacks_all_is_told_in_few_words(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        open_dataset(name, tmp_path)
    message = str(caught.value).replace(str(tmp_path), "")
    assert f"`python -m mmel.data list {name}`" in message
    assert len(message) < 600
