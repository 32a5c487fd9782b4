"""The contract of keyword search and hybrid search."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.documents import Document
from langchain_core.messages import HumanMessage

from langchain_gemini_mm.errors import ContentError, FilterError
from langchain_gemini_mm.vectorstores import Query
from tests.vectorstores.contract_base import ANIMALS, Call, ContractBase, cases, ids_of

IMAGE = "![](mm://sha256-" + "ab" * 32 + ")"
TEXTS = {
    "german": "Die Straße nach Köln führt über die Brücke",
    "japanese": "東京都の天気は晴れです",
    "chinese": "我們在北京大學學習",
    "korean": "서울에서 만나요",
    "thai": "ที่นี่มีแมวดำ",
    "hindi": "यह हिन्दी में है",
    "arabic": "كِتَابٌ جديد",
    "code": "call foo_bar(x) or e-mail me@example.org about version 3.14",
    "captioned": f"a heron {IMAGE} at dawn",
    "image": IMAGE,
    "escaped": f"the mark \\{IMAGE} as text",
}

FINDS: list[tuple[str, str, set[str]]] = [
    ("a word", "heron", {"captioned"}),
    ("case", "HERON", {"captioned"}),
    ("without the umlaut", "koln", {"german"}),
    ("a folded letter", "STRASSE", {"german"}),
    ("decomposed", "Bru\u0308cke", {"german"}),
    ("one Japanese word", "天気", {"japanese"}),
    ("one character", "京", {"japanese", "chinese"}),
    ("the last character", "習", {"chinese"}),
    ("neighbours only", "北天", set()),
    ("a sentence", "東京の天気", {"japanese"}),
    ("full width", "\uff48\uff45\uff52\uff4f\uff4e", {"captioned"}),
    ("Korean without its ending", "서울", {"korean"}),
    ("inside a Thai sentence", "แมว", {"thai"}),
    ("Hindi with vowel signs", "हिन्दी", {"hindi"}),
    ("Arabic without points", "كتاب", {"arabic"}),
    ("an underscore", "foo_bar", {"code"}),
    ("a decimal", "3.14", {"code"}),
    ("one of several words", "heron zzz", {"captioned"}),
    ("nothing of a reference", "mm sha256 " + "ab" * 32, set()),
]

SCRIPTS: list[tuple[str, str, str]] = [
    ("Cyrillic yo", "Новогодняя ёлка в парке", "елка"),
    ("Cyrillic yo in the query", "Новогодняя елка", "ёлка"),
    ("Cyrillic stress", "за\u0301мок на горе", "замок"),
    ("Greek capitals", "ένα καφέ στην Αθήνα", "ΚΑΦΕ"),
    ("Greek without accents", "ένα καφέ στην Αθήνα", "καφε"),
    ("Greek final sigma", "ο δρόμος", "ΔΡΟΜΟΣ"),
    ("Greek dialytika", "προϊόν", "προιον"),
    ("French accents", "Crème brûlée", "creme brulee"),
    ("French ligature", "un œuf", "oeuf"),
    ("Vietnamese", "tiếng Việt", "tieng viet"),
    ("Vietnamese d", "Đà Nẵng", "Da"),
    ("Polish l", "Łódź", "lodz"),
    ("Danish o and ae", "Ærø smørrebrød", "smorrebrod"),
    ("Turkish capital I", "İstanbul'da", "istanbul"),
    ("Turkish dotless i", "ışık", "isik"),
    ("Icelandic", "Þórður", "thordur"),
    ("Maltese", "Ħamrun", "hamrun"),
    ("German sharp s", "Straße", "STRASSE"),
    ("German umlaut", "Müller", "Muller"),
    ("decomposed", "cafe\u0301", "café"),
    ("Arabic hamza", "أحمد في المدرسة", "احمد"),
    ("Arabic hamza in the query", "احمد في البيت", "أحمد"),
    ("Arabic teh marbuta", "مدرسة", "مدرسه"),
    ("Arabic alef maksura", "مصطفى", "مصطفي"),
    ("Arabic tatweel", "مــرحبا", "مرحبا"),
    ("Arabic points", "مُحَمَّد", "محمد"),
    ("Persian joiner", "می\u200cخواهم", "میخواهم"),
    ("Persian yeh and kaf", "کتاب فارسی", "كتاب"),
    ("Persian digits", "سال ۱۴۰۳", "1403"),
    ("Hebrew points", "שָׁלוֹם", "שלום"),
    ("Hindi", "हिन्दी भाषा", "हिन्दी"),
    ("Hindi nukta", "ज़मीन", "जमीन"),
    ("Hindi before a danda", "यह सच है।", "है"),
    ("Bengali", "বাংলা ভাষা", "বাংলা"),
    ("Tamil", "தமிழ் மொழி", "தமிழ்"),
    ("Thai", "ภาษาไทยง่าย", "ไทย"),
    ("Lao", "ພາສາລາວ", "ລາວ"),
    ("Khmer", "ភាសាខ្មែរ", "ខ្មែរ"),
    ("Burmese", "မြန်မာဘာသာ", "မြန်မာ"),
    ("Tibetan", "བོད་སྐད", "བོད"),
    ("Chinese", "我们在东京塔下", "东京"),
    ("Japanese, half width", "ｶﾀｶﾅ文字", "カタカナ"),
    ("Japanese, one character", "猫がいる", "猫"),
    ("Korean", "한국어를 배웁니다", "한국어"),
    ("Korean, decomposed", "\u1112\u1161\u11ab\u1100\u116e\u11a8", "한국"),
    ("Ethiopic", "ሰላም ለዓለም", "ሰላም"),
    ("Thaana", "ދިވެހި ބަސް", "ދިވެހި"),
    ("Syriac", "ܫܠܡܐ", "ܫܠܡܐ"),
    ("N'Ko", "ߒߞߏ", "ߒߞߏ"),
    ("mathematical letters", "𝐇𝐞𝐥𝐥𝐨", "hello"),
    ("soft hyphen", "co\u00adoperate", "cooperate"),
    ("zero width joiner", "क्\u200dष", "क्ष"),
    ("curly apostrophe", "don’t stop", "don't"),
    ("straight apostrophe", "don't stop", "don’t"),
    ("part of a contraction", "l’église", "eglise"),
    ("emoji", "party 🎉 tonight", "🎉"),
    ("emoji with a skin tone", "fine 👍🏽", "👍"),
    ("flag", "made in 🇩🇪", "🇩🇪"),
    ("C++", "a C++ compiler", "C++"),
    ("C#", "C# and F#", "C#"),
    ("capitals of a stop word", "the IT department", "IT"),
    ("stop words alone", "The Who live", "The Who"),
    ("German words that are English stop words", "was will er", "was will"),
    ("a letter", "Vitamin A", "A"),
    ("hyphens", "state-of-the-art", "state-of-the-art"),
    ("version number", "v1.2.3 released", "1.2.3"),
    ("version number in the query", "1.2.3 released", "v1.2.3"),
    ("mail address", "mail bob@x.org now", "bob@x.org"),
    ("ampersand", "AT&T bill", "AT&T"),
    ("hashtag", "#travel", "#travel"),
    ("underscores", "foo_bar_baz", "foo_bar_baz"),
    ("part between underscores", "foo_bar_baz", "bar"),
    ("dotted name", "numpy.linalg.norm", "linalg"),
    ("behind a NUL", "abc\0def ghi", "def"),
]
"""What must be found: a convention, the text, and the query."""

DISTINCT: list[tuple[str, str, str]] = [
    ("Cyrillic short i", "мой дом", "мои"),
    ("Ukrainian yi", "їхати", "іхати"),
    ("other words with an apostrophe", "the cat's food", "dog's"),
    ("neighbours across punctuation", "東。京", "東京"),
    ("neighbours across an underscore", "東_京", "東京"),
    ("another flag", "made in 🇩🇪", "🇪🇩"),
    ("part of a word", "strange", "range"),
]
"""What must not be found."""

NO_KEYWORDS = [
    "",
    " ",
    "?!",
    "...",
    '"',
    "'",
    "*",
    "(",
    "^ - : +",
    "_",
    "\0",
    "😀",
    IMAGE,
    "\u0301",
]

HARMLESS = [
    'heron"',
    '"heron',
    "heron*",
    "heron AND",
    "OR heron",
    "NEAR(heron",
    "words:heron",
    "-heron",
    "^heron",
    "(heron",
    "heron;--",
    "heron NOT NOT",
    "{heron}",
    "heron\0",
    "heron " * 3000,
    "heron " + " ".join(f"w{i}" for i in range(3000)),
]


class KeywordContract(ContractBase):
    """Requirements for `search_type="keyword"` and `search_type="hybrid"`."""

    @pytest.fixture
    def texts(self, store: Any) -> Any:
        """A store with `TEXTS`."""
        store.add_documents(
            Document(id=id_, page_content=text, metadata={"modality": "text"}) for id_, text in TEXTS.items()
        )
        return store

    def test_modes_are_listed(self, store: Any) -> None:
        """A store lists its search types."""
        assert store.search_types == ("similarity", "mmr", "keyword", "hybrid")

    @pytest.mark.parametrize(("query", "expected"), cases(FINDS))
    async def test_keywords_of_many_scripts_are_found(
        self, texts: Any, call: Call, query: str, expected: set[str]
    ) -> None:
        """Case, accents and width are ignored; scripts without spaces are searched by pairs of characters."""
        assert set(ids_of(await call(texts, "search", query, k=20, search_type="keyword"))) == expected

    async def test_conventions_of_writing_are_folded(self, store: Any, call: Call) -> None:
        """A text is found however its script is typed, and an equal convention gives an equal result in every store."""
        texts = {f"{name} yes": text for name, text, _ in SCRIPTS} | {f"{name} no": text for name, text, _ in DISTINCT}
        await call(store, "add_texts", list(texts.values()), ids=list(texts))
        for name, _, query in SCRIPTS:
            found = ids_of(await call(store, "search", query, k=200, search_type="keyword"))
            assert f"{name} yes" in found, name
        for name, _, query in DISTINCT:
            found = ids_of(await call(store, "search", query, k=200, search_type="keyword"))
            assert f"{name} no" not in found, name

    async def test_common_words_have_little_weight(self, store: Any, call: Call) -> None:
        """Without stop words, a document with the rare word of a query comes first, in any language."""
        texts = [f"die der und was will it the {i}" for i in range(30)] + ["der Wal taucht", "the die is cast once"]
        await call(store, "add_texts", texts, ids=[str(i) for i in range(32)])
        for query, expected in (("was will der Wal", "30"), ("is the die cast", "31")):
            assert ids_of(await call(store, "search", query, k=1, search_type="keyword")) == [expected]

    @pytest.mark.parametrize("query", NO_KEYWORDS)
    async def test_a_query_without_keywords_finds_nothing(self, texts: Any, call: Call, query: str) -> None:
        """Empty queries, punctuation, and words of no document find nothing."""
        assert await call(texts, "search", query, search_type="keyword") == []

    @pytest.mark.parametrize("query", HARMLESS, ids=lambda query: query[:15])
    async def test_no_text_is_a_syntax_error(self, texts: Any, call: Call, query: str) -> None:
        """Operators of query languages are treated as text."""
        assert "captioned" in ids_of(await call(texts, "search", query, search_type="keyword"))

    async def test_scores_are_bm25_best_first(self, animals: Any, call: Call, embedding: Any) -> None:
        """More and rarer terms give higher scores; nothing is embedded."""
        before = len(embedding.calls)
        hits = await call(animals, "search", "small black cat", k=3, search_type="keyword")
        assert set(ids_of(hits)) == {"puppy", "cat", "dog"}
        assert ids_of(hits)[-1] == "dog"
        assert [(hit.rank, hit.score_kind) for hit in hits] == [(1, "bm25"), (2, "bm25"), (3, "bm25")]
        assert hits[0].score >= hits[1].score > hits[2].score > 0
        cut = await call(
            animals, "search", "small black cat", k=3, search_type="keyword", score_threshold=hits[1].score
        )
        assert ids_of(cut) == ids_of(hits[:2])
        assert len(await call(animals, "search", "small black cat", k=1, search_type="keyword")) == 1
        assert len(embedding.calls) == before

    @pytest.mark.parametrize("search_type", ["keyword", "hybrid"])
    async def test_filters_apply(self, animals: Any, call: Call, search_type: str) -> None:
        """Filters apply to keywords as to vectors."""
        for given, expected in (
            ({"modality": "video"}, {"dog", "puppy"}),
            ({"modality": {"$ne": "video"}, "tags": "pet"}, {"cat"}),
            ({"modality": "nothing"}, set()),
        ):
            assert (
                set(ids_of(await call(animals, "search", "black", k=9, search_type=search_type, filter=given)))
                == expected
            )
        with pytest.raises(FilterError):
            await call(animals, "search", "black", search_type=search_type, filter={"a": {"eq": 1}})

    async def test_keywords_follow_every_write(self, store: Any, call: Call) -> None:
        """Replaced, updated and deleted documents are found by their current text."""
        found = {}

        async def look() -> dict[str, set[str]]:
            for word in ("cat", "dog", "fox"):
                found[word] = set(ids_of(await call(store, "search", word, search_type="keyword")))
            return found

        await call(store, "add_texts", ["cat", "dog"], ids=["1", "2"])
        assert await look() == {"cat": {"1"}, "dog": {"2"}, "fox": set()}
        await call(store, "add_texts", ["fox"], ids=["1"])
        await call(store, "update_metadata", ["2"], {"x": 1})
        assert await look() == {"cat": set(), "dog": {"2"}, "fox": {"1"}}
        await call(store, "delete", ["1"])
        assert await look() == {"cat": set(), "dog": {"2"}, "fox": set()}
        await call(store, "delete_all")
        assert await look() == {"cat": set(), "dog": set(), "fox": set()}
        await call(store, "add_texts", ["dog"], ids=["3"])
        assert await look() == {"cat": set(), "dog": {"3"}, "fox": set()}

    async def test_hybrid_is_reciprocal_rank_fusion(self, animals: Any, call: Call) -> None:
        """Each list adds 1 / (60 + rank); hits have the score kind "rank"."""
        near = ids_of(await call(animals, "search", "report summary", k=6))
        worded = ids_of(await call(animals, "search", "report summary", k=6, search_type="keyword"))
        expected = {
            id_: sum(1 / (61 + ranks.index(id_)) for ranks in (near, worded) if id_ in ranks)
            for id_ in {*near, *worded}
        }
        hits = await call(animals, "search", "report summary", k=6, search_type="hybrid")
        assert {hit.document.id: hit.score for hit in hits} == pytest.approx(expected)
        assert [hit.score for hit in hits] == sorted(expected.values(), reverse=True)
        assert [(hit.rank, hit.score_kind) for hit in hits] == [(i, "rank") for i in range(1, 7)]
        assert ids_of(hits)[0] == "summary"
        assert ids_of(await call(animals, "similarity_search", "report summary", k=6, search_type="hybrid")) == ids_of(
            hits
        )

    async def test_hybrid_weights_vectors_and_keywords(self, animals: Any, call: Call) -> None:
        """Alpha 1 gives the order of the vectors, 0 that of the keywords; scores can be fused instead of ranks."""
        query = "report summary wind"
        near = ids_of(await call(animals, "search", query, k=6))
        worded = ids_of(await call(animals, "search", query, k=6, search_type="keyword"))
        assert ids_of(await call(animals, "search", query, k=6, search_type="hybrid", alpha=1)) == near
        hits = await call(animals, "search", query, k=6, search_type="hybrid", alpha=0.0)
        assert ids_of(hits) == worded
        assert len(worded) < 6
        hits = await call(animals, "search", query, k=6, search_type="hybrid", fusion="scores")
        assert {hit.score_kind for hit in hits} == {"fused"}
        assert hits[0].score <= 1
        assert hits[0].document.id in {near[0], worded[0]}
        assert hits[0].score >= hits[1].score >= hits[-1].score >= 0
        bad: list[tuple[dict[str, Any], type[Exception], str]] = [
            ({"alpha": 1.5}, ValueError, "alpha must be a number from 0 to 1, got 1.5"),
            ({"fusion": "magic"}, ValueError, "fusion must be one of 'ranks', 'scores', got 'magic'"),
            ({"query_properties": "text"}, TypeError, "query_properties is a list"),
            ({"query_properties": ["nothing"]}, ValueError, "nothing"),
            (
                {"search_type": "similarity", "alpha": 0.5},
                ValueError,
                "alpha is an option of search_type='hybrid', got",
            ),
            (
                {"search_type": "similarity", "query_properties": ["text"]},
                ValueError,
                "query_properties is an option of search_type=",
            ),
        ]
        for options, error, message in bad:
            with pytest.raises(error, match=message):
                await call(animals, "search", query, **{"search_type": "hybrid", **options})

    async def test_a_rare_keyword_beats_a_near_vector(self, store: Any, call: Call) -> None:
        """Hybrid search finds first what only keywords can distinguish."""
        await call(store, "add_texts", [f"invoice number {i}" for i in range(300)], ids=[str(i) for i in range(300)])
        assert ids_of(await call(store, "search", "number 217", k=1, search_type="hybrid")) == ["217"]

    async def test_media_without_text_keep_their_rank(self, store: Any, call: Call) -> None:
        """An image without text keeps its rank among texts that match keywords and vector."""
        await call(store, "add_texts", [f"a black dog {i}" for i in range(100)])
        vector = store.space.embedding.embed(["a black dog"])[0]
        await call(store, "add_vectors", [Document(id="image", page_content=IMAGE)], [vector])
        assert "image" in ids_of(await call(store, "search", "a black dog", search_type="hybrid"))

    async def test_text_of_media_is_found(self, store: Any, call: Call) -> None:
        """Media are found by their current companion text, which is not part of the Document's text."""
        page = Document(id="page", page_content=IMAGE, metadata={"companion_text": f"Blue whales sing {IMAGE}"})
        await call(store, "add_documents", [page, Document(id="other", page_content="a note")])
        (hit,) = await call(store, "search", "whales", search_type="keyword")
        assert hit.document == page
        assert ids_of(await call(store, "search", "whales sing", k=1, search_type="hybrid")) == ["page"]
        await call(store, "update_metadata", {"page": {"companion_text": "Herons fly"}})
        assert await call(store, "search", "whales", search_type="keyword") == []
        assert ids_of(await call(store, "search", "herons", search_type="keyword")) == ["page"]

    async def test_a_query_with_media_uses_its_text_for_keywords(self, animals: Any, call: Call) -> None:
        """Lists, messages, blocks and Documents are read; media without text are searched by vector only."""
        for query in (
            [b"wind", "summary"],
            Query("summary", b"wind"),
            HumanMessage([{"type": "text", "text": "summary"}]).content,
        ):
            assert ids_of(await call(animals, "search", query, search_type="keyword")) == ["summary"]
        fused = await call(animals, "search", [b"a black", "dog"], k=6, search_type="hybrid")
        assert ids_of(fused)[0] == "dog"
        alone = await call(animals, "search", b"a black dog", k=6, search_type="hybrid")
        assert ids_of(alone) == ids_of(await call(animals, "search", b"a black dog", k=6))
        with pytest.raises(ContentError, match="looks for words, and the query has no text"):
            await call(animals, "search", b"a black dog", search_type="keyword")

    async def test_liked_and_unliked_documents_are_excluded(self, animals: Any, call: Call) -> None:
        """They are excluded from both lists."""
        query = Query("black", like=["dog"], unlike=["report"])
        assert set(ids_of(await call(animals, "search", query, k=9, search_type="keyword"))) == {"cat", "puppy"}
        hits = await call(animals, "search", query, k=9, search_type="hybrid")
        assert set(ids_of(hits)) == {doc.id for doc in ANIMALS} - {"dog", "report"}
        assert len(await call(animals, "search", Query(like=["dog"]), k=9, search_type="hybrid")) == len(ANIMALS) - 1

    async def test_unsupported_options_are_refused_by_name(self, animals: Any, call: Call) -> None:
        """Thresholds on ranks, tasks without embedding, cosine from keywords, keywords from a vector."""
        with pytest.raises(ValueError, match=r"score_threshold is an option of .*, got search_type='hybrid'"):
            await call(animals, "search", "dog", search_type="hybrid", score_threshold=0.5)
        with pytest.raises(ValueError, match="score_threshold must be a number from 0 "):
            await call(animals, "search", "dog", search_type="keyword", score_threshold=-1)
        with pytest.raises(ValueError, match=r"task_type='search' .* search_type='keyword' embeds nothing"):
            await call(animals, "search", "dog", search_type="keyword", task_type="search")
        for search_type in ("keyword", "hybrid"):
            with pytest.raises(ValueError, match=f"those of search_type='{search_type}' are not"):
                await call(animals, "similarity_search_with_score", "dog", search_type=search_type)
            with pytest.raises(ValueError, match=f"those of search_type='{search_type}' are not"):
                await call(animals, "similarity_search_with_relevance_scores", "dog", search_type=search_type)
            with pytest.raises(ValueError, match=f"search_type='{search_type}' needs a query with text, not a vector"):
                await call(animals, "search_by_vector", [1.0] * 16, search_type=search_type)
            with pytest.raises(ValueError, match="fetch_k is an option of search_type='mmr'"):
                await call(animals, "search", "dog", search_type=search_type, fetch_k=5)

    async def test_an_empty_store_has_no_keywords(self, store: Any, call: Call) -> None:
        """Searching before the first write is not an error."""
        for search_type in ("keyword", "hybrid"):
            assert await call(store, "search", "anything", search_type=search_type) == []
