// chain PORT STOCK DATABASE: for /order/ID it asks stock, the database, and stock again, of which the last two go on beside
// each other, in goroutines of their own.
//
// Connections are kept and shared by all requests, and fewer than those are.
package main

import (
	"context"
	"fmt"
	"hash/crc32"
	"io"
	"log"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
)

// Connections to each of the two.
const connections = 20

type front struct {
	client   *http.Client
	stock    string
	database chan *pgx.Conn
}

// Up to 20 ms: some are overtaken by others.
func work(id string) {
	time.Sleep(time.Duration(crc32.ChecksumIEEE([]byte(id))%21) * time.Millisecond)
}

func (f *front) get(path string) (string, error) {
	response, err := f.client.Get("http://" + f.stock + path)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return string(body), err
}

func (f *front) query(ctx context.Context, id string) (text string, err error) {
	connection := <-f.database
	defer func() { f.database <- connection }()
	if connection == nil {
		// Not before the first request: by then the server's processes are watched.
		config, err := pgx.ParseConfig(os.Args[3])
		if err != nil {
			return "", err
		}
		config.DefaultQueryExecMode = pgx.QueryExecModeSimpleProtocol
		if connection, err = pgx.ConnectConfig(ctx, config); err != nil {
			return "", err
		}
	}
	err = connection.QueryRow(ctx, "SELECT '"+id+"'::text").Scan(&text)
	return text, err
}

func (f *front) ServeHTTP(response http.ResponseWriter, request *http.Request) {
	id := strings.Split(request.URL.Path, "/")[2]
	expect := func(body string, err error) {
		if err != nil || body != id {
			log.Panicf("%s: %q, %v", id, body, err)
		}
	}
	expect(f.get("/stock/" + id + "/first"))
	work(id)
	var both sync.WaitGroup
	both.Go(func() { expect(f.query(request.Context(), id)) })
	both.Go(func() { expect(f.get("/stock/" + id + "/second")) })
	both.Wait()
	fmt.Fprint(response, id)
}

func main() {
	database := make(chan *pgx.Conn, connections)
	for range connections {
		database <- nil
	}
	transport := &http.Transport{MaxIdleConnsPerHost: connections, MaxConnsPerHost: connections}
	handler := &front{&http.Client{Transport: transport}, os.Args[2], database}
	log.Fatal(http.ListenAndServe("127.0.0.1:"+os.Args[1], handler))
}
