// publish ADDRESS COUNT LARGE NAME: the messages of propagation/publish.py through amqp091-go, from three goroutines.
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

const own = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

var (
	sizes    = []int{0, 1, 100, 5000, 20, 4096, 0, 131064, 300, 3, 131065, 60000, 200000}
	counting = make([]byte, 11<<20)
)

func must[T any](value T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return value
}

func message(number, large int) amqp.Publishing {
	size := sizes[number/10%len(sizes)]
	if number < large {
		size = 10 << 20
	}
	body := counting[number%251 : number%251+size]
	switch number % 10 {
	case 1:
		return amqp.Publishing{Body: body, ContentType: "text/plain",
			Headers: amqp.Table{"b": strings.Repeat("x", number%200)}}
	case 2:
		return amqp.Publishing{Body: body, ContentType: "t", ContentEncoding: "gzip", MessageId: strconv.Itoa(number), Priority: 3}
	case 3:
		return amqp.Publishing{Body: body, Headers: amqp.Table{"traceparent": own}, ContentType: "t"}
	case 4:
		// Its order is another each time: of each kind one.
		kinds := []any{true, byte(1), int8(-1), int16(2), int32(3), int64(1 << 40), float32(0.5), 1.5, "ü", []byte{0, 0xce}, nil,
			amqp.Decimal{Scale: 1, Value: 15}, time.Unix(1, 0), []any{int32(1), "two", nil},
			amqp.Table{"table": amqp.Table{"traceparent": own}}}
		return amqp.Publishing{Body: body, Headers: amqp.Table{"value": kinds[number/10%len(kinds)]}, DeliveryMode: 2}
	case 5:
		list := make([]any, 200)
		for at := range list {
			list[at] = int32(at)
		}
		return amqp.Publishing{Body: body, Headers: amqp.Table{"list": list}}
	case 6:
		return amqp.Publishing{Body: body, ContentEncoding: strings.Repeat("e", 255), Headers: amqp.Table{"a": "b"}, DeliveryMode: 1,
			Priority: 9, CorrelationId: strings.Repeat("c", 255), ReplyTo: "r", Expiration: "60000", MessageId: "m",
			Timestamp: time.Unix(1, 0), Type: "t", UserId: "guest", AppId: "a"}
	case 7:
		return amqp.Publishing{Body: body, Headers: amqp.Table{"traceparent": own}, AppId: "a"}
	case 8:
		return amqp.Publishing{Body: body, Headers: amqp.Table{"long": strings.Repeat("l", 5000)}}
	case 9:
		return amqp.Publishing{Body: body, Headers: amqp.Table{}, Type: "t"}
	}
	return amqp.Publishing{Body: body}
}

func main() {
	// It is read when it starts, and connects before that is over.
	time.Sleep(time.Second)
	for at := range counting {
		counting[at] = byte(at % 251)
	}
	count, large := must(strconv.Atoi(os.Args[2])), must(strconv.Atoi(os.Args[3]))
	connection := must(amqp.Dial("amqp://guest:guest@" + os.Args[1] + "/"))
	var all sync.WaitGroup
	for part := range 3 {
		all.Go(func() {
			channel := must(connection.Channel())
			must(0, channel.Confirm(false))
			var confirms []*amqp.DeferredConfirmation
			for number := part; number < count; number += 3 {
				confirms = append(confirms, must(channel.PublishWithDeferredConfirmWithContext(context.Background(),
					"amq.topic", os.Args[4]+"."+strconv.Itoa(number), false, false, message(number, large))))
			}
			for _, confirm := range confirms {
				if !confirm.Wait() {
					log.Fatal("not confirmed")
				}
			}
		})
	}
	all.Wait()
	must(0, connection.Close())
	fmt.Println("done", count)
}
