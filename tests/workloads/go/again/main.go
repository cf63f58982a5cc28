// again PORT TARGET: for /order/ID, what is not asked once: it follows a redirect from TARGET/moved/ID, asks TARGET/busy/ID until
// that is not answered with 503, and TARGET/hedged/ID a second time where no answer is there after some time; then the other is
// given up.
package main

import (
	"context"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"time"
)

const patience = 20 * time.Millisecond

var client = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 32}}

func get(ctx context.Context, path string) (int, error) {
	request, err := http.NewRequestWithContext(ctx, "GET", "http://"+os.Args[2]+path, nil)
	if err != nil {
		return 0, err
	}
	response, err := client.Do(request)
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	_, err = io.ReadAll(response.Body)
	return response.StatusCode, err
}

func hedged(path string) int {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	answers := make(chan int, 2)
	ask := func() {
		if status, err := get(ctx, path); err == nil {
			answers <- status
		}
	}
	go ask()
	select {
	case status := <-answers:
		return status
	case <-time.After(patience):
		go ask()
		return <-answers
	}
}

func order(w http.ResponseWriter, r *http.Request) {
	id := r.PathValue("id")
	var all []int
	for _, path := range []string{"/moved/", "/busy/", "/busy/"} {
		status, err := get(context.Background(), path+id)
		if err != nil {
			log.Panic(err)
		}
		all = append(all, status)
	}
	fmt.Fprint(w, append(all, hedged("/hedged/"+id)))
}

func main() {
	http.HandleFunc("GET /order/{id}", order)
	log.Fatal(http.ListenAndServe("127.0.0.1:"+os.Args[1], nil))
}
