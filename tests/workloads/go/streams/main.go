// streams front PORT CALL: for /order/ID and /broken/ID it calls gRPC; for /own/ID and /again/ID with the context of a trace that TRACE is.
// streams call PORT STOCK DATABASE STORE ATTIC DEEP: a server of gRPC, which asks all of these for each call. They may be left out.
// streams deep PORT DATABASE: the same with workers, and asks the database.
// streams store PORT STOCK: HTTP/2 without TLS, by net/http.
// streams relay PORT TARGET: HTTP/1, which is asked of TARGET by HTTP/2 without TLS, with a field that X-With is: name=value.
// streams attic PORT STOCK: the same by golang.org/x/net, behind HTTP/1's upgrade.
//
// All streams of one service to another share a connection.
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
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/h2c"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"
)

const messages = 3

func must[T any](value T, err error) T {
	if err != nil {
		log.Panic(err)
	}
	return value
}

// argument is the one with this number, or nothing.
func argument(number int) string {
	if number < len(os.Args) {
		return os.Args[number]
	}
	return ""
}

// Up to 20 ms: some are overtaken by others.
func work(id string) {
	time.Sleep(time.Duration(crc32.ChecksumIEEE([]byte(id))%21) * time.Millisecond)
}

func get(client *http.Client, address, path string) {
	if address == "" {
		return
	}
	response := must(client.Get("http://" + address + path))
	defer response.Body.Close()
	must(io.ReadAll(response.Body))
}

// Connections are not opened before the first request: by then the server's processes are watched.
func database(url string) *pgxpool.Pool {
	settings := must(pgxpool.ParseConfig(url))
	settings.MaxConns = 20
	settings.ConnConfig.DefaultQueryExecMode = pgx.QueryExecModeSimpleProtocol
	return must(pgxpool.NewWithConfig(context.Background(), settings))
}

func query(pool *pgxpool.Pool, text string) {
	if pool == nil {
		return
	}
	var got string
	if err := pool.QueryRow(context.Background(), "SELECT '"+text+"'::text").Scan(&got); err != nil {
		log.Panic(err)
	}
}

func dial(address string) *grpc.ClientConn {
	return must(grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials())))
}

func invoke(ctx context.Context, connection *grpc.ClientConn, method string) error {
	return connection.Invoke(ctx, "/"+method, &emptypb.Empty{}, &emptypb.Empty{})
}

func listen() net.Listener {
	return must(net.Listen("tcp", "127.0.0.1:"+os.Args[2]))
}

// Calls one after the other, and one that is answered by several messages.
func order(calls *grpc.ClientConn, id string) {
	if err := invoke(context.Background(), calls, "call/"+id); err != nil {
		log.Panic(err)
	}
	description := &grpc.StreamDesc{StreamName: id, ServerStreams: true}
	stream := must(calls.NewStream(context.Background(), description, "/watch/"+id))
	if err := stream.SendMsg(&emptypb.Empty{}); err != nil {
		log.Panic(err)
	}
	if err := stream.CloseSend(); err != nil {
		log.Panic(err)
	}
	for range messages {
		if err := stream.RecvMsg(&emptypb.Empty{}); err != nil {
			log.Panic(err)
		}
	}
	if err := stream.RecvMsg(&emptypb.Empty{}); err != io.EOF {
		log.Panic(err)
	}
}

// One call says itself which trace it belongs to, and of which span it is the child.
func own(calls *grpc.ClientConn, id string) {
	number := must(strconv.Atoi(strings.TrimPrefix(id, "ID-")))
	named(calls, id, fmt.Sprintf("%016x", number+1))
}

// The same, but each is a child of the same span.
func again(calls *grpc.ClientConn, id string) {
	named(calls, id, "00f067aa0ba902b7")
}

func named(calls *grpc.ClientConn, id, span string) {
	ctx := metadata.AppendToOutgoingContext(context.Background(),
		"traceparent", "00-"+os.Getenv("TRACE")+"-"+span+"-01", "tracestate", "own="+id)
	if err := invoke(ctx, calls, "call/"+id); err != nil {
		log.Panic(err)
	}
}

