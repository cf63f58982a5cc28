// orders serve PORT | orders call ADDRESS COUNT CONCURRENCY [KIND...]: gRPC by grpc-go.
//
// All calls of a client go over one connection, CONCURRENCY at a time, and behind them one more, after which the server
// has read all; before each it waits for PACE, and before each message of Chat for HOLD. At its end it writes a line of JSON for each: when it began, path, status,
// messages sent and received. orders.py and
// node/orders.js are the same in other languages. The kinds, all of them where none is named:
//
//	One   a message each way               Send  four messages, then one back
//	List  a message, then three back       Chat  five messages, each sent back
//	Fail  fails with the code it is sent   Slow  the client gives up after 60 ms
//	Bulk  one message of up to 10 MiB, for servers of others
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
)

// raw is a codec of messages that are bytes already.
type raw struct{}

func (raw) Marshal(v any) ([]byte, error) { return *v.(*[]byte), nil }
func (raw) Unmarshal(data []byte, v any) error {
	*v.(*[]byte) = append([]byte(nil), data...)
	return nil
}
func (raw) Name() string                       { return "proto" }
func send(s grpc.Stream, message string) error { data := []byte(message); return s.SendMsg(&data) }
func receive(s grpc.Stream) (text string, e error) {
	var data []byte
	e = s.RecvMsg(&data)
	return string(data), e
}

func serve(_ any, stream grpc.ServerStream) error {
	path, _ := grpc.MethodFromServerStream(stream)
	var all []string
	for {
		message, err := receive(stream)
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		all = append(all, message)
		if strings.HasSuffix(path, "/Chat") {
			if err := send(stream, message); err != nil {
				return err
			}
		}
	}
	switch path[strings.LastIndexByte(path, '/')+1:] {
	case "One", "Send":
		return send(stream, all[0])
	case "List":
		for range 3 {
			if err := send(stream, all[0]); err != nil {
				return err
			}
		}
	case "Chat":
	case "Fail":
		code, _ := strconv.Atoi(all[0])
		return status.Error(codes.Code(code), "as asked: 100 %")
	case "Slow":
		<-stream.Context().Done()
		time.Sleep(300 * time.Millisecond)
	default:
		return status.Error(codes.Unimplemented, path)
	}
	return nil
}

type line struct {
	At       int64  `json:"at"`
	Path     string `json:"path"`
	Code     int    `json:"code"`
	Sent     int    `json:"sent"`
	Received int    `json:"received"`
}

var hold, _ = time.ParseDuration(os.Getenv("HOLD"))

var kinds = []string{"One", "List", "Send", "Chat", "Fail", "None", "One", "Slow"}

var sizes = []int{0, 1, 100, 4_096, 16_379, 16_384, 65_536, 200_000, 1 << 20}

// bulk is a message that counts up modulo 251; each of the same number is the same.
func bulk(number int) string {
	place := number / 8
	size := sizes[place%len(sizes)]
	if place%500 == 3 {
		size = 10 << 20
	}
	message := make([]byte, size)
	for at := range message {
		message[at] = byte((number + at) % 251)
	}
	return string(message)
}

func call(connection *grpc.ClientConn, number int) line {
	kind := kinds[number%len(kinds)]
	told := line{At: time.Now().UnixNano(), Path: "/shop.Orders/" + kind, Sent: 1}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	message := "order"
	switch {
	case kind == "Send":
		told.Sent = 4
	case kind == "Chat":
		told.Sent = 5
	case kind == "Fail":
		message = strconv.Itoa(number/8%16 + 1)
	case kind == "Bulk":
		message = bulk(number)
	case kind == "Slow":
		ctx, cancel = context.WithTimeout(context.Background(), 60*time.Millisecond)
	case len(kinds) == 8 && number%8 == 6:
		// More than one frame, and more than a window.
		message = strings.Repeat("large ", 15_000)
	}
	defer cancel()
	description := &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}
	stream, err := connection.NewStream(ctx, description, told.Path)
	for at := 0; err == nil && at < told.Sent; at++ {
		if kind == "Chat" {
			time.Sleep(hold)
		}
		err = send(stream, message)
	}
	if err == nil {
		err = stream.CloseSend()
	}
	for err == nil || err == io.EOF {
		if _, err = receive(stream); err == nil {
			told.Received++
		} else if err == io.EOF {
			return told
		}
	}
	told.Code = int(status.Code(err))
	return told
}

func main() {
	if os.Args[1] == "serve" {
		listener, err := net.Listen("tcp", "127.0.0.1:"+os.Args[2])
		if err != nil {
			log.Fatal(err)
		}
		server := grpc.NewServer(grpc.UnknownServiceHandler(serve), grpc.ForceServerCodec(raw{}))
		log.Fatal(server.Serve(listener))
	}
	count, _ := strconv.Atoi(os.Args[3])
	concurrency, _ := strconv.Atoi(os.Args[4])
	if len(os.Args) > 5 {
		kinds = os.Args[5:]
	}
	connection, err := grpc.NewClient(os.Args[2], grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.ForceCodec(raw{})))
	if err != nil {
		log.Fatal(err)
	}
	// For who has to know of this process before it connects.
	wait, _ := time.ParseDuration(os.Getenv("WAIT"))
	time.Sleep(wait)
	pace, _ := time.ParseDuration(os.Getenv("PACE"))
	lines := make([]line, count+1)
	var all sync.WaitGroup
	for part := range concurrency {
		all.Go(func() {
			for number := part; number < count; number += concurrency {
				time.Sleep(pace)
				lines[number] = call(connection, number)
			}
		})
	}
	all.Wait()
	lines[count] = call(connection, 0)
	connection.Close()
	for _, told := range lines {
		text, _ := json.Marshal(told)
		fmt.Println(string(text))
	}
}
