// ask LIBRARY ADDRESS PLAN CONCURRENCY: the requests of a plan, by net/http, over HTTP/1.1 or HTTP/2; see
// propagation/ask.py.
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
	"sync"
	"time"
)

const period = 251

type request struct {
	Index   int    `json:"index"`
	Path    string `json:"path"`
	Size    *int   `json:"size"`
	Chunked bool   `json:"chunked"`
}

var counting = make([]byte, 11<<20)

// Its length is not known to net/http.
type unmeasured struct{ io.Reader }

func ask(client *http.Client, address string, one request) error {
	method, body := "GET", io.Reader(nil)
	if one.Size != nil {
		start := one.Index % period
		method, body = "POST", bytes.NewReader(counting[start:start+*one.Size])
		if one.Chunked {
			body = unmeasured{body}
		}
	}
	asked, err := http.NewRequest(method, "http://"+address+one.Path, body)
	if err != nil {
		return err
	}
	asked.Header.Set("X-Index", strconv.Itoa(one.Index))
	response, err := client.Do(asked)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	if response.StatusCode != 200 || string(text) != "ok" {
		return fmt.Errorf("%v: %d %q", one, response.StatusCode, text)
	}
	return nil
}

func main() {
	// It is read when it starts, and connects before that is over.
	time.Sleep(time.Second)
	for at := range counting {
		counting[at] = byte(at % period)
	}
	library, address := os.Args[1], os.Args[2]
	text, err := os.ReadFile(os.Args[3])
	if err != nil {
		log.Fatal(err)
	}
	var plan []request
	if err := json.Unmarshal(text, &plan); err != nil {
		log.Fatal(err)
	}
	concurrency, _ := strconv.Atoi(os.Args[4])
	transport := &http.Transport{MaxIdleConnsPerHost: concurrency}
	if library == "http2" {
		transport.Protocols = new(http.Protocols)
		transport.Protocols.SetUnencryptedHTTP2(true)
	}
	client := &http.Client{Transport: transport}
	var all sync.WaitGroup
	for part := range concurrency {
		all.Go(func() {
			for at := part; at < len(plan); at += concurrency {
				if err := ask(client, address, plan[at]); err != nil {
					log.Fatal(err)
				}
			}
		})
	}
	all.Wait()
	client.CloseIdleConnections()
	fmt.Println("done", len(plan))
}
