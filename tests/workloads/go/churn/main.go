// churn serve PORT FILE | churn ask PORT RATE SECONDS: requests of HTTP/1.1, each over a connection of its own.
//
// The client makes RATE of them a second, to 127.0.0.1 and its neighbours in turn, or as many as it can with a hundred at a time,
// and says how many that were; it fails with the first that is not answered. The server writes the target of each and its
// contexts into FILE, and answers with "ok".
package main

import (
	"bufio"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

const workers = 100

func serve(port, file string) {
	out, err := os.Create(file)
	if err != nil {
		log.Fatal(err)
	}
	var mutex sync.Mutex
	all := bufio.NewWriter(out)
	http.HandleFunc("/", func(writer http.ResponseWriter, request *http.Request) {
		mutex.Lock()
		defer mutex.Unlock()
		fmt.Fprintln(all, request.URL.Path, strings.Join(request.Header.Values("Traceparent"), " "))
		if request.URL.Path == "/end" {
			all.Flush()
		}
		io.WriteString(writer, "ok")
	})
	log.Fatal(http.ListenAndServe(":"+port, nil))
}

func ask(port string, rate, seconds int) {
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	due := make(chan int)
	var all sync.WaitGroup
	for range workers {
		all.Go(func() {
			for number := range due {
				response, err := client.Get(fmt.Sprintf("http://127.0.0.%d:%s/churn/%d", 1+number%8, port, number))
				if err != nil {
					log.Fatal(err)
				}
				text, err := io.ReadAll(response.Body)
				response.Body.Close()
				if err != nil || string(text) != "ok" {
					log.Fatal(err, response.StatusCode, string(text))
				}
			}
		})
	}
	begun, number := time.Now(), 0
	for passed := time.Duration(0); passed < time.Duration(seconds)*time.Second; passed = time.Since(begun) {
		for end := int(passed.Seconds() * float64(rate)); number < end && time.Since(begun) < time.Duration(seconds)*time.Second; number++ {
			due <- number
		}
		time.Sleep(time.Millisecond)
	}
	close(due)
	all.Wait()
	fmt.Println(number)
}

func main() {
	if os.Args[1] == "serve" {
		serve(os.Args[2], os.Args[3])
		return
	}
	// It is read when it starts, and connects before that is over.
	time.Sleep(time.Second)
	rate, _ := strconv.Atoi(os.Args[3])
	seconds, _ := strconv.Atoi(os.Args[4])
	ask(os.Args[2], rate, seconds)
}
