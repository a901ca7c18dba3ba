"""Sends a request to each URL with HTTPX, which finds its proxy by itself.

Arguments: method, body, header or "-", URLs. Prints a line for each: status and message id.
"""

import sys

import httpx

method, body, header, *urls = sys.argv[1:]
headers = dict([header.split(": ")]) if header != "-" else {}
with httpx.Client() as client:
    for url in urls:
        response = client.request(method, url, headers=headers, content=body or None)
        print(response.status_code, response.headers.get("X-Dispatcher-Message-Id", ""))
