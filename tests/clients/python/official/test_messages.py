"""One answer at a time: create, count_tokens, keys and versions, the prompt cache."""

from __future__ import annotations

import asyncio

import pytest
from anthropic import Anthropic, AsyncAnthropic, BadRequestError

from simulator import KEY, Simulator

HAIKU = "claude-haiku-4-5"
ASK = [{"role": "user", "content": "Why do leaves turn red in autumn?"}]


def test_create(client: Anthropic, sim: Simulator) -> None:
    raw = client.messages.with_raw_response.create(model=HAIKU, max_tokens=500, messages=ASK)
    message = raw.parse()
    assert message.type == "message" and message.role == "assistant"
    assert message.id.startswith("msg_")
    assert message.model == "claude-haiku-4-5-20251001", "an alias is resolved"
    assert message.stop_reason == "end_turn"
    assert [block.type for block in message.content] == ["text"]
    assert message.content[0].text
    usage = message.usage
    assert usage.service_tier == "standard"
    assert 0 < usage.output_tokens <= 500

    assert raw.headers["request-id"].startswith("req_") and raw.request_id == raw.headers["request-id"]
    assert raw.headers["anthropic-organization-id"]
    assert raw.headers["anthropic-workspace-id"].startswith("wrkspc_")
    for kind in ["requests", "tokens", "input-tokens", "output-tokens"]:
        limit = int(raw.headers[f"anthropic-ratelimit-{kind}-limit"])
        assert 0 < int(raw.headers[f"anthropic-ratelimit-{kind}-remaining"]) <= limit
        assert raw.headers[f"anthropic-ratelimit-{kind}-reset"].endswith("Z")

    # Haiku 4.5: $1 and $5 per million tokens, in picodollars.
    assert sim.billed() == usage.input_tokens * 1_000_000 + usage.output_tokens * 5_000_000
    assert sim.bill()["calls"] == 1


def test_answers_depend_on_the_request_alone(client: Anthropic) -> None:
    ask = lambda text: client.messages.create(  # noqa: E731
        model=HAIKU, max_tokens=300, messages=[{"role": "user", "content": text}]
    )
    first, again, other = ask("one"), ask("one"), ask("two")
    assert first.content == again.content and first.usage == again.usage
    assert first.id != again.id
    assert first.content != other.content


def test_max_tokens_cuts_the_answer(client: Anthropic) -> None:
    message = client.messages.create(model=HAIKU, max_tokens=5, messages=ASK)
    assert message.stop_reason == "max_tokens"
    assert message.usage.output_tokens == 5


def test_async_create(async_client: AsyncAnthropic, sim: Simulator) -> None:
    async def ask() -> list[str]:
        async with async_client as client:
            answers = await asyncio.gather(
                *(
                    client.messages.create(
                        model=HAIKU,
                        max_tokens=200,
                        messages=[{"role": "user", "content": f"Tell me about the number {n}."}],
                    )
                    for n in range(20)
                )
            )
        return [answer.content[0].text for answer in answers]

    assert len(set(asyncio.run(ask()))) == 20
    assert sim.bill()["calls"] == 20


def test_count_tokens(client: Anthropic, sim: Simulator) -> None:
    tool = {"name": "look_up", "description": "Looks a word up.", "input_schema": {"type": "object", "properties": {}}}
    plain = client.messages.count_tokens(model=HAIKU, messages=ASK).input_tokens
    assert plain == client.messages.create(model=HAIKU, max_tokens=10, messages=ASK).usage.input_tokens
    billed = sim.billed()
    longer = client.messages.count_tokens(model=HAIKU, messages=ASK, system="Be brief.").input_tokens
    with_tool = client.messages.count_tokens(model=HAIKU, messages=ASK, tools=[tool]).input_tokens
    beta = client.beta.messages.count_tokens(model=HAIKU, messages=ASK).input_tokens
    assert plain == beta < longer < with_tool
    assert sim.billed() == billed, "counting is free"


