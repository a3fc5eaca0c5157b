"""Streams: the helper and its accumulated message, raw events, and what breaks on the way."""

from __future__ import annotations

import asyncio

import httpx2
import pytest
from anthropic import Anthropic, APIStatusError, AsyncAnthropic

from simulator import Simulator

HAIKU = "claude-haiku-4-5"
ASK = {"model": HAIKU, "max_tokens": 400, "messages": [{"role": "user", "content": "Why do leaves turn red?"}]}


def test_the_accumulated_message_is_the_one_that_create_returns(client: Anthropic, sim: Simulator) -> None:
    whole = client.messages.create(**ASK)
    billed = sim.billed()
    with client.messages.stream(**ASK) as stream:
        pieces = list(stream.text_stream)
        final = stream.get_final_message()
        assert stream.request_id.startswith("req_")
    assert len(pieces) > 5 and "".join(pieces) == whole.content[0].text
    assert final.content[0].text == whole.content[0].text
    assert final.usage.to_dict() == whole.usage.to_dict()
    assert (final.stop_reason, final.model) == (whole.stop_reason, whole.model)
    assert sim.billed() == 2 * billed, "a stream costs what an answer costs"


def test_raw_events_come_in_the_documented_order(client: Anthropic) -> None:
    events = list(client.messages.create(**ASK, stream=True))
    kinds = [event.type for event in events]
    deltas = kinds.count("content_block_delta")
    assert kinds[0] == "message_start" and kinds[1] == "content_block_start"
    assert kinds == (
        ["message_start", "content_block_start"]
        + ["content_block_delta"] * deltas
        + ["content_block_stop", "message_delta", "message_stop"]
    ), "pings are left out by the client"
    start, end = events[0].message, events[-2]
    assert start.content == [] and start.stop_reason is None
    assert start.usage.input_tokens > 0
    assert end.delta.stop_reason == "end_turn"
    assert end.usage.output_tokens >= deltas > 0, "counts are cumulative"


def test_async_streams_side_by_side(async_client: AsyncAnthropic) -> None:
    async def read(client: AsyncAnthropic) -> str:
        async with client.messages.stream(**ASK) as stream:
            return "".join([piece async for piece in stream.text_stream])

    async def all_of_them() -> list[str]:
        async with async_client as client:
            return await asyncio.gather(*(read(client) for _ in range(8)))

    texts = asyncio.run(all_of_them())
    assert len(texts) == 8 and len(set(texts)) == 1 and texts[0]


def test_max_tokens_in_a_stream(client: Anthropic) -> None:
    with client.messages.stream(**{**ASK, "max_tokens": 3}) as stream:
        final = stream.get_final_message()
    assert final.stop_reason == "max_tokens" and final.usage.output_tokens == 3


def test_beta_stream(client: Anthropic) -> None:
    with client.beta.messages.stream(**ASK, betas=["context-management-2025-06-27"]) as stream:
        assert stream.get_final_text()


def test_a_stream_that_is_left_early(client: Anthropic, sim: Simulator) -> None:
    with client.messages.stream(**ASK) as stream:
        assert next(iter(stream.text_stream))
    assert client.messages.create(**ASK).content, "the client and the simulator go on"


def test_an_error_after_the_200(client: Anthropic, sim: Simulator) -> None:
    sim.fault(endpoint="messages", effect="stream_error", first=1)
    with pytest.raises(APIStatusError) as caught, client.messages.stream(**ASK) as stream:
        stream.until_done()
    assert caught.value.type == "overloaded_error"


def test_a_stream_that_breaks_off(client: Anthropic, sim: Simulator) -> None:
    sim.fault(endpoint="messages", effect="stream_truncated", first=1)
    # The client lets its transport's own exception through here.
    with pytest.raises(httpx2.RemoteProtocolError), client.messages.stream(**ASK) as stream:
        stream.until_done()
