"""Functions in an application of FastAPI that was there before.

pip install fastapi uvicorn
cd examples/functions
dispatcher run --endpoint 127.0.0.1:8000 -- uvicorn --port 8000 existing_fastapi:api
"""

from __future__ import annotations

from fastapi import FastAPI

import dispatcher.sdk as dispatch

api = FastAPI()


@dispatch.function
async def resize(image: str, width: int) -> str:
    """Something that takes long and may fail."""
    return f"{image} at {width} px"


@dispatch.function
async def publish(image: str) -> list[str]:
    """All sizes of an image."""
    return await dispatch.gather(*(resize(image, width) for width in (320, 640, 1280)))


@api.post("/images/{image}")
async def upload(image: str) -> dict[str, str]:
    """Answer at once; `GET /images/ID` has the result."""
    handle = await publish.dispatch(image)
    return {"id": handle.id}


@api.get("/")
async def home() -> str:
    """What was there before."""
    return "images"


dispatch.fastapi.mount(api, dispatch.Dispatch(resize, publish))
