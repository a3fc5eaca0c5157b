"""Thinking: as a block before the answer, in a stream, sent back, and where it is refused."""

from __future__ import annotations

import pytest
from anthropic import Anthropic, BadRequestError

ASK = [{"role": "user", "content": "How many primes are there below thirty?"}]
ON = {"type": "enabled", "budget_tokens": 1_024, "display": "summarized"}


def test_thinking_and_its_way_back(client: Anthropic) -> None:
    first = client.messages.create(model="claude-haiku-4-5", max_tokens=4_000, thinking=ON, messages=ASK)
    assert [block.type for block in first.content] == ["thinking", "text"]
    thinking = first.content[0]
    assert thinking.thinking and thinking.signature
    details = first.usage.output_tokens_details
    assert 0 < details.thinking_tokens < first.usage.output_tokens
    conversation = [
        *ASK,
        {"role": "assistant", "content": first.content},
        {"role": "user", "content": "And below fifty?"},
    ]
    second = client.messages.create(model="claude-haiku-4-5", max_tokens=4_000, thinking=ON, messages=conversation)
    assert second.content[-1].type == "text"

    changed = [{**block.to_dict(), "signature": "changed"} if block.type == "thinking" else block for block in first.content]
    conversation[1] = {"role": "assistant", "content": changed}
    with pytest.raises(BadRequestError, match="signature"):
        client.messages.create(model="claude-haiku-4-5", max_tokens=4_000, thinking=ON, messages=conversation)


def test_adaptive(client: Anthropic) -> None:
    message = client.messages.create(
        model="claude-opus-5-5",
        max_tokens=4_000,
        thinking={"type": "adaptive", "display": "summarized"},
        output_config={"effort": "high"},
        messages=ASK,
    )
    assert message.content[-1].type == "text"


def test_stream(client: Anthropic) -> None:
    ask = {"model": "claude-haiku-4-5", "max_tokens": 4_000, "thinking": ON, "messages": ASK}
    whole = client.messages.create(**ask)
    seen: list[str] = []
    with client.messages.stream(**ask) as stream:
        for event in stream:
            if event.type in ("thinking", "signature", "text"):
                seen.append(event.type)
        final = stream.get_final_message()
    assert final.content[0].to_dict() == whole.content[0].to_dict(), "signature and all"
    assert final.content[1].text == whole.content[1].text
    order = [kind for at, kind in enumerate(seen) if at == 0 or seen[at - 1] != kind]
    assert order == ["thinking", "signature", "text"]


def test_which_model_takes_what(client: Anthropic) -> None:
    for model, thinking in [
        ("claude-opus-5-5", {"type": "enabled", "budget_tokens": 1_024}),
        ("claude-opus-5-5", {"type": "disabled"}),
        ("claude-haiku-4-5", {"type": "adaptive"}),
    ]:
        with pytest.raises(BadRequestError, match="not supported"):
            client.messages.create(model=model, max_tokens=2_000, thinking=thinking, messages=ASK)
