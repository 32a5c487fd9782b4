"""The table of the modalities that chat models accept, and how the row of a model is found."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
from langchain_core.language_models import FakeListChatModel
from langchain_core.runnables import RunnableLambda

from langchain_gemini_mm.interfaces import Modality
from langchain_gemini_mm.rendering import ACCEPTS, Accepts, accepts_of

MODALITIES: tuple[Modality, ...] = ("image", "audio", "video", "pdf")
TAKEN: dict[str, tuple[str, str]] = {
    "gemini": ("image audio video pdf", "image audio video pdf"),
    "openai": ("image pdf", ""),
    "openai-responses": ("image pdf", "image pdf"),
    "openai-audio": ("audio", ""),
    "anthropic": ("image pdf", "image pdf"),
    "bedrock": ("image", "image"),
    "mistral": ("image", ""),
    "groq": ("image", ""),
    "ollama": ("image", ""),
    "litellm": ("image", ""),
    "openrouter": ("image", ""),
    "openai-compatible": ("image", ""),
    "text": ("", ""),
}


@pytest.mark.parametrize("name", ACCEPTS)
def test_the_table(name: str) -> None:
    """Each family accepts its modalities in messages, and in results of tools those that its converter passes on."""
    in_messages, in_tools = TAKEN[name]
    row = ACCEPTS[name]
    assert [modality for modality in MODALITIES if row.takes(modality)] == in_messages.split()
    assert [modality for modality in MODALITIES if row.takes(modality, "tool")] == in_tools.split()
    assert bool(row.sources) == bool(row.max_bytes) == bool(in_messages)
    assert all("read 20" in source for source in row.sources)


SHOWN = {"image": "images", "audio": "audio", "video": "video", "pdf": "PDF"}


def test_the_page_shows_the_table() -> None:
    """The table in the docs equals the table in the code."""
    page = (Path(__file__).parents[2] / "docs" / "rendering.md").read_text(encoding="utf-8")
    for row in ACCEPTS.values():
        cells = [
            ", ".join(sorted(modality.partition("/")[2].upper() for modality in row.types(modality))) or "-"
            for modality in MODALITIES
        ]
        tools = ", ".join(SHOWN[modality] for modality in MODALITIES if row.takes(modality, "tool")) or "text only"
        assert f"| `{row.name}` | {' | '.join(cells)} | {tools} | {row.max_bytes // 1_000_000} MB |" in page


def chat_models() -> dict[str, tuple[Any, str]]:
    """Chat models of packages in every environment, with their family."""
    from langchain_anthropic import ChatAnthropic
    from langchain_openai import AzureChatOpenAI, ChatOpenAI

    class Ours(ChatOpenAI):
        pass

    gpt = ChatOpenAI(model="gpt-4o", api_key="x")
    azure = AzureChatOpenAI(azure_endpoint="https://example.org", api_version="1", azure_deployment="d", api_key="x")
    return {
        "ChatOpenAI": (gpt, "openai"),
        "a subclass of somebody": (Ours(model="gpt-4o", api_key="x"), "openai"),
        "Azure": (azure, "openai"),
        "with tools": (gpt.bind_tools([]), "openai"),
        "with settings": (gpt.with_config(tags=["a"]), "openai"),
        "with fallbacks": (gpt.with_fallbacks([gpt]), "openai"),
        "the Responses API": (ChatOpenAI(model="gpt-4o", api_key="x", use_responses_api=True), "openai-responses"),
        "ChatAnthropic": (ChatAnthropic(model="claude-sonnet-4-5", api_key="x"), "anthropic"),
        "a fake": (FakeListChatModel(responses=["x"]), "text"),
        "no model at all": (RunnableLambda(str), "text"),
    }


@pytest.mark.parametrize("name", chat_models())
def test_chat_models_find_their_row(name: str) -> None:
    """The family of a model is found by its package, also inside LangChain wrappers."""
    model, expected = chat_models()[name]
    assert accepts_of(model).name == expected


def test_subclasses_in_other_packages_are_another_service() -> None:
    """Packages that reuse OpenAI's classes for other services do not get its family."""
    from langchain_openai import ChatOpenAI

    other = type("ChatElsewhere", (ChatOpenAI,), {"__module__": "langchain_elsewhere.chat_models"})
    assert accepts_of(other(model="qwen3-vl", api_key="x")).name == "openai-compatible"
    assert accepts_of(other(model="words-only", api_key="x")).name == "text"


class Served(FakeListChatModel):
    """A chat model with a name."""

    model: str = ""


def of_package(class_name: str, package: str, model: str, **fields: Any) -> Any:
    """A chat model as that of a package that is not installed: its class, module, name and profile."""
    made = type(class_name, (Served,), {"__module__": f"{package}.chat_models"})
    return made(responses=["x"], model=model, **fields)


