"""Quotas, with a clock that is set by the test."""

from __future__ import annotations

import pytest
from google.genai import errors
from google.genai.types import Content, Part

MODEL = "gemini-embedding-2"


class Clock:
    """A clock that is set by the test."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        """Seconds."""
        return self.now


@pytest.fixture
def clock(emulator):
    """The clock of the emulator."""
    emulator.settings.clock = Clock()
    return emulator.settings.clock


@pytest.fixture
def embed(client, clock):
    """Embeds a number of contents; raises if the quota is exhausted."""

    def call(count: int, words: str = "a") -> int:
        contents = [Content(parts=[Part(text=words)]) for _ in range(count)]
        return len(client.models.embed_content(model=MODEL, contents=contents).embeddings)

    return call


def test_every_item_of_a_batch_counts(emulator, embed):
    """With 100 requests per minute a batch of 60 goes through, the next does not, one of 40 does."""
    emulator.settings.rpm = 100
    assert embed(60) == 60
    with pytest.raises(errors.ClientError):
        embed(60)
    assert embed(40) == 40
    assert emulator.embedded == 100


def test_body_of_a_429(emulator, embed, clock):
    """The answer holds Help, QuotaFailure with metric, id and value, and RetryInfo in whole seconds."""
    emulator.settings.rpm = 100
    embed(100)
    clock.now += 26.62
    with pytest.raises(errors.ClientError, match=r"Please retry in 33\.38s") as caught:
        embed(1)
    assert (caught.value.code, caught.value.status) == (429, "RESOURCE_EXHAUSTED")
    help_, failure, retry = caught.value.details["error"]["details"]
    assert help_["@type"] == "type.googleapis.com/google.rpc.Help"
    assert failure["@type"] == "type.googleapis.com/google.rpc.QuotaFailure"
    (violation,) = failure["violations"]
    assert violation["quotaId"] == "EmbedContentRequestsPerMinutePerUserPerProjectPerModel-FreeTier"
    assert violation["quotaMetric"] == "generativelanguage.googleapis.com/embed_content_free_tier_requests"
    assert violation["quotaValue"] == "100"
    assert retry == {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "33s"}


def test_quota_is_available_again(emulator, embed, clock):
    """The quota is available again after a minute, and not earlier."""
    emulator.settings.rpm = 10
    embed(10)
    clock.now += 59.9
    with pytest.raises(errors.ClientError):
        embed(1)
    clock.now += 0.2
    assert embed(10) == 10


def test_minute_can_be_short(emulator, embed, clock):
    """`minute` sets the seconds of a quota minute; short delays are in milliseconds."""
    emulator.settings.rpm, emulator.settings.minute = 1, 0.5
    embed(1)
    with pytest.raises(errors.ClientError) as caught:
        embed(1)
    assert caught.value.details["error"]["details"][2]["retryDelay"] == "0.500s"


def test_daily_quota_names_itself(emulator, embed, clock):
    """The error of a daily quota has PerDay, and a short delay."""
    emulator.settings.rpd = 5
    embed(5)
    with pytest.raises(errors.ClientError) as caught:
        embed(1)
    _, failure, retry = caught.value.details["error"]["details"]
    assert "PerDay" in failure["violations"][0]["quotaId"]
    assert retry["retryDelay"] == "33s"


def test_tokens_per_minute(emulator, embed):
    """Tokens of the inputs count too."""
    emulator.settings.tpm = 100
    assert embed(1, "x" * 400) == 1
    with pytest.raises(errors.ClientError, match="input_token_count, limit: 100"):
        embed(1)


def test_refused_calls_use_no_quota(emulator, embed):
    """A request that is refused for another reason is not counted."""
    emulator.settings.rpm = 1
    with pytest.raises(errors.ClientError, match="empty Part"):
        embed(1, "")
    assert embed(1) == 1


def test_fixed_minutes(emulator, embed, clock):
    """With fixed windows, the quota is whole again at the next minute of the clock."""
    emulator.settings.rpm, emulator.settings.quota_window = 10, "fixed"
    clock.now = 60 * 20 - 0.5
    embed(10)
    with pytest.raises(errors.ClientError, match=r"retry in 0\.5s"):
        embed(1)
    clock.now += 0.5
    assert embed(10) == 10


def test_a_bucket_refills_continuously(emulator, embed, clock):
    """With a bucket, a sixth of the amount is available after ten seconds, and never more than the amount."""
    emulator.settings.rpm, emulator.settings.quota_window = 60, "bucket"
    embed(60)
    clock.now += 10
    with pytest.raises(errors.ClientError, match=r"retry in 1s"):
        embed(11)
    assert embed(10) == 10
    clock.now += 600
    with pytest.raises(errors.ClientError):
        embed(61)
    assert embed(60) == 60


def test_retry_after_as_a_header(emulator, embed, clock):
    """As behind a gateway, the delay is a header in whole seconds and not in the body."""
    emulator.settings.rpm, emulator.settings.retry_after_header = 10, True
    embed(10)
    clock.now += 20.5
    with pytest.raises(errors.ClientError) as caught:
        embed(1)
    assert caught.value.response.headers["retry-after"] == "40"
    assert len(caught.value.details["error"]["details"]) == 2


def test_each_model_has_its_own_quota(emulator, client, embed):
    """What one model used is not missing for another."""
    emulator.settings.rpm = 10
    embed(10)
    content = Content(parts=[Part(text="a")])
    assert client.models.embed_content(model="gemini-embedding-001", contents=[content]).embeddings
