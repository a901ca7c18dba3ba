"""What has to be other in asyncio for a durable loop."""


def install() -> None:
    pass
