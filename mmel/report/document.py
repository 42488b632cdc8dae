"""The page of linked documents: each text with its links, its pictures beside it, and what joins the two.

What the cards of the mentions show stands once, as JSON; the page's script makes a card when it is asked for. Without
the script the texts, the pictures and a table of the links of each document are there.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from mmel.document import NIL, LinkedDocument
from mmel.errors import ConfigError, SkipReport
from mmel.files import atomic_write
from mmel.report.data import Data
from mmel.report.entities import Entities, entity_cards
from mmel.report.html import Child, Html, element
from mmel.report.judged import JudgedDocument, Tally, Totals, is_doubtful
from mmel.report.mentions import LOW, judged_mentions
from mmel.report.page import Filter, Order, notes, page, toolbar, unread
from mmel.report.pictures import thumbnails
from mmel.report.shots import Shots
from mmel.report.view import SIDES, STATES, View, name_of
from mmel.vision.regions import Region

_AS_GIVEN, _MENTIONS = Order("place", "as given"), Order("mentions", "most mentions first", falls=True)
_LABELLED_ORDERS = (Order("order", "most errors first"), Order("doubtful", "most to check first", True), _MENTIONS)
_UNLABELLED_ORDERS = (_AS_GIVEN, Order("doubtful", "most to check first", falls=True), _MENTIONS)
_STEPS = (0.3, LOW, 0.7, 0.8, 0.9, 0.95, 0.99)  # below which a confidence can be called low
# Mentions of these states look like the second column.
_LEGEND = (
    ("right", "right", "right"),
    ("wrong", "wrong", "wrong"),
    ("unlabelled", "unlabelled", "link"),
    ("nil", "nil", "NIL: not in the knowledge base"),
    ("low", "unlabelled low", "confidence below "),
    ("changed", "unlabelled changed disagree", "changed by the other modality"),
    ("apart", "unlabelled apart disagree", "no common ground with its partner"),
)
_READ = (
    "Point at a mention, or reach it with the tab key, to see its card: entity, confidence, runner-up, the mentions of "
    "the other modality that decided with it, and what the scores of the candidates are made of. Enter or a click "
    "keeps the card open and puts its address into the address bar; the left and right arrow keys go on to the next "
    "mention that the buttons show; Escape closes the card.",
)
_READ_COUPLED = (
    "Lines join mentions that decided together, the thicker the more mass the transport plan moves between them. At "
    "rest only the strongest line of each mention is drawn; a mention that is pointed at shows all of its lines. "
    "Dashed: no short path in the knowledge base joins the two entities, so there is no common ground. Modalities "
    "disagree where that is so of two entities (NIL has no ground), and where a mention was decided otherwise than its "
    "modality decides alone.",
)
_READ_LABELLED = (
    "Accuracy is over the mentions whose gold entity is in the knowledge base. Alone is what each modality decides by "
    "itself.",
)
# What the columns of the coupled scores mean; those of the scorers are in their own documentation.
_COLUMNS = {
    "alone": "what the mention's own modality says of the candidate",
    "linked": "the partners of the other modality are linked to it in the knowledge base",
    "meets": "they are linked to something that it is linked to, such as a film",
    "document": "the other names of the document are linked to it or meet it",
    "sentence": "so are the names of its sentence",
    "same name": "mentions of the same name speak for it",
    "pictures": "the other pictures of the document are linked to it or meet it",
}
_PORTRAIT = 80  # pixels
_UNREADABLE = "picture of the report cannot be read"


class DocumentReport:
    """Gathers linked documents for one page, and counts all of them; memory holds no more than the page shows.

    Args:
        limit: documents that are shown at most: those with the most errors, then with the most links to check.
        top: candidates shown of each mention.
        megabytes: about how large the page may grow; one document is shown in any case.

    Raises:
        ConfigError where one of them is too small.

    Example:
        >>> report = DocumentReport()
        >>> for linked in linker.link(documents): report.add(linked)      # doctest: +SKIP
        >>> report.write("linked.html", kb_cards(linker.kb, folder), folder, title="Reviews")  # doctest: +SKIP
    """

    def __init__(self, limit: int = 300, top: int = 6, megabytes: float = 24) -> None:
        if top < 1 or limit < 1 or megabytes <= 0:
            raise ConfigError(
                f"top = {top}, limit = {limit}, megabytes = {megabytes}: the first two must be at least 1, the last "
                "above 0"
            )
        self.totals = Totals()
        self._limit, self._top, self._bytes = limit, top, megabytes * 1e6
        # A heap whose first is the one that goes next; places make ties impossible.
        self._kept: list[tuple[int, int, int, JudgedDocument]] = []

    def add(self, linked: LinkedDocument) -> None:
        """Count a document and keep it if it may be shown; InputError where links or couplings do not fit it."""
        mentions = judged_mentions(linked, self._top)
        place = self.totals.documents
        self.totals.add(linked, mentions)
        key = (sum(one.wrong for one in mentions), sum(map(is_doubtful, mentions)), -place)
        if len(self._kept) < self._limit:
            heapq.heappush(self._kept, (*key, JudgedDocument(place, linked, mentions, self._top)))
        elif key > self._kept[0][:3]:
            heapq.heapreplace(self._kept, (*key, JudgedDocument(place, linked, mentions, self._top)))

    def write(
        self,
        path: str | Path,
        cards: Entities,
        pictures: Path,
        *,
        title: str,
        protocol: str = "",
        skips: SkipReport | None = None,
        figures: Child = None,
    ) -> None:
        """Write a self-contained HTML page about the documents, whole or not at all.

        Args:
            cards: of entities by id, or a function that is asked once for the ids on the page; one without a card shows
                its id.
            pictures: folder that the images of documents are relative to.
            title: heading of the page. protocol: what it is about: dataset, split, model, candidates ...
            skips: where pictures that cannot be read are counted; the page says how many in any case.
            figures: below the numbers.
        """
        pieces = self.page(cards, pictures, title=title, protocol=protocol, skips=skips, figures=figures)
        with atomic_write(path) as stream:
            stream.writelines(pieces)

    def page(
        self,
        cards: Entities,
        pictures: Path,
        *,
        title: str,
        protocol: str = "",
        skips: SkipReport | None = None,
        figures: Child = None,
        named: bool = True,
    ) -> Iterator[str]:
        """The pieces of the page that `write` writes; arguments as there.

        named: whether the page names the files that cannot be read; else it says how many there are.
        """
        shown = self._shown()
        wanted = _entities(shown)
        known = entity_cards(cards, list(wanted))
        portraits = {id: Region(card.picture) for id, card in known.items() if wanted[id] and card.picture is not None}
        small = thumbnails(portraits.values(), side=_PORTRAIT, prefix="e")
        shots = Shots(shown, pictures)
        problems = [*shots.problems, *small.problems]
        if skips is not None:
            for problem in problems:
                skips.add(_UNREADABLE, problem)
        data = Data(known, {id: small.classes[region] for id, region in portraits.items()})
        block = data.block([data.document(one) for one in shown])
        header = [
            element("h1", title),
            element("p", protocol, class_="protocol") if protocol else None,
            _headline(self.totals, shown, data.columns),
            figures,
            unread(problems, named=named),
            self._part(len(shown)),
            _index(shown, self.totals) if len(shown) > 1 else None,
            _toolbar(shown, self.totals),
            block,
        ]
        view = View(known, shots, title, bool(self.totals.labelled), self.totals.coupled)
        items = (view.card(order, one) for order, one in enumerate(shown))
        return page(title, header, items, css=shots.thumbnails.css + small.css, kind="document")

    def _shown(self) -> list[JudgedDocument]:
        """What fits on the page, the worst first; as they were given where nothing says what is wrong."""
        shown: list[JudgedDocument] = []
        room = self._bytes
        for *_, one in sorted(self._kept, key=lambda kept: kept[:3], reverse=True):
            room -= one.bytes
            if room < 0 and shown:
                break
            shown.append(one)
        return shown if self.totals.labelled else sorted(shown, key=lambda one: one.place)

    def _part(self, shown: int) -> Html | None:
        """A sentence where not all documents are on the page."""
        if shown == self.totals.documents:
            return None
        which = "the most errors" if self.totals.labelled else "the most links to check"
        return element(
            "p",
            f"{shown:,} of {self.totals.documents:,} documents are shown, those with {which}. The table above counts "
            "all of them.",
            class_="part",
        )


def write_document_report(
    path: str | Path,
    linked: Iterable[LinkedDocument],
    cards: Entities,
    pictures: Path,
    *,
    title: str,
    protocol: str = "",
    top: int = 6,
    limit: int = 300,
    skips: SkipReport | None = None,
    figures: Child = None,
) -> None:
    """Write a self-contained HTML page about linked documents; see `DocumentReport` for the arguments."""
    report = DocumentReport(limit, top)
    for one in linked:
        report.add(one)
    report.write(path, cards, pictures, title=title, protocol=protocol, skips=skips, figures=figures)


def document_page(
    linked: LinkedDocument,
    cards: Entities,
    pictures: Path,
    *,
    title: str = "",
    protocol: str = "",
    top: int = 6,
    skips: SkipReport | None = None,
) -> str:
    """The page of one linked document as text; arguments as of `DocumentReport.write`.

    It may go to whoever asks for it: files that cannot be read are named in `skips` alone.

    title: heading of the page; the document's own where it is empty.
    """
    report = DocumentReport(1, top)
    report.add(linked)
    title = title or linked.document.title or linked.document.id
    return "".join(report.page(cards, pictures, title=title, protocol=protocol, skips=skips, named=False))


def _entities(judged: Iterable[JudgedDocument]) -> dict[str, bool]:
    """The entities on the page, and whether their pictures are shown: of decisions, golds, and what faces look like."""
    wanted: dict[str, bool] = {}
    for document in judged:
        for one in document.mentions:
            decided = [one.entity, one.gold, one.alone[0] if one.alone else None]
            wanted.update((id, True) for id in decided if id is not None)
            runner_up = one.runner_up
            for _, candidate in one.ranked:
                seen = one.modality == "visual" or candidate is runner_up
                wanted[candidate.entity] = wanted.get(candidate.entity, False) or seen
        for coupling in document.couplings:
            for id in coupling.path:
                wanted.setdefault(id, False)
    wanted.pop(NIL, None)
    return wanted


# --- above the documents ----------------------------------------------------------------------------------------------


def _headline(totals: Totals, shown: Sequence[JudgedDocument], columns: Iterable[str]) -> Html:
    """Counts of each modality, with accuracy where there are labels, alone beside joint where both decided together."""
    scores = (["alone", "joint"] if totals.coupled else ["accuracy"]) if totals.labelled else []
    names = ["", "mentions", "NIL", "low", *scores, *(["changed"] if totals.coupled else [])]
    table = element(
        "table",
        element("caption", f"{totals.documents:,} document{'' if totals.documents == 1 else 's'}"),
        element("thead", element("tr", [element("th", name, scope="col") for name in names])),
        element("tbody", [_scores(SIDES[side], tally, totals) for side, tally in totals.rows()]),
        class_="scores",
    )
    read = _READ + (_READ_COUPLED if totals.coupled else ()) + (_READ_LABELLED if totals.labelled else ())
    known = [f"{name}: {_COLUMNS[name]}" for name in columns if name in _COLUMNS] if totals.coupled else []
    said = [*read, "\n".join(["What scores are made of:", *known])] if known else read
    legend = element("div", _legend(totals, shown), notes("How to read this page", said))
    return element("section", element("div", table), legend, class_="summary", aria_label="Counts")


def _scores(name: str, tally: Tally, totals: Totals) -> Html:
    """The row of a modality."""
    part = element("small", f" {tally.gold:,} with gold") if totals.labelled and tally.gold < tally.mentions else None
    cells: list[Child] = [[f"{tally.mentions:,}", part], f"{tally.nil:,}", f"{tally.states['low']:,}"]
    if totals.labelled:
        right = [tally.alone_correct, tally.correct] if totals.coupled else [tally.correct]
        cells += [f"{count / tally.gold:.1%}" if tally.gold else "–" for count in right]
    if totals.coupled:
        turned = element("small", f" +{tally.better:,} −{tally.worse:,}") if tally.better or tally.worse else None
        cells.append([f"{tally.states['changed']:,}", turned])
    return element("tr", element("th", name, scope="row"), [element("td", cell) for cell in cells])


def _legend(totals: Totals, shown: Sequence[JudgedDocument]) -> Html:
    """The kinds of mentions and lines that are on the page."""
    low = element("span", f"{LOW:g}", class_="low-step")
    marks = [
        element("li", element("span", label, low if state == "low" else None, class_=f"m {look}"))
        for state, look, label in _LEGEND
        if state == "low" or any(one.count(state) for one in shown)
    ]
    if totals.coupled:
        marks += [
            element("li", element("span", class_=f"sample {kind}", aria_hidden="true"), label)
            for kind, label in (("joined", "decided together"), ("joined apart", "without a short path"))
        ]
    return element("ul", marks, class_="legend", aria_label="Legend")


def _toolbar(judged: Sequence[JudgedDocument], totals: Totals) -> Html:
    labels: Mapping[str, str] = STATES
    if 0 < totals.labelled < totals.mentions:
        labels = {**STATES, "unlabelled": "Unlabelled"}
    counts = {state: sum(one.count(state) for one in judged) for state in labels}
    filters = [Filter("", "All", sum(len(one.mentions) for one in judged))]
    # Which confidence is low can be chosen on the page.
    filters += [
        Filter(state, label, counts[state]) for state, label in labels.items() if counts[state] or state == "low"
    ]
    options = [element("option", f"{step:g}", value=f"{step:g}", selected=step == LOW) for step in _STEPS]
    steps = element("label", "Low is below ", element("select", options, id="low"), for_="low")
    orders = (*_LABELLED_ORDERS, Order("place", "as in the corpus")) if totals.labelled else _UNLABELLED_ORDERS
    return toolbar(filters, orders, more=steps, several=len(judged) > 1)


def _index(judged: Sequence[JudgedDocument], totals: Totals) -> Html:
    """The documents of the page with their counts, each a link to its place."""
    states = [state for state in STATES if state != "wrong" or totals.labelled]
    heads = ["Document", *SIDES.values(), *(STATES[state] for state in states)]
    rows = (
        element(
            "tr",
            element("th", element("a", name_of(one), href=f"#d{order}", dir="auto"), scope="row"),
            [element("td", f"{len(one.of(side)):,}") for side in SIDES],
            [
                element("td", f"{one.count(state):,}", class_="low-count" if state == "low" else None)
                for state in states
            ],
            data_card=f"d{order}",
        )
        for order, one in enumerate(judged)
    )
    table = element(
        "table",
        element("thead", element("tr", [element("th", head, scope="col") for head in heads])),
        element("tbody", rows),
    )
    summary = element("summary", "Documents ", element("span", f"{len(judged):,}", class_="count"))
    return element("details", summary, element("div", table, class_="scroll"), class_="index")
