// bazaar front PORT STOCK | bazaar stock PORT DATABASE: a shop of two services on all addresses, for pods.
//
// GET /order/ID of the front asks the stock by gRPC, which asks the database. GET /well says that it serves.
package main

import (
	"context"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

const reserve = "/bazaar.Stock/Reserve"

func must[T any](value T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return value
}

func front(port, stock string) {
	connection := must(grpc.NewClient("passthrough:///"+stock, grpc.WithTransportCredentials(insecure.NewCredentials())))
	http.HandleFunc("GET /well", func(http.ResponseWriter, *http.Request) {})
	http.HandleFunc("GET /order/{id}", func(w http.ResponseWriter, r *http.Request) {
		var got wrapperspb.StringValue
		if err := connection.Invoke(r.Context(), reserve, wrapperspb.String(r.PathValue("id")), &got); err != nil {
			log.Print(err)
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		fmt.Fprint(w, got.GetValue())
	})
	server := &http.Server{Addr: ":" + port}
	done, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	go func() {
		<-done.Done()
		server.Shutdown(context.Background())
	}()
	if err := server.ListenAndServe(); err != http.ErrServerClosed {
		log.Fatal(err)
	}
}

func serve(port, url string) {
	settings := must(pgxpool.ParseConfig(url))
	// An order is one statement, whenever the one before it was.
	settings.ShouldPing = func(context.Context, pgxpool.ShouldPingParams) bool { return false }
	database := must(pgxpool.NewWithConfig(context.Background(), settings))
	answer := func(_ any, ctx context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
		var id wrapperspb.StringValue
		if err := decode(&id); err != nil {
			return nil, err
		}
		var left string
		if err := database.QueryRow(ctx, "SELECT $1::text || ' is left'", id.GetValue()).Scan(&left); err != nil {
			return nil, status.Error(codes.Unavailable, err.Error())
		}
		return wrapperspb.String(left), nil
	}
	// It is not ready before the database is.
	for database.Ping(context.Background()) != nil {
		time.Sleep(100 * time.Millisecond)
	}
	server := grpc.NewServer()
	server.RegisterService(&grpc.ServiceDesc{
		ServiceName: "bazaar.Stock",
		HandlerType: (*any)(nil),
		Methods:     []grpc.MethodDesc{{MethodName: "Reserve", Handler: answer}},
	}, struct{}{})
	done, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	go func() {
		<-done.Done()
		server.GracefulStop()
	}()
	log.Fatal(server.Serve(must(net.Listen("tcp", ":"+port))))
}

func main() {
	switch os.Args[1] {
	case "front":
		front(os.Args[2], os.Args[3])
	case "stock":
		serve(os.Args[2], os.Args[3])
	}
}
