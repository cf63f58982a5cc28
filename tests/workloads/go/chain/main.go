// chain front PORT STOCK DATABASE SHELF: for /order/ID it asks stock, and then, in goroutines of their own, the database, stock
// and shelf, the last by gRPC.
// chain shelf PORT: answers all calls of gRPC with nothing.
//
// Connections are kept and shared by all requests, and fewer than those are.
package main

import (
	"context"
	"fmt"
	"hash/crc32"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/emptypb"
)

// Connections to each of the two.
const connections = 20

type front struct {
	client   *http.Client
	stock    string
	database chan *pgx.Conn
	shelf    *grpc.ClientConn
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
		config, err := pgx.ParseConfig(os.Args[4])
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
	var all sync.WaitGroup
	all.Go(func() { expect(f.query(request.Context(), id)) })
	all.Go(func() { expect(f.get("/stock/" + id + "/second")) })
	all.Go(func() {
		expect(id, f.shelf.Invoke(request.Context(), "/shelf/"+id, &emptypb.Empty{}, &emptypb.Empty{}))
	})
	all.Wait()
	fmt.Fprint(response, id)
}

func shelf() error {
	listener, err := net.Listen("tcp", "127.0.0.1:"+os.Args[2])
	if err != nil {
		return err
	}
	server := grpc.NewServer(grpc.UnknownServiceHandler(func(_ any, stream grpc.ServerStream) error {
		if err := stream.RecvMsg(&emptypb.Empty{}); err != nil {
			return err
		}
		return stream.SendMsg(&emptypb.Empty{})
	}))
	return server.Serve(listener)
}

func main() {
	if os.Args[1] == "shelf" {
		log.Fatal(shelf())
	}
	database := make(chan *pgx.Conn, connections)
	for range connections {
		database <- nil
	}
	shelf, err := grpc.NewClient(os.Args[5], grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		log.Fatal(err)
	}
	transport := &http.Transport{MaxIdleConnsPerHost: connections, MaxConnsPerHost: connections}
	handler := &front{&http.Client{Transport: transport}, os.Args[3], database, shelf}
	log.Fatal(http.ListenAndServe("127.0.0.1:"+os.Args[2], handler))
}
