// keep ADDRESS FILE [own]: asks for /kept/0, /kept/1 and so on by HTTP/2, several at a time on one connection, until there is a file;
// with a traceparent of its own if that is said. Prints how many.
package main

import (
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

func main() {
	address, file, own := os.Args[1], os.Args[2], len(os.Args) > 3
	transport := &http.Transport{Protocols: new(http.Protocols)}
	transport.Protocols.SetUnencryptedHTTP2(true)
	client := &http.Client{Transport: transport}
	var next atomic.Int64
	var all sync.WaitGroup
	ask := func() {
		number := next.Add(1) - 1
		asked, err := http.NewRequest("GET", fmt.Sprintf("http://%s/kept/%d", address, number), nil)
		if err != nil {
			log.Fatal(err)
		}
		asked.Header.Set("X-Number", fmt.Sprint(number))
		if own {
			asked.Header.Set("Traceparent", fmt.Sprintf("00-%032x-%016x-01", number+1, number+1))
		}
		response, err := client.Do(asked)
		if err != nil {
			log.Fatal(err)
		}
		defer response.Body.Close()
		text, err := io.ReadAll(response.Body)
		if err != nil || response.StatusCode != 200 || string(text) != "ok" {
			log.Fatal(number, response.StatusCode, string(text), err)
		}
	}
	ask()
	for range 3 {
		all.Go(func() {
			for {
				if _, err := os.Stat(file); err == nil {
					return
				}
				ask()
				time.Sleep(2 * time.Millisecond)
			}
		})
	}
	all.Wait()
	fmt.Println(next.Load())
}
