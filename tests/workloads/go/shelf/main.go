// shelf serve PORT | shelf call ADDRESS COUNT CONCURRENCY: HTTP/2 without TLS, by Go's net/http.
//
// The server takes prior knowledge and the upgrade from HTTP/1.1, and answers with what the path asks for:
// length=N bytes (default: as many as it was sent, in digits), status=S. All requests of a client go over one connection,
// CONCURRENCY at a time, each after PACE; at its end it writes a line of JSON for each. node/shelf.js is the same for Node.
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/h2c"
)

func serve(response http.ResponseWriter, request *http.Request) {
	received, _ := io.Copy(io.Discard, request.Body)
	query := request.URL.Query()
	if status, err := strconv.Atoi(query.Get("status")); err == nil {
		response.WriteHeader(status)
	}
	if length, err := strconv.Atoi(query.Get("length")); err == nil {
		response.Write(bytes.Repeat([]byte("g"), length))
	} else {
		fmt.Fprint(response, received)
	}
}

type line struct {
	At       int64  `json:"at"`
	Method   string `json:"method"`
	Path     string `json:"path"`
	Status   int    `json:"status"`
	Sent     int    `json:"sent"`
	Received int64  `json:"received"`
}

func call(client *http.Client, address string, number int) line {
	told := []line{
		{Method: "GET", Path: fmt.Sprintf("/item/%d?length=%d", number, number)},
		{Method: "POST", Path: fmt.Sprintf("/item/%d", number), Sent: number * 10},
		{Method: "HEAD", Path: fmt.Sprintf("/item/%d?length=77", number)},
		{Method: "GET", Path: fmt.Sprintf("/item/%d?status=404&length=9", number)},
		{Method: "PUT", Path: fmt.Sprintf("/item/%d?length=100000", number), Sent: 70_000},
	}[number%5]
	told.At = time.Now().UnixNano()
	request, err := http.NewRequest(told.Method, "http://"+address+told.Path, strings.NewReader(strings.Repeat("s", told.Sent)))
	if err != nil {
		log.Fatal(err)
	}
	// A field that comes again and one that does not: what header compression is about.
	request.Header.Set("x-shop", "corner")
	request.Header.Set("x-number", strconv.Itoa(number))
	response, err := client.Do(request)
	if err != nil {
		log.Fatal(err)
	}
	defer response.Body.Close()
	told.Status = response.StatusCode
	told.Received, _ = io.Copy(io.Discard, response.Body)
	return told
}

func main() {
	if os.Args[1] == "serve" {
		handler := h2c.NewHandler(http.HandlerFunc(serve), &http2.Server{})
		log.Fatal(http.ListenAndServe("127.0.0.1:"+os.Args[2], handler))
	}
	count, _ := strconv.Atoi(os.Args[3])
	concurrency, _ := strconv.Atoi(os.Args[4])
	transport := &http.Transport{Protocols: new(http.Protocols)}
	transport.Protocols.SetUnencryptedHTTP2(true)
	client := &http.Client{Transport: transport}
	pace, _ := time.ParseDuration(os.Getenv("PACE"))
	lines := make([]line, count)
	// The first alone, so that there is one connection.
	lines[0] = call(client, os.Args[2], 0)
	var all sync.WaitGroup
	for part := range concurrency {
		all.Go(func() {
			for number := part + 1; number < count; number += concurrency {
				time.Sleep(pace)
				lines[number] = call(client, os.Args[2], number)
			}
		})
	}
	all.Wait()
	client.CloseIdleConnections()
	for _, told := range lines {
		text, _ := json.Marshal(told)
		fmt.Println(string(text))
	}
}