def test_beta_namespace_and_beta_headers(client: Anthropic, sim: Simulator) -> None:
    message = client.beta.messages.create(
        model=HAIKU, max_tokens=50, messages=ASK, betas=["context-management-2025-06-27"]
    )
    assert message.content[0].type == "text"
    assert sim.requests()[-1]["path"] == "/v1/messages"
    with pytest.raises(BadRequestError, match="no-such-beta-2026-01-01"):
        client.beta.messages.create(model=HAIKU, max_tokens=50, messages=ASK, betas=["no-such-beta-2026-01-01"])


@pytest.mark.parametrize(
    "key",
    [
        {"api_key": KEY},
        {"auth_token": KEY},
        {"api_key": KEY, "default_headers": {"x-api-key": KEY}},
    ],
    ids=["api_key", "auth_token", "x-api-key"],
)
def test_key_styles(sim: Simulator, key: dict) -> None:
    with Anthropic(base_url=sim.url, **key) as client:
        client.messages.create(model=HAIKU, max_tokens=5, messages=ASK)
    assert sim.requests()[-1]["key"] == KEY[-4:], "no more of a key is kept"


def test_one_key_by_header_or_bearer_is_one_workspace(client: Anthropic, sim: Simulator) -> None:
    batch = client.messages.batches.create(
        requests=[{"custom_id": "a", "params": {"model": HAIKU, "max_tokens": 5, "messages": ASK}}]
    )
    with Anthropic(base_url=sim.url, auth_token=KEY) as same:
        assert same.messages.batches.retrieve(batch.id).id == batch.id


def test_api_versions(client: Anthropic) -> None:
    """The client speaks 2026-10-21, which has no sampling parameters; the older version still has them."""
    ask = {"model": HAIKU, "max_tokens": 5, "messages": ASK, "extra_body": {"temperature": 1}}
    with pytest.raises(BadRequestError, match="temperature"):
        client.messages.create(**ask)
    old = {"anthropic-version": "2023-06-01"}
    assert client.messages.create(**ask, extra_headers=old).content
    with pytest.raises(BadRequestError, match="anthropic-version"):
        client.messages.create(**ask, extra_headers={"anthropic-version": "2024-01-01"})


def test_prompt_cache(client: Anthropic, sim: Simulator) -> None:
    """Written once, read afterwards, gone when its time is over."""
    system = [
        {"type": "text", "text": "Know all about leaves. " * 1_500, "cache_control": {"type": "ephemeral", "ttl": "1h"}}
    ]

    def ask(text: str):
        return client.messages.create(
            model=HAIKU, max_tokens=5, system=system, messages=[{"role": "user", "content": text}]
        ).usage

    first = ask("one")
    assert first.cache_creation_input_tokens > 4096 and first.cache_read_input_tokens == 0
    assert first.cache_creation.ephemeral_1h_input_tokens == first.cache_creation_input_tokens
    sim.advance(minutes=50)
    second = ask("two")
    assert second.cache_read_input_tokens == first.cache_creation_input_tokens
    assert second.cache_creation_input_tokens == 0
    sim.advance(hours=2)
    assert ask("three").cache_read_input_tokens == 0


def test_prewarming(client: Anthropic, sim: Simulator) -> None:
    """`max_tokens: 0` writes the cache and says nothing."""
    system = [{"type": "text", "text": "Know all about leaves. " * 1_500, "cache_control": {"type": "ephemeral"}}]
    warm = client.messages.create(model=HAIKU, max_tokens=0, system=system, messages=ASK)
    assert warm.content == [] and warm.stop_reason == "max_tokens"
    assert warm.usage.output_tokens == 0 and warm.usage.cache_creation_input_tokens > 4096
    sim.advance(seconds=5)  # what is written can be read once the answer has begun
    asked = client.messages.create(model=HAIKU, max_tokens=5, system=system, messages=ASK)
    assert asked.usage.cache_read_input_tokens == warm.usage.cache_creation_input_tokens
