"""The plain client: connections are kept, and one that the endpoint has closed is not used."""

from __future__ import annotations

import asyncio

import pytest

from consort.models.remote.clients import Plain, UnreadableAnswer

HEAD = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n"


async def asked(client: Plain, url: str) -> bytes:
    response = await client.post(url, b"{}", {"content-type": "application/json"})
    try:
        return b"".join([chunk async for chunk in response.aiter_bytes()])
    finally:
        await response.aclose()


def with_endpoint(answers: list[bytes], ask: int, *, closes: bool = False) -> tuple[list[bytes], int, list[bytes]]:
    """What comes of so many requests in turn, over how many connections, and the heads that were sent."""
    connections, heads = 0, []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        try:
            while True:
                heads.append(await reader.readuntil(b"\r\n\r\n"))
                await reader.readexactly(2)
                writer.write(answers[len(heads) - 1])
                await writer.drain()
                if closes:
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        writer.close()

    async def main() -> list[bytes]:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
        client = Plain(url, 5.0)
        found = []
        try:
            for _ in range(ask):
                found.append(await asked(client, url + "/x?a=1"))
                await asyncio.sleep(0.05)
        finally:
            await client.aclose()
            server.close()
            await server.wait_closed()
        return found

    return asyncio.run(main()), connections, heads


def test_a_connection_is_kept() -> None:
    found, connections, heads = with_endpoint([HEAD + b"{}", HEAD + b"[]"], 2)
    assert found == [b"{}", b"[]"] and connections == 1
    assert heads[0].startswith(b"POST /v1/x?a=1 HTTP/1.1\r\n") and b"host: 127.0.0.1:" in heads[0].lower()


def test_one_that_was_closed_is_not_used_again() -> None:
    found, connections, _ = with_endpoint([HEAD + b"{}"] * 3, 3, closes=True)
    assert found == [b"{}"] * 3 and connections == 3


@pytest.mark.parametrize("answer", [b"nonsense\r\n\r\n", b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{}", b""])
def test_what_is_no_answer_is_a_fault(answer: bytes) -> None:
    with pytest.raises(UnreadableAnswer):
        with_endpoint([answer], 1, closes=True)