SERVED: dict[str, tuple[str, str, str, str]] = {
    "ollama, seeing": ("ChatOllama", "langchain_ollama", "qwen3-vl:8b", "ollama"),
    "ollama, gemma": ("ChatOllama", "langchain_ollama", "gemma3:27b", "ollama"),
    "ollama, llava": ("ChatOllama", "langchain_ollama", "llava", "ollama"),
    "ollama, text": ("ChatOllama", "langchain_ollama", "llama3.1", "text"),
    "mistral": ("ChatMistralAI", "langchain_mistralai", "pixtral-large-latest", "mistral"),
    "mistral, text": ("ChatMistralAI", "langchain_mistralai", "codestral-latest", "text"),
    "groq": ("ChatGroq", "langchain_groq", "meta-llama/llama-4-scout-17b-16e-instruct", "groq"),
    "groq, text": ("ChatGroq", "langchain_groq", "llama-3.3-70b-versatile", "text"),
    "bedrock": ("ChatBedrockConverse", "langchain_aws", "anthropic.claude-sonnet-4-5-v1:0", "bedrock"),
    "bedrock, text": ("ChatBedrockConverse", "langchain_aws", "amazon.nova-micro-v1:0", "text"),
    "bedrock by Anthropic's class": ("ChatAnthropicBedrock", "langchain_aws", "claude-sonnet-4-5", "anthropic"),
    "litellm": ("ChatLiteLLM", "langchain_litellm", "gemini/gemini-2.5-flash", "litellm"),
    "litellm, text": ("ChatLiteLLM", "langchain_litellm", "deepseek/deepseek-chat", "text"),
    "openrouter": ("ChatOpenRouter", "langchain_openrouter", "qwen/qwen2.5-vl-72b-instruct", "openrouter"),
    "another package": ("ChatOther", "langchain_other", "qwen3-vl", "text"),
}


@pytest.mark.parametrize("name", SERVED)
def test_models_of_other_packages(name: str) -> None:
    """Packages that serve many models are known; the name of a model tells whether it sees."""
    class_name, package, model, expected = SERVED[name]
    assert accepts_of(of_package(class_name, package, model)).name == expected


def test_the_profile_decides_before_the_name() -> None:
    """A LangChain profile that says whether a model sees is believed more than its name."""
    blind = of_package("ChatOllama", "langchain_ollama", "qwen3-vl-profile", profile={"image_inputs": False})
    seeing = of_package("ChatOllama", "langchain_ollama", "ours", profile={"image_inputs": True})
    assert (accepts_of(blind).name, accepts_of(seeing).name) == ("text", "ollama")


SERVERS = {
    "http://localhost:8000/v1": "openai-compatible",
    "https://api.openai.com/v1": "openai",
    "https://eu.api.openai.com/v1": "openai",
    "https://ours.openai.azure.com": "openai",
    "https://openai.com.example.org/v1": "openai-compatible",
}


@pytest.mark.parametrize("url", SERVERS)
def test_the_address_tells_other_servers_from_openai(url: str) -> None:
    """`ChatOpenAI` with the address of another server, such as vLLM, gets the row of compatible servers."""
    from langchain_openai import ChatOpenAI

    assert accepts_of(ChatOpenAI(model="gpt-4o", api_key="x", base_url=url)).name == SERVERS[url]


def test_models_that_get_text_alone_are_reported_once(caplog: pytest.LogCaptureFixture) -> None:
    """A model that is not known to see is named in the log, once, with the way out; named rows are not."""
    model = of_package("ChatOllama", "langchain_ollama", "words-of-wisdom")
    with caplog.at_level(logging.WARNING, "langchain_gemini_mm"):
        for _ in range(3):
            accepts_of(model)
        accepts_of("text")
    (record,) = caplog.records
    assert "ChatOllama 'words-of-wisdom'" in record.getMessage()
    assert "model=" in record.getMessage()


def test_a_profile_restricts_its_family() -> None:
    """Modalities that the LangChain profile of a model denies are not sent."""
    from langchain_openai import ChatOpenAI

    blind = accepts_of(ChatOpenAI(model="gpt-3.5-turbo", api_key="x"))
    assert not any(blind.takes(modality) for modality in MODALITIES)
    profile = {"image_inputs": False, "audio_inputs": True, "pdf_inputs": False}
    hearing = accepts_of(ChatOpenAI(model="gpt-audio", api_key="x", profile=profile))
    assert [modality for modality in MODALITIES if hearing.takes(modality)] == ["audio"]


def test_invalid_models_are_refused() -> None:
    """An unknown family, None, and a row without a convertible type are refused."""
    with pytest.raises(ValueError, match=r"'gemini', 'openai'.*got 'gpt'"):
        accepts_of("gpt")
    with pytest.raises(TypeError, match="NoneType"):
        accepts_of(None)
    with pytest.raises(ValueError, match="image/png"):
        Accepts(name="odd", image=frozenset({"image/webp"}))
    own = Accepts(name="own", image=frozenset({"image/png"}), max_bytes=1_000_000)
    assert accepts_of(own) is own
