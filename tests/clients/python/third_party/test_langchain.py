"""LangChain's `ChatAnthropic`."""

from __future__ import annotations

import pytest
from langchain_anthropic import ChatAnthropic
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool
from pydantic import BaseModel

from simulator import KEY, Simulator


@pytest.fixture
def model(sim: Simulator) -> ChatAnthropic:
    return ChatAnthropic(model="claude-haiku-4-5", max_tokens=500, base_url=sim.url, api_key=KEY)


@tool
def get_weather(city: str) -> str:
    """The weather in a city."""
    return f"7 degrees in {city}"


def test_text(model: ChatAnthropic, sim: Simulator) -> None:
    answer = model.invoke("Why do leaves turn red?")
    assert answer.content
    usage = answer.usage_metadata
    assert sim.billed() == usage["input_tokens"] * 1_000_000 + usage["output_tokens"] * 5_000_000


def test_stream(model: ChatAnthropic) -> None:
    pieces = list(model.stream("Why do leaves turn red?"))
    assert len(pieces) > 5
    assert "".join(piece.text for piece in pieces) == model.invoke("Why do leaves turn red?").text


def test_tool(model: ChatAnthropic) -> None:
    ask = HumanMessage("What is the weather in Oslo?")
    bound = model.bind_tools([get_weather])
    first = bound.invoke([ask])
    assert {call["name"] for call in first.tool_calls} == {"get_weather"}, "one or several: they may be parallel"
    results = [ToolMessage(get_weather.invoke(call["args"]), tool_call_id=call["id"]) for call in first.tool_calls]
    second = bound.invoke([ask, first, *results])
    assert not second.tool_calls and second.text


def test_structured(model: ChatAnthropic) -> None:
    class Label(BaseModel):
        label: str
        sure: bool

    assert isinstance(model.with_structured_output(Label, method="json_schema").invoke("Label this."), Label)
