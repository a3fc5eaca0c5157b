"""The Models API."""

from __future__ import annotations

import asyncio

import pytest
from anthropic import Anthropic, AsyncAnthropic, NotFoundError


def test_list_over_many_pages(client: Anthropic) -> None:
    page = client.models.list(limit=3)
    assert len(page.data) == 3 and page.has_more
    assert (page.first_id, page.last_id) == (page.data[0].id, page.data[-1].id)
    everything = [model.id for model in client.models.list(limit=1_000)]
    assert [model.id for model in page] == everything, "three at a time"
    assert len(set(everything)) == len(everything) > 10
    assert "claude-opus-5-5" in everything and "claude-haiku-4-5-20251001" in everything
    created = [model.created_at for model in client.models.list(limit=1_000)]
    assert created == sorted(created, reverse=True), "newest first"


def test_backwards(client: Anthropic) -> None:
    everything = [model.id for model in client.models.list(limit=1_000)]
    before = client.models.list(before_id=everything[5], limit=1_000)
    assert [model.id for model in before.data] == everything[:5]


def test_one(client: Anthropic) -> None:
    model = client.models.retrieve("claude-haiku-4-5")
    assert model.id == "claude-haiku-4-5-20251001" and model.display_name == "Claude Haiku 4.5"
    assert model.max_input_tokens == 200_000 and model.max_tokens == 64_000
    assert model.capabilities.batch.supported
    assert model.capabilities.thinking.types.enabled.supported
    assert not model.capabilities.thinking.types.adaptive.supported
    with pytest.raises(NotFoundError, match="no-such-model"):
        client.models.retrieve("no-such-model")


def test_beta_and_async(client: Anthropic, async_client: AsyncAnthropic) -> None:
    async def ids() -> list[str]:
        async with async_client as client:
            return [model.id async for model in client.models.list(limit=4)]

    assert [model.id for model in client.beta.models.list(limit=4)] == asyncio.run(ids())
