"""The listener `API_LISTEN`: health and metrics, over aiohttp. Nothing here is on the hot path."""
