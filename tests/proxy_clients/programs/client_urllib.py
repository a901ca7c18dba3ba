"""Sends a request to each URL with urllib, which finds its proxy by itself.

Arguments: method, body, header or "-", URLs. Prints a line for each: status and message id.
"""

import sys
from urllib.error import HTTPError
from urllib.request import Request, urlopen

method, body, header, *urls = sys.argv[1:]
headers = dict([header.split(": ")]) if header != "-" else {}
for url in urls:
    request = Request(url, body.encode() or None, headers, method=method)
    try:
        with urlopen(request) as response:
            print(response.status, response.headers.get("X-Dispatcher-Message-Id", ""))
    except HTTPError as error:
        print(error.code)
