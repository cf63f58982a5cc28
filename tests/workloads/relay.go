// relay ADDRESS PEER   answers each request with what PEER answers to one for the same path, made in the handler's own goroutine
package main

import (
	"io"
	"log"
	"net/http"
	"os"
)

func main() {
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}
	relay := func(writer http.ResponseWriter, request *http.Request) {
		response, err := client.Get("http://" + os.Args[2] + request.URL.Path)
		if err != nil {
			http.Error(writer, err.Error(), http.StatusBadGateway)
			return
		}
		defer response.Body.Close()
		io.Copy(writer, response.Body)
	}
	log.Fatal(http.ListenAndServe(os.Args[1], http.HandlerFunc(relay)))
}
