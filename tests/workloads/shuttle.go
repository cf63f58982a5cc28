// shuttle serve ADDRESS          answers with ?length=N bytes, or with the length of what was posted
// shuttle call URL COUNT CONNS   GET URL/0 to URL/COUNT-1, CONNS at a time over kept connections, each answer read
package main

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"sync"
)

func serve(writer http.ResponseWriter, request *http.Request) {
	received, _ := io.Copy(io.Discard, request.Body)
	if length, err := strconv.Atoi(request.URL.Query().Get("length")); err == nil {
		writer.Header().Set("Content-Length", strconv.Itoa(length))
		writer.Write(bytes.Repeat([]byte("G"), length))
		return
	}
	fmt.Fprint(writer, received)
}

func call(url string, count, connections int) error {
	client := &http.Client{Transport: &http.Transport{MaxConnsPerHost: connections, MaxIdleConnsPerHost: connections}}
	indexes, failures := make(chan int), make(chan error, count)
	var group sync.WaitGroup
	for range connections {
		group.Add(1)
		go func() {
			defer group.Done()
			for index := range indexes {
				response, err := client.Get(fmt.Sprintf("%s/%d", url, index))
				if err == nil {
					_, err = io.Copy(io.Discard, response.Body)
					response.Body.Close()
				}
				if err != nil {
					failures <- err
				}
			}
		}()
	}
	for index := range count {
		indexes <- index
	}
	close(indexes)
	group.Wait()
	select {
	case err := <-failures:
		return err
	default:
		fmt.Println("done", count)
		return nil
	}
}

func main() {
	var err error
	switch os.Args[1] {
	case "serve":
		err = http.ListenAndServe(os.Args[2], http.HandlerFunc(serve))
	case "call":
		count, _ := strconv.Atoi(os.Args[3])
		connections, _ := strconv.Atoi(os.Args[4])
		err = call(os.Args[2], count, connections)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
