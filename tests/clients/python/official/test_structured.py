"""Structured outputs through the client's helper: what comes back is a value of the asked-for type."""

from __future__ import annotations

import enum

import pytest
from anthropic import Anthropic, BadRequestError
from pydantic import BaseModel

HAIKU = "claude-haiku-4-5"
ASK = [{"role": "user", "content": "Take down this order: two red pens for Ada, in a hurry."}]


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Item(BaseModel):
    name: str
    colour: Colour
    count: int


class Order(BaseModel):
    customer: str
    urgent: bool
    items: list[Item]
    note: str | None
    discount: float | None = None


def test_parse(client: Anthropic) -> None:
    message = client.messages.parse(model=HAIKU, max_tokens=2_000, messages=ASK, output_format=Order)
    assert message.stop_reason == "end_turn"
    order = message.parsed_output
    assert isinstance(order, Order)
    assert order == Order.model_validate_json(message.content[0].text)
    again = client.messages.parse(model=HAIKU, max_tokens=2_000, messages=ASK, output_format=Order)
    assert again.parsed_output == order


def test_stream(client: Anthropic) -> None:
    with client.messages.stream(model=HAIKU, max_tokens=2_000, messages=ASK, output_format=Order) as stream:
        final = stream.get_final_message()
    assert isinstance(final.parsed_output, Order)


def test_beta_parse(client: Anthropic) -> None:
    message = client.beta.messages.parse(model=HAIKU, max_tokens=2_000, messages=ASK, output_format=Order)
    assert isinstance(message.parsed_output, Order)


def test_a_schema_that_is_not_taken(client: Anthropic) -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}}
    with pytest.raises(BadRequestError, match="additionalProperties"):
        client.messages.create(
            model=HAIKU,
            max_tokens=50,
            messages=ASK,
            output_config={"format": {"type": "json_schema", "schema": schema}},
        )
