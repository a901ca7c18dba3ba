"""The server, as an application asks it: to make calls, for their results, and to end them.

what is asked       asking     conversations, which do no I/O: `exchange`, `trying`, `refusals`
how it gets there   client     `Client`, over aiohttp (`sessions`)
                    blocking   `SyncClient`, over http.client (`connections`)
"""
