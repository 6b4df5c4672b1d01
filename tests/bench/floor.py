"""What the benchmark compares with: the same server, answering without reading or storing anything."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import uvicorn


async def application(scope: Any, receive: Any, send: Any) -> None:
    message = await receive()
    while message.get("more_body"):
        message = await receive()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body", "body": b""})


if __name__ == "__main__":
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(1024)
    print(listener.getsockname()[1], flush=True)
    config = uvicorn.Config(
        application, log_level="error", access_log=False, lifespan="off", http="h11", loop="asyncio"
    )
    asyncio.set_event_loop_policy(None)
    uvicorn.Server(config).run([listener])
