"""LiteLLM, which speaks HTTP itself."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # otherwise it downloads its price table when it is imported

import litellm  # noqa: E402

from simulator import KEY, Simulator  # noqa: E402

TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather in a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


def ask(sim: Simulator, messages: list[dict[str, Any]], **more: Any) -> Any:
    return litellm.completion(
        model="anthropic/claude-haiku-4-5",
        api_base=sim.url,
        api_key=KEY,
        max_tokens=500,
        messages=messages,
        **more,
    )


LEAVES = [{"role": "user", "content": "Why do leaves turn red?"}]


def test_text(sim: Simulator) -> None:
    answer = ask(sim, LEAVES)
    assert answer.choices[0].message.content and answer.choices[0].finish_reason == "stop"
    assert sim.billed() == answer.usage.prompt_tokens * 1_000_000 + answer.usage.completion_tokens * 5_000_000


def test_stream(sim: Simulator) -> None:
    whole = ask(sim, LEAVES).choices[0].message.content
    pieces = [chunk.choices[0].delta.content or "" for chunk in ask(sim, LEAVES, stream=True)]
    assert len(pieces) > 5 and "".join(pieces) == whole


def test_tool(sim: Simulator) -> None:
    question = [{"role": "user", "content": "What is the weather in Oslo?"}]
    first = ask(sim, question, tools=[TOOL]).choices[0]
    assert first.finish_reason == "tool_calls"
    results = []
    for call in first.message.tool_calls:
        assert call.function.name == "get_weather" and "city" in json.loads(call.function.arguments)
        results.append({"role": "tool", "tool_call_id": call.id, "content": "7 degrees"})
    second = ask(sim, [*question, first.message.model_dump(), *results], tools=[TOOL])
    assert second.choices[0].message.content


def test_overload(sim: Simulator) -> None:
    sim.fault(endpoint="messages", status=429, first=1)
    with pytest.raises(litellm.RateLimitError):
        ask(sim, LEAVES, num_retries=0, max_retries=0)
