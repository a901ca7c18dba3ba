"""Sends a request to each URL with Requests, which finds its proxy by itself.

Arguments: method, body, header or "-", URLs. Prints a line for each: status and message id.
"""

import sys

import requests

method, body, header, *urls = sys.argv[1:]
headers = dict([header.split(": ")]) if header != "-" else {}
with requests.Session() as session:
    for url in urls:
        response = session.request(method, url, headers=headers, data=body or None)
        print(response.status_code, response.headers.get("X-Dispatcher-Message-Id", ""))
