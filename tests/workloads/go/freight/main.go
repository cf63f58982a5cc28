// freight ADDRESS COUNT CONNECTIONS: many small messages through amqp091-go, each confirmed and each acknowledged.
//
// Each connection has a queue, channels that publish its part of COUNT messages, and one that consumes them. At the end a
// line of JSON: how many were published, confirmed and delivered.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"strconv"
	"sync"
	"sync/atomic"

	amqp "github.com/rabbitmq/amqp091-go"
)

const (
	senders = 3
	// Not confirmed or not acknowledged at a time, of a channel.
	window = 200
	// Acknowledged at once.
	batch = 10
)

var published, confirmed, delivered atomic.Int64

func must[T any](value T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return value
}

func send(channel *amqp.Channel, queue string, count int) {
	must(0, channel.Confirm(false))
	waiting := make(chan *amqp.DeferredConfirmation, window)
	go func() {
		defer close(waiting)
		for range count {
			message := amqp.Publishing{Body: []byte("a small body")}
			waiting <- must(channel.PublishWithDeferredConfirmWithContext(context.Background(), "", queue, false, false, message))
			published.Add(1)
		}
	}()
	for confirm := range waiting {
		if confirm.Wait() {
			confirmed.Add(1)
		}
	}
}

func receive(deliveries <-chan amqp.Delivery, count int) {
	for number := range count {
		message := <-deliveries
		if number%batch == batch-1 || number == count-1 {
			must(0, message.Ack(true))
		}
		delivered.Add(1)
	}
}

func work(address string, part, count int) {
	connection := must(amqp.Dial("amqp://guest:guest@" + address + "/"))
	channel, queue := must(connection.Channel()), fmt.Sprintf("freight-%d", part)
	must(channel.QueueDeclare(queue, false, false, true, false, nil))
	must(0, channel.Qos(window, 0, false))
	deliveries := must(channel.Consume(queue, "", false, false, false, false, nil))
	var all sync.WaitGroup
	for sender := range senders {
		all.Go(func() { send(must(connection.Channel()), queue, (count+sender)/senders) })
	}
	all.Go(func() { receive(deliveries, count) })
	all.Wait()
	must(0, connection.Close())
}

func main() {
	count, connections := must(strconv.Atoi(os.Args[2])), must(strconv.Atoi(os.Args[3]))
	var all sync.WaitGroup
	for part := range connections {
		all.Go(func() { work(os.Args[1], part, (count+part)/connections) })
	}
	all.Wait()
	must(0, json.NewEncoder(os.Stdout).Encode(map[string]int64{
		"published": published.Load(), "confirmed": confirmed.Load(), "delivered": delivered.Load()}))
}
