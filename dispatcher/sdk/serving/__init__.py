"""How the server's requests reach an application: over its own listener, or one that is there.

    asgi, wsgi      as an application of these two
    serve, web      with a listener of its own, on aiohttp
    mounts          in applications of FastAPI, Starlette, aiohttp, Flask and Django

All of them read a request whole (`requests`), and have `Dispatch.handle` answer it (`ports`). None
looks into it.
"""
