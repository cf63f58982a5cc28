// storefront PORT STOCK GRPC DATABASE: net/http's server and client, grpc-go's client and pgx; sequential calls and calls
// side by side. STOCK and GRPC are the addresses of warehouse.
package main

import (
	"context"
	"fmt"
	"hash/crc32"
	"io"
	"log"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

type store struct {
	stock    string
	client   *http.Client
	reserve  *grpc.ClientConn
	database *pgxpool.Pool
}

func must[T any](value T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return value
}

// duration is as long as work.py's: some are overtaken by others.
func duration(id string) time.Duration {
	return time.Duration(crc32.ChecksumIEEE([]byte(id))%21) * time.Millisecond
}

func (s *store) get(ctx context.Context, path string) error {
	request, err := http.NewRequestWithContext(ctx, "GET", "http://"+s.stock+"/stock/"+path, nil)
	if err != nil {
		return err
	}
	response, err := s.client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("stock: %s", response.Status)
	}
	return nil
}

func (s *store) take(ctx context.Context, id string) error {
	return s.reserve.Invoke(ctx, "/shop.Stock/"+id, wrapperspb.String(id), &wrapperspb.StringValue{})
}

func (s *store) query(ctx context.Context, text string) error {
	var got string
	return s.database.QueryRow(ctx, "SELECT '"+text+"'::text").Scan(&got)
}

// sideBySide gives the first error of all.
func sideBySide(all ...func() error) error {
	errs := make([]error, len(all))
	var done sync.WaitGroup
	for at, call := range all {
		done.Go(func() { errs[at] = call() })
	}
	done.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *store) order(ctx context.Context, id string) error {
	if err := s.get(ctx, id+"/first"); err != nil {
		return err
	}
	time.Sleep(duration(id))
	err := sideBySide(
		func() error { return s.get(ctx, id+"/left") },
		func() error { return s.take(ctx, id) },
		func() error { return s.query(ctx, id) },
	)
	if err != nil {
		return err
	}
	return s.query(ctx, id+" last")
}

func (s *store) look(ctx context.Context, id string) error {
	if err := s.query(ctx, id); err != nil {
		return err
	}
	return s.take(ctx, id)
}

func answer(work func(context.Context, string) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		id := r.PathValue("id")
		if err := work(r.Context(), id); err != nil {
			log.Print(err)
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		fmt.Fprint(w, id)
	}
}

func main() {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConnsPerHost = 64
	settings := must(pgxpool.ParseConfig(os.Args[4]))
	settings.MaxConns = 20
	s := &store{
		stock:   os.Args[2],
		client:  &http.Client{Transport: transport, Timeout: 30 * time.Second},
		reserve: must(grpc.NewClient(os.Args[3], grpc.WithTransportCredentials(insecure.NewCredentials()))),
		// It connects in the background, but not with MinConns 0: by the first request the server's processes are watched.
		database: must(pgxpool.NewWithConfig(context.Background(), settings)),
	}
	http.HandleFunc("GET /order/{id}", answer(s.order))
	http.HandleFunc("GET /look/{id}", answer(s.look))
	log.Fatal(http.ListenAndServe("127.0.0.1:"+os.Args[1], nil))
}
