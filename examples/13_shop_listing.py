"""A shop: photo and description of an article become one vector, found by text, by a photo, or by a photo with text.

Run: python examples/13_shop_listing.py     (without GOOGLE_API_KEY it runs on the emulator)
"""

from __future__ import annotations

import os
from contextlib import ExitStack
from typing import Any

from langchain_gemini_mm import GeminiEmbeddings, LocalVectorStore, MediaStore, MultimodalRetriever
from langchain_gemini_mm.testing import GeminiEmulator, jpeg, png
from langchain_gemini_mm.testing.samples import drawings

ARTICLES = {
    "plush-puppy": (drawings.puppy(), 19, "Plush puppy, a soft and washable toy for a small child"),
    "puppy-lamp": (drawings.puppy(background="navy"), 35, "Night light in the shape of a puppy, glows warm, with USB"),
    "kitten-mug": (drawings.kitten(), 12, "Mug with a kitten, for tea or coffee, dishwasher safe"),
    "kitten-poster": (drawings.kitten(), 9, "Poster of a kitten for the wall, matt paper, size A2"),
    "bird-poster": (drawings.bird(), 9, "Poster of a blue bird for the wall, matt paper, size A2"),
    "towel": (drawings.beach(), 25, "Towel for the beach, thick cotton"),
    "apples": (drawings.apple(), 4, "Red apples, one kilogram, from the orchard next door"),
    "pizza": (drawings.pizza(), 6, "Frozen pizza with cheese and tomatoes, ready in ten minutes"),
}

with ExitStack() as stack:
    service: dict[str, Any] = {}
    if not (os.environ.get("GOOGLE_API_KEY") or os.environ.get("GEMINI_API_KEY")):
        emulator = stack.enter_context(GeminiEmulator())
        service = {"api_key": emulator.api_key, "base_url": emulator.url}
    media = MediaStore.memory()
    embeddings = stack.enter_context(GeminiEmbeddings(media=media, output_dimensionality=768, **service))
    store = stack.enter_context(LocalVectorStore(":memory:", embeddings))
    shop = MultimodalRetriever(store=store, k=2)

    listings = [
        media.document(png(image=photo), words, metadata={"modality": "image", "price": price}, id=article)
        for article, (photo, price, words) in ARTICLES.items()
    ]
    shop.add_documents(listings)
    assert store.count() == len(ARTICLES)  # one vector per photo with its text

    def found(question: Any, **options: Any) -> list[str]:
        """Return the ids of matching articles, best first."""
        ids = [str(document.id) for document in shop.invoke(question, **options)]
        shown = "a photo" if isinstance(question, bytes) else question if isinstance(question, str) else question[1]
        print(f"{shown:42} {', '.join(ids)}")
        return ids

    # By text: the description counts as much as the photo.
    assert found("a soft, washable toy for my child")[0] == "plush-puppy"
    assert found("a towel of thick cotton for the beach")[0] == "towel"

    # By a customer's photo: all articles that show the same.
    photo = jpeg("a kitten", image=drawings.kitten().crop((20, 10, 300, 230)))
    assert set(found(photo)) == {"kitten-mug", "kitten-poster"}

    # By both, as one query: the text selects among the articles in the photo.
    assert found([photo, "as a poster of matt paper, for the wall"])[0] == "kitten-poster"
    assert found([photo, "a mug for my coffee or tea"])[0] == "kitten-mug"
    assert found([photo, "a present for under ten euros"], filter={"price": {"$lt": 10}})[0] == "kitten-poster"
