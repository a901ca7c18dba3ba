// Sends a request to each URL with net/http, which finds its proxy by itself.
// Arguments: method, body, header or "-", URLs. Prints a line for each: status and message id.
package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
)

func main() {
	method, body, header, urls := os.Args[1], os.Args[2], os.Args[3], os.Args[4:]
	for _, url := range urls {
		var content io.Reader
		if body != "" {
			content = strings.NewReader(body)
		}
		request, err := http.NewRequest(method, url, content)
		if err != nil {
			panic(err)
		}
		if name, value, found := strings.Cut(header, ": "); found {
			request.Header.Set(name, value)
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			panic(err)
		}
		io.Copy(io.Discard, response.Body)
		response.Body.Close()
		fmt.Println(response.StatusCode, response.Header.Get("X-Dispatcher-Message-Id"))
	}
}
