// pace call ADDRESS/PATH COUNT CONCURRENCY RATE: by net/http, COUNT requests CONCURRENCY at a time, as fast as they go; then as
// many as come in 3 s at RATE a second, by the clock, whether or not the earlier ones were answered. Prints the seconds of the
// first, and p50, p95 and p99 of the second in microseconds, from when a request should have left.
package main

import (
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"sort"
	"strconv"
	"sync"
	"time"
)

const length = 3 * time.Second

func number(text string) int {
	value, err := strconv.Atoi(text)
	if err != nil {
		log.Fatal(err)
	}
	return value
}

func main() {
	url := "http://" + os.Args[2]
	count, concurrency, rate := number(os.Args[3]), number(os.Args[4]), number(os.Args[5])
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: concurrency}}
	ask := func() {
		response, err := client.Get(url)
		if err != nil {
			log.Fatal(err)
		}
		defer response.Body.Close()
		if response.StatusCode != 200 && response.StatusCode != 204 {
			log.Fatal(response.Status)
		}
		if _, err := io.Copy(io.Discard, response.Body); err != nil {
			log.Fatal(err)
		}
	}
	side := func(work func(place int)) {
		var all sync.WaitGroup
		for place := 0; place < concurrency; place++ {
			all.Add(1)
			go func() {
				defer all.Done()
				work(place)
			}()
		}
		all.Wait()
	}
	// A Go program is read when it starts, and would connect before that is over.
	time.Sleep(500 * time.Millisecond)
	side(func(int) { ask() })
	started := time.Now()
	side(func(place int) {
		for turn := place; turn < count; turn += concurrency {
			ask()
		}
	})
	seconds := time.Since(started).Seconds()
	latencies := make([][]float64, concurrency)
	started = time.Now()
	side(func(place int) {
		for turn := place; ; turn += concurrency {
			due := time.Duration(turn) * time.Second / time.Duration(rate)
			if due >= length {
				break
			}
			time.Sleep(due - time.Since(started))
			ask()
			latencies[place] = append(latencies[place], float64((time.Since(started)-due).Nanoseconds())/1e3)
		}
	})
	var sorted []float64
	for _, some := range latencies {
		sorted = append(sorted, some...)
	}
	sort.Float64s(sorted)
	at := func(share float64) float64 { return sorted[int(share*float64(len(sorted)-1))] }
	fmt.Println(seconds, at(0.5), at(0.95), at(0.99))
}
