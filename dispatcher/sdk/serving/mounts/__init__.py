"""One line to have functions answered in a web application that is there:

    dispatch.fastapi.mount(api, app)        dispatch.flask.mount(web, app)
    dispatch.starlette.mount(api, app)      dispatch.django.mount(urlpatterns, app)
    dispatch.aiohttp.mount(web, app)

Each adds one path, that of the service, behind the path of DISPATCH_ENDPOINT_URL; `path` says
another, where what stands in front of the application takes a part of it away. The path that is
verified is the one that the server used.
"""
