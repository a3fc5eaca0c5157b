"""Batches: a day of them in a moment."""

from __future__ import annotations

import asyncio

import pytest
from anthropic import Anthropic, AnthropicError, AsyncAnthropic, BadRequestError, NotFoundError

from simulator import Simulator

HAIKU = "claude-haiku-4-5"


def row(custom_id: str, **changes) -> dict:
    params = {
        "model": HAIKU,
        "max_tokens": 100,
        "messages": [{"role": "user", "content": f"Label document {custom_id}."}],
    }
    return {"custom_id": custom_id, "params": {**params, **changes}}


def test_create_poll_results_delete(client: Anthropic, sim: Simulator) -> None:
    batch = client.messages.batches.create(requests=[*(row(f"r{n}") for n in range(30)), row("bad", model="no-such")])
    assert batch.id.startswith("msgbatch_") and batch.processing_status == "in_progress"
    assert batch.request_counts.processing == 31 and batch.results_url is None
    assert (batch.expires_at - batch.created_at).total_seconds() == 24 * 3600

    with pytest.raises(AnthropicError, match="results_url"):
        client.messages.batches.results(batch.id)
    with pytest.raises(BadRequestError, match="In progress batches cannot be deleted"):
        client.messages.batches.delete(batch.id)

    polls = 0
    while batch.processing_status != "ended":
        sim.advance(minutes=1)
        batch = client.messages.batches.retrieve(batch.id)
        polls += 1
    assert 1 < polls < 25, "most batches end within an hour"
    counts = batch.request_counts
    assert (counts.succeeded, counts.errored, counts.processing) == (30, 1, 0)
    assert batch.ended_at is not None and batch.results_url.startswith(sim.url)

    results = {result.custom_id: result.result for result in client.messages.batches.results(batch.id)}
    assert results.keys() == {"bad", *(f"r{n}" for n in range(30))}
    assert results["bad"].type == "errored" and results["bad"].error.error.type == "not_found_error"
    cost = 0
    for custom_id, result in results.items():
        if custom_id != "bad":
            usage = result.message.usage
            assert usage.service_tier == "batch"
            cost += usage.input_tokens * 500_000 + usage.output_tokens * 2_500_000
    assert sim.billed() == cost, "half of every price, and nothing for the row that failed"

    deleted = client.messages.batches.delete(batch.id)
    assert (deleted.id, deleted.type) == (batch.id, "message_batch_deleted")
    with pytest.raises(NotFoundError):
        client.messages.batches.retrieve(batch.id)


def test_rows_come_in_any_order_and_once(client: Anthropic, sim: Simulator) -> None:
    names = [f"r{n}" for n in range(200)]
    batch = client.messages.batches.create(requests=[row(name) for name in names])
    sim.advance(hours=1)
    ids = [result.custom_id for result in client.messages.batches.results(batch.id)]
    assert sorted(ids) == sorted(names) and ids != names


def test_cancel(client: Anthropic, sim: Simulator) -> None:
    batch = client.messages.batches.create(requests=[row(f"r{n}") for n in range(500)])
    canceling = client.messages.batches.cancel(batch.id)
    assert canceling.processing_status == "canceling" and canceling.cancel_initiated_at is not None
    sim.advance(minutes=2)
    ended = client.messages.batches.retrieve(batch.id)
    assert ended.processing_status == "ended" and ended.request_counts.canceled == 500
    assert {result.result.type for result in client.messages.batches.results(batch.id)} == {"canceled"}
    assert sim.billed() == 0


def test_list_over_many_pages(client: Anthropic) -> None:
    made = [client.messages.batches.create(requests=[row("a")]).id for _ in range(110)]
    page = client.messages.batches.list()
    assert len(page.data) == 20 and page.has_more
    assert [batch.id for batch in page] == made[::-1], "six pages, newest first"
    before = client.messages.batches.list(before_id=made[100], limit=4)
    assert [batch.id for batch in before.data] == made[101:105][::-1] and before.has_more


def test_async(async_client: AsyncAnthropic, sim: Simulator) -> None:
    async def day() -> list[str]:
        async with async_client as client:
            batch = await client.messages.batches.create(requests=[row(f"r{n}") for n in range(10)])
            await asyncio.to_thread(sim.advance, hours=1)
            return [result.result.type async for result in await client.messages.batches.results(batch.id)]

    assert asyncio.run(day()) == ["succeeded"] * 10


def test_beta_namespace(client: Anthropic, sim: Simulator) -> None:
    batch = client.beta.messages.batches.create(
        requests=[row("long", model="claude-opus-5-5", max_tokens=300_000)], betas=["output-300k-2026-03-24"]
    )
    sim.advance(hours=2)
    (result,) = client.beta.messages.batches.results(batch.id)
    assert result.result.type == "succeeded"


def test_everything_a_row_may_hold(client: Anthropic, sim: Simulator) -> None:
    schema = {
        "type": "object",
        "properties": {"label": {"enum": ["a", "b"]}},
        "required": ["label"],
        "additionalProperties": False,
    }
    tool = {"name": "label", "input_schema": {"type": "object", "properties": {"label": {"type": "string"}}}}
    rows = [
        row("structured", output_config={"format": {"type": "json_schema", "schema": schema}}),
        row("tool", max_tokens=500, tools=[tool]),
        row("thinking", max_tokens=4_000, thinking={"type": "enabled", "budget_tokens": 1_024}),
        row("stream", stream=True),
        row("prewarm", max_tokens=0),
    ]
    batch = client.messages.batches.create(requests=rows)
    sim.advance(hours=1)
    results = {result.custom_id: result.result for result in client.messages.batches.results(batch.id)}
    assert results["structured"].message.content[0].text in ('{"label":"a"}', '{"label":"b"}')
    assert results["tool"].message.stop_reason == "tool_use"
    assert [block.type for block in results["thinking"].message.content] == ["thinking", "text"]
    assert results["stream"].type == results["prewarm"].type == "errored"


def test_a_batch_outlives_its_results(client: Anthropic, sim: Simulator) -> None:
    batch = client.messages.batches.create(requests=[row("a")])
    sim.advance(hours=30 * 24)
    assert client.messages.batches.retrieve(batch.id).archived_at is not None
    with pytest.raises((NotFoundError, AnthropicError)):
        list(client.messages.batches.results(batch.id))


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([], "at least 1 item"),
        ([row("a"), row("a")], "must be unique"),
        ([row("a" * 65)], "at most 64"),
        ([row("a b")], "should match pattern"),
    ],
)
def test_what_is_refused_at_once(client: Anthropic, rows: list, words: str) -> None:
    with pytest.raises(BadRequestError, match=words):
        client.messages.batches.create(requests=rows)
