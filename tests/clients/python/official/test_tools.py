"""Tools: the loop by hand, by the client's runner, and in a stream."""

from __future__ import annotations

import json

import pytest
from anthropic import Anthropic, BadRequestError, beta_tool

from simulator import Simulator

HAIKU = "claude-haiku-4-5"
WEATHER = {
    "name": "get_weather",
    "description": "The weather in a city.",
    "input_schema": {
        "type": "object",
        "properties": {
            "city": {"type": "string"},
            "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]},
            "days": {"type": "integer"},
        },
        "required": ["city", "unit"],
    },
}
ASK = [{"role": "user", "content": "What is the weather in Oslo?"}]


def calls_of(message):
    """One or several: they may be parallel."""
    assert message.stop_reason == "tool_use"
    calls = [block for block in message.content if block.type == "tool_use"]
    for call in calls:
        assert call.id.startswith("toolu_") and call.name == "get_weather"
        assert isinstance(call.input["city"], str) and call.input["unit"] in ("celsius", "fahrenheit")
    return calls


def test_loop(client: Anthropic, sim: Simulator) -> None:
    """The model calls the tool, the result goes back, text comes."""
    first = client.messages.create(model=HAIKU, max_tokens=500, tools=[WEATHER], messages=ASK)
    results = [{"type": "tool_result", "tool_use_id": call.id, "content": "7 degrees, rain"} for call in calls_of(first)]
    conversation = [*ASK, {"role": "assistant", "content": first.content}, {"role": "user", "content": results}]
    second = client.messages.create(model=HAIKU, max_tokens=500, tools=[WEATHER], messages=conversation)
    assert second.stop_reason == "end_turn" and second.content[-1].type == "text"
    assert second.usage.input_tokens > first.usage.input_tokens
    assert sim.bill()["calls"] == 2


def test_a_call_without_its_result_is_refused(client: Anthropic) -> None:
    first = client.messages.create(model=HAIKU, max_tokens=500, tools=[WEATHER], messages=ASK)
    conversation = [*ASK, {"role": "assistant", "content": first.content}, {"role": "user", "content": "Well?"}]
    with pytest.raises(BadRequestError, match="tool_use.*ids were found without.*tool_result"):
        client.messages.create(model=HAIKU, max_tokens=500, tools=[WEATHER], messages=conversation)


def test_the_clients_own_runner(client: Anthropic) -> None:
    asked: list[str] = []

    @beta_tool
    def get_weather(city: str) -> str:
        """The weather in a city.

        Args:
            city: Its name.
        """
        asked.append(city)
        return json.dumps({"degrees": 7})

    runner = client.beta.messages.tool_runner(model=HAIKU, max_tokens=500, tools=[get_weather], messages=ASK)
    final = runner.until_done()
    assert asked
    assert final.stop_reason == "end_turn" and final.content[-1].text


def test_a_call_in_a_stream(client: Anthropic) -> None:
    one = {"type": "auto", "disable_parallel_tool_use": True}
    ask = {"model": HAIKU, "max_tokens": 500, "tools": [WEATHER], "tool_choice": one, "messages": ASK}
    (whole,) = calls_of(client.messages.create(**ask))
    pieces = []
    with client.messages.stream(**ask) as stream:
        for event in stream:
            if event.type == "input_json":
                pieces.append(event.partial_json)
        final = stream.get_final_message()
    (call,) = calls_of(final)
    assert json.loads("".join(pieces)) == call.input == whole.input
    assert call.id == whole.id


def test_tool_choice(client: Anthropic) -> None:
    none = client.messages.create(
        model=HAIKU, max_tokens=500, tools=[WEATHER], tool_choice={"type": "none"}, messages=ASK
    )
    assert none.stop_reason == "end_turn"
    forced = client.messages.create(
        model=HAIKU, max_tokens=500, tools=[WEATHER], tool_choice={"type": "tool", "name": "get_weather"}, messages=ASK
    )
    assert calls_of(forced)
    with pytest.raises(BadRequestError, match="not supported for this model"):
        client.messages.create(
            model="claude-opus-5-5", max_tokens=500, tools=[WEATHER], tool_choice={"type": "any"}, messages=ASK
        )
