"""Reasoning that only its maker can read: the conversation goes back there, and where it cannot, it
goes on without it. Two providers, each of which refuses what the other has sealed."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from reliability_support import provider

from support.server import Server
from support.upstream import Reply, ScriptedProvider, Seen, error_reply


def sealing(name: str) -> Any:
    """A provider of Responses that seals its reasoning and opens only its own."""

    def script(seen: Seen) -> Reply:
        for item in seen.json["input"]:
            sealed = item.get("encrypted_content") if isinstance(item, dict) else None
            if sealed and not sealed.startswith(name):
                message = "The encrypted content could not be verified."
                return error_reply(400, message, code="invalid_encrypted_content")
        output = [
            {"type": "reasoning", "id": "r1", "summary": [], "encrypted_content": f"{name}-state"},
            {
                "type": "message",
                "id": "m1",
                "role": "assistant",
                "status": "completed",
                "content": [{"type": "output_text", "text": name, "annotations": []}],
            },
        ]
        body = {
            "id": "resp_1",
            "object": "response",
            "created_at": 1,
            "status": "completed",
            "model": "m",
            "output": output,
            "usage": {"input_tokens": 10, "output_tokens": 5, "total_tokens": 15},
        }
        return Reply(
            headers=(("content-type", "application/json"),),
            steps=[json.dumps(body).encode()],
            framing="length",
        )

    return script


def file(name: str, url: str, model: str = "acme/one") -> str:
    text = provider(name, url, model=model)
    return text.replace('dialect = "openai_chat"', 'dialect = "openai_responses"')


def text_of(answer: Any) -> str:
    found: str = next(i["content"][0]["text"] for i in answer["output"] if i["type"] == "message")
    return found


async def test_a_conversation_goes_on_where_its_state_cannot_be_read() -> None:
    async with ScriptedProvider(sealing("aa")) as aa, ScriptedProvider(sealing("bb")) as bb:
        files = {
            "aa": file("aa", aa.base_url),
            "bb": file("bb", bb.base_url),
            "two": file("cc", aa.base_url, "acme/two"),
        }
        with Server(providers=files) as server:

            async def ask(said: list[Any], model: str = "acme/one", **wishes: Any) -> Any:
                body = {"model": model, "input": said, "provider": wishes}
                status, answer, headers = await asyncio.to_thread(
                    server.ask, "POST", "/responses", body
                )
                assert status == 200, answer
                id = headers["x-generation-id"]
                _, kept, _ = await asyncio.to_thread(server.ask, "GET", f"/generation?id={id}")
                return text_of(answer), answer["output"], kept["data"]["tollway"]["dropped"]

            first = [{"role": "user", "content": "Think"}]
            text, output, lost = await ask(first, only=["bb"])
            assert (text, lost) == ("bb", [])
            turn = [*first, *output, {"role": "user", "content": "Go on"}]
            lost_state = ["reasoning state of another provider"]

            for _ in range(6):
                assert (await ask(turn))[0] == "bb", "where its state is read"
            assert (await ask(turn, ignore=["bb"]))[::2] == ("aa", lost_state)
            assert (await ask(turn, order=["aa"], allow_fallbacks=False))[::2] == ("aa", lost_state)
            assert (await ask(turn, model="acme/two"))[::2] == ("aa", lost_state)

            await asyncio.to_thread(server.stop)
            await asyncio.to_thread(server.start)
            before = len(aa.seen)
            assert (await ask(turn, ignore=["bb"]))[::2] == ("aa", lost_state), "nobody remembers"
            assert len(aa.seen) == before + 2, "refused with it, answered without"
            server.assert_books()
