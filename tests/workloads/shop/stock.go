// stock PORT DATABASE: shop.Stock/Reserve by grpc-go and pgx. Its messages are JSON, so that no code is generated.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"log"
	"net"
	"os"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

type jsonCodec struct{}

func (jsonCodec) Marshal(v any) ([]byte, error)      { return json.Marshal(v) }
func (jsonCodec) Unmarshal(data []byte, v any) error { return json.Unmarshal(data, v) }
func (jsonCodec) Name() string                       { return "proto" }

type reservation struct {
	SKU      string `json:"sku"`
	Quantity int    `json:"quantity"`
}

type left struct {
	Amount int `json:"amount"`
}

const take = "UPDATE stock SET amount = amount - $2 WHERE sku = $1 AND amount >= $2 RETURNING amount"
const note = "INSERT INTO reservations (sku, quantity) VALUES ($1, $2)"

type stock struct{ database *pgxpool.Pool }

func (s *stock) reserve(ctx context.Context, wanted reservation) (*left, error) {
	result := &left{}
	err := s.database.QueryRow(ctx, take, wanted.SKU, wanted.Quantity).Scan(&result.Amount)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, status.Errorf(codes.FailedPrecondition, "not enough of %s", wanted.SKU)
	}
	if err != nil {
		return nil, err
	}
	_, err = s.database.Exec(ctx, note, wanted.SKU, wanted.Quantity)
	return result, err
}

var service = grpc.ServiceDesc{
	ServiceName: "shop.Stock",
	HandlerType: (*any)(nil),
	Methods: []grpc.MethodDesc{{
		MethodName: "Reserve",
		Handler: func(server any, ctx context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
			var wanted reservation
			if err := decode(&wanted); err != nil {
				return nil, err
			}
			return server.(*stock).reserve(ctx, wanted)
		},
	}},
}

func main() {
	database, err := pgxpool.New(context.Background(), os.Args[2])
	if err != nil {
		log.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:"+os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	server := grpc.NewServer(grpc.ForceServerCodec(jsonCodec{}))
	server.RegisterService(&service, &stock{database})
	log.Fatal(server.Serve(listener))
}