// One call is given up, and one takes too long. What the server still does for each is over when the answer comes.
func broken(calls *grpc.ClientConn, id string) {
	ctx, cancel := context.WithCancel(context.Background())
	time.AfterFunc(100*time.Millisecond, cancel)
	if err := invoke(ctx, calls, "given/"+id); status.Code(err) != codes.Canceled {
		log.Panic(err)
	}
	ctx, cancel = context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	if err := invoke(ctx, calls, "late/"+id); status.Code(err) != codes.DeadlineExceeded {
		log.Panic(err)
	}
	time.Sleep(50 * time.Millisecond)
}

func front() {
	calls := dial(os.Args[3])
	handle := func(path string, serve func(*grpc.ClientConn, string)) {
		http.HandleFunc("GET /"+path+"/{id}", func(w http.ResponseWriter, r *http.Request) {
			serve(calls, r.PathValue("id"))
			fmt.Fprint(w, r.PathValue("id"))
		})
	}
	handle("order", order)
	handle("broken", broken)
	handle("own", own)
	handle("again", again)
	log.Fatal(http.Serve(listen(), nil))
}

func relay() {
	client := http2Client()
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		request := must(http.NewRequest(http.MethodGet, "http://"+os.Args[3]+r.URL.Path, nil))
		if name, value, ok := strings.Cut(r.Header.Get("X-With"), "="); ok {
			request.Header.Set(name, value)
		}
		response := must(client.Do(request))
		defer response.Body.Close()
		w.WriteHeader(response.StatusCode)
		must(io.Copy(w, response.Body))
	})
	log.Fatal(http.Serve(listen(), handler))
}

func http2Client() *http.Client {
	transport := &http.Transport{Protocols: new(http.Protocols)}
	transport.Protocols.SetUnencryptedHTTP2(true)
	return &http.Client{Transport: transport}
}

func call() {
	streams := http2Client()
	plain := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}
	var pool *pgxpool.Pool
	if url := argument(4); url != "" {
		pool = database(url)
	}
	var deep *grpc.ClientConn
	if address := argument(7); address != "" {
		deep = dial(address)
	}
	serve(func(stream grpc.ServerStream, method, id string) {
		switch method {
		case "call":
			get(plain, argument(3), "/stock/"+id+"/first")
			work(id)
			var all sync.WaitGroup
			all.Go(func() { query(pool, id) })
			all.Go(func() {
				if deep == nil {
					return
				}
				if err := invoke(stream.Context(), deep, "deep/"+id); err != nil {
					log.Panic(err)
				}
			})
			get(streams, argument(5), "/store/"+id)
			get(streams, argument(6), "/attic/"+id)
			all.Wait()
		case "watch":
			for number := range messages {
				query(pool, fmt.Sprint(id, " ", number))
				if number+1 < messages {
					stream.SendMsg(&emptypb.Empty{})
				}
			}
		default:
			query(pool, id+" "+method)
			<-stream.Context().Done()
			query(pool, id+" "+method+" over")
		}
	})
}

// serve answers each call with a message once it is handled, unless it is over by then: who asked may not know yet that it is.
func serve(handle func(stream grpc.ServerStream, method, id string), options ...grpc.ServerOption) {
	handler := grpc.UnknownServiceHandler(func(_ any, stream grpc.ServerStream) error {
		if err := stream.RecvMsg(&emptypb.Empty{}); err != nil {
			return err
		}
		path, _ := grpc.MethodFromServerStream(stream)
		parts := strings.Split(path, "/")
		handle(stream, parts[1], parts[2])
		if err := stream.Context().Err(); err != nil {
			return status.FromContextError(err).Err()
		}
		return stream.SendMsg(&emptypb.Empty{})
	})
	log.Fatal(grpc.NewServer(append(options, handler)...).Serve(listen()))
}

func main() {
	switch os.Args[1] {
	case "front":
		front()
	case "call":
		call()
	case "relay":
		relay()
	case "deep":
		pool := database(os.Args[3])
		serve(func(_ grpc.ServerStream, _, id string) { query(pool, id+" deep") }, grpc.NumStreamWorkers(4))
	}
	// store and attic.
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}
	var handler http.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id := strings.Split(r.URL.Path, "/")[2]
		work(id)
		get(client, os.Args[3], "/stock/"+id+"/"+os.Args[1])
		fmt.Fprint(w, id)
	})
	server := &http.Server{Handler: handler}
	if os.Args[1] == "store" {
		server.Protocols = new(http.Protocols)
		server.Protocols.SetUnencryptedHTTP2(true)
	} else {
		server.Handler = h2c.NewHandler(handler, &http2.Server{})
	}
	log.Fatal(server.Serve(listen()))
}
