// warehouse PORT GRPC DATABASE: what stock.py does, over net/http on PORT, and any call of gRPC on GRPC, with a statement each.
package main

import (
	"context"
	"fmt"
	"hash/crc32"
	"log"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

func must[T any](value T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return value
}

// work takes up to 20 ms, as work.py has it: some are overtaken by others.
func work(ctx context.Context, database *pgxpool.Pool, id, what string) error {
	time.Sleep(time.Duration(crc32.ChecksumIEEE([]byte(id))%21) * time.Millisecond)
	var got string
	return database.QueryRow(ctx, "SELECT '"+id+" "+what+"'::text").Scan(&got)
}

func main() {
	settings := must(pgxpool.ParseConfig(os.Args[3]))
	settings.MaxConns = 20
	// No connection before the first request: by then the server's processes are watched.
	database := must(pgxpool.NewWithConfig(context.Background(), settings))

	calls := grpc.NewServer(grpc.UnknownServiceHandler(func(_ any, stream grpc.ServerStream) error {
		// The id is the method's name, since that is what a span of gRPC has of a call.
		path, _ := grpc.MethodFromServerStream(stream)
		id := path[strings.LastIndexByte(path, '/')+1:]
		message := &wrapperspb.StringValue{}
		if err := stream.RecvMsg(message); err != nil {
			return err
		}
		if err := work(stream.Context(), database, id, "call"); err != nil {
			return err
		}
		return stream.SendMsg(message)
	}))
	listener := must(net.Listen("tcp", "127.0.0.1:"+os.Args[2]))
	go func() { log.Fatal(calls.Serve(listener)) }()

	http.HandleFunc("GET /stock/{id}/{what}", func(w http.ResponseWriter, r *http.Request) {
		id := r.PathValue("id")
		if err := work(r.Context(), database, id, r.PathValue("what")); err != nil {
			log.Print(err)
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		fmt.Fprint(w, id)
	})
	log.Fatal(http.ListenAndServe("127.0.0.1:"+os.Args[1], nil))
}
