"""A whole server in front of a Bedrock made of a script: signed, spoken to, metered, charged."""

import asyncio
import json
import urllib.error
import urllib.request
from typing import Any

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from support.server import Server
from support.upstream import Reply, ScriptedProvider, Seen
from support.wires import frame

ENV = {
    "T_ACCESS_KEY_ID": "AKIDEXAMPLE",
    "T_SECRET_ACCESS_KEY": "hush",
    "T_SESSION_TOKEN": "temporary",
    "AWS_REGION": "eu-west-1",
}
MODEL = "eu.anthropic.claude-x-v1:0"
TOML = """
id = "cloud"
name = "Cloud"
dialect = "bedrock_converse"
base_url = "{url}"
auth = {{ scheme = "aws-sigv4", env = {env}, service = "bedrock" }}
private_network = true

[[endpoints]]
model = "anthropic/claude-haiku-4.5"
id = "{model}"
context_length = 128000
output_tokens_max = 4096
pricing = {{ prompt = "0.000001", completion = "0.000002" }}
"""
USAGE = {"inputTokens": 10, "outputTokens": 12, "totalTokens": 22}
STREAM = [
    frame("messageStart", {"role": "assistant"}),
    frame("contentBlockDelta", {"delta": {"text": "Guten "}, "contentBlockIndex": 0}),
    frame("contentBlockDelta", {"delta": {"text": "Tag"}, "contentBlockIndex": 0}),
    frame("contentBlockStop", {"contentBlockIndex": 0}),
    frame("messageStop", {"stopReason": "end_turn"}),
    frame("metadata", {"usage": USAGE, "metrics": {"latencyMs": 1}}),
]
WHOLE = {
    "output": {"message": {"role": "assistant", "content": [{"text": "Guten Tag"}]}},
    "stopReason": "end_turn",
    "usage": USAGE,
    "metrics": {"latencyMs": 1},
}


def bedrock(seen: Seen) -> Reply:
    if seen.path.endswith("/converse-stream"):
        kind = ("content-type", "application/vnd.amazon.eventstream")
        return Reply(headers=(kind,), steps=STREAM)
    return Reply(steps=[json.dumps(WHOLE).encode()], framing="length")


def ask(server: Server, **fields: Any) -> tuple[int, bytes]:
    said = {
        "model": "anthropic/claude-haiku-4.5",
        "messages": [{"role": "user", "content": "Hi"}],
        **fields,
    }
    headers = {"authorization": f"Bearer {server.key}", "content-type": "application/json"}
    url = f"{server.url}/chat/completions"
    asked = urllib.request.Request(url, json.dumps(said).encode(), headers)
    try:
        with urllib.request.urlopen(asked, timeout=20) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def signature_by_botocore(seen: Seen, host: str) -> str:
    """What the header of this very request should be, from what arrived."""
    at = seen.headers["x-amz-date"]
    names = seen.headers["authorization"].partition("SignedHeaders=")[2].partition(",")[0]
    request: Any = AWSRequest(seen.method, f"http://{host}{seen.path}", data=seen.body)
    for name in names.split(";"):
        if name != "host":
            request.headers[name] = seen.headers[name]
    request.context["timestamp"] = at
    signer: Any = SigV4Auth(Credentials("AKIDEXAMPLE", "hush", "temporary"), "bedrock", "eu-west-1")
    text = signer.string_to_sign(request, signer.canonical_request(request))
    return str(signer.signature(text, request))


async def test_a_request_to_bedrock_is_signed_answered_and_charged() -> None:
    names = json.dumps([name for name in ENV if name.startswith("T_")])
    async with ScriptedProvider(bedrock) as provider:
        url = provider.base_url.removesuffix("/v1")
        toml = TOML.format(url=url, env=names, model=MODEL)
        with Server(providers={"cloud": toml}, env=ENV) as server:
            status, body = await asyncio.to_thread(ask, server)
            assert status == 200, body
            answer = json.loads(body)
            assert answer["choices"][0]["message"]["content"] == "Guten Tag"
            assert answer["usage"]["total_tokens"] == 22
            status, body = await asyncio.to_thread(ask, server, stream=True)
            lines = [line[6:] for line in body.split(b"\n") if line.startswith(b"data: {")]
            chunks = [json.loads(line) for line in lines]
            said = "".join(
                c["choices"][0]["delta"].get("content", "") for c in chunks if c["choices"]
            )
            assert (status, said) == (200, "Guten Tag")
            assert chunks[-1]["usage"]["cost"] == answer["usage"]["cost"] > 0
            inside = {
                "type": "image_url",
                "image_url": {"url": f"https://127.0.0.1:{provider.port}"},
            }
            count = provider.connections_total
            status, body = await asyncio.to_thread(
                ask, server, messages=[{"role": "user", "content": [inside]}]
            )
            assert status == 400, body
            assert json.loads(body)["error"]["metadata"]["error_type"] == "image_download_failed"
            assert provider.connections_total == count
            assert "hush" not in server.output
        for seen in provider.seen:
            assert seen.path.startswith("/model/eu.anthropic.claude-x-v1%3A0/converse")
            assert seen.headers["x-amz-security-token"] == "temporary"
            expected = signature_by_botocore(seen, f"127.0.0.1:{provider.port}")
            assert seen.headers["authorization"].endswith(f"Signature={expected}")
        assert len(provider.seen) == 2
