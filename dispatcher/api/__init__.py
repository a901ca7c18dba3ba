"""The listener `API_LISTEN`: management, health and metrics, over aiohttp. Nothing here is on the
hot path."""
