// parcels ADDRESS COUNT CONCURRENCY: messages of every outcome through amqp091-go.
//
// Each of CONCURRENCY connections publishes its part of COUNT messages from two threads, each with a channel of its own and
// each message after PACE, and consumes them on a third. At the end a line of JSON for each message published, delivered
// and got, and when that began: of a delivery, when it was published.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

const (
	exchange = "parcels"
	kinds    = 6
)

type line struct {
	At          int64   `json:"at"`
	Operation   string  `json:"operation"`
	Exchange    string  `json:"exchange"`
	Key         string  `json:"key"`
	Queue       *string `json:"queue"`
	Id          string  `json:"id"`
	Size        int     `json:"size"`
	Tag         *uint64 `json:"tag"`
	Redelivered bool    `json:"redelivered"`
	Settled     *string `json:"settled"`
	Error       *string `json:"error"`
}

var (
	mutex sync.Mutex
	told  []line
)

func tell(one line) {
	mutex.Lock()
	defer mutex.Unlock()
	told = append(told, one)
}

func must[T any](value T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return value
}

func tellOf(at int64, operation string, message amqp.Delivery, queue, settled string) {
	one := line{at, operation, message.Exchange, message.RoutingKey, &queue, message.MessageId, len(message.Body),
		&message.DeliveryTag, message.Redelivered, &settled, nil}
	if settled == "" {
		one.Settled = nil
	}
	tell(one)
}

func kind(id string) int {
	return must(strconv.Atoi(strings.Split(id, "-")[2])) % kinds
}

func tellDelivered(message amqp.Delivery, queue, settled string) {
	tellOf(message.Headers["at"].(int64), "deliver", message, queue, settled)
}

// Publishes all of it, then waits for the confirms.
func send(connection *amqp.Connection, part int, calls []int, box, full string) {
	channel := must(connection.Channel())
	must(0, channel.Confirm(false))
	returns := channel.NotifyReturn(make(chan amqp.Return, len(calls)))
	type sent struct {
		line
		confirm *amqp.DeferredConfirmation
	}
	var all []sent
	pace, _ := time.ParseDuration(os.Getenv("PACE"))
	for _, call := range calls {
		// The other thread waits as long.
		time.Sleep(2 * pace)
		id, key, to, size := fmt.Sprintf("amqp091-%d-%d", part, call), fmt.Sprintf("amqp091-key-%d", part), exchange, 10
		switch call % kinds {
		case 1:
			size = 10000
		case 2:
			key, size = "nobody", 0
		case 3:
			to, key, size = "", box, 3
		case 4:
			to, key, size = "", full, 100
		case 5:
			size = 20
		}
		at := time.Now().UnixNano()
		confirm := must(channel.PublishWithDeferredConfirmWithContext(context.Background(), to, key, call%kinds == 2, false,
			amqp.Publishing{MessageId: id, CorrelationId: id, Body: make([]byte, size),
				Headers: amqp.Table{"at": at, "t": amqp.Table{"u": uint8(3)}, "a": []any{int64(1), "x"}}}))
		all = append(all, sent{line{At: at, Operation: "publish", Exchange: to, Key: key, Id: id, Size: size}, confirm})
	}
	for at := range all {
		if !all[at].confirm.Wait() {
			nack := "nack"
			all[at].Error = &nack
		}
	}
	must(0, channel.Close())
	codes := map[string]string{}
	for back := range returns {
		codes[back.MessageId] = strconv.Itoa(int(back.ReplyCode))
	}
	for _, one := range all {
		if code, is := codes[one.Id]; is {
			one.Error = &code
		}
		tell(one.line)
	}
}

func receive(channel *amqp.Channel, deliveries <-chan amqp.Delivery, queue string, due int) {
	var held []amqp.Delivery
	for due > 0 {
		message := <-deliveries
		switch {
		case kind(message.MessageId) == 5 && !message.Redelivered:
			must(0, message.Nack(false, true))
			tellDelivered(message, queue, "nack")
			continue
		case kind(message.MessageId) == 1 && due > 1:
			held = append(held, message)
		case kind(message.MessageId) == 0 && due > 1:
			must(0, message.Ack(false))
			tellDelivered(message, queue, "ack")
		default:
			must(0, message.Ack(true))
			for _, one := range append(held, message) {
				tellDelivered(one, queue, "ack")
			}
			held = nil
		}
		due--
	}
}

func calls(address string, part, count, concurrency int) {
	connection := must(amqp.DialConfig("amqp://guest:guest@"+address+"/", amqp.Config{FrameSize: 8192}))
	channel := must(connection.Channel())
	queue, full := fmt.Sprintf("amqp091-%d", part), fmt.Sprintf("amqp091-full-%d", part)
	must(0, channel.ExchangeDeclare(exchange, "direct", false, false, false, false, nil))
	must(channel.QueueDeclare(queue, false, false, true, false, nil))
	must(0, channel.QueueBind(queue, fmt.Sprintf("amqp091-key-%d", part), exchange, false, nil))
	must(channel.QueueDeclare(full, false, false, true, false, amqp.Table{"x-max-length": 1, "x-overflow": "reject-publish"}))
	box := must(channel.QueueDeclare("", false, false, true, false, nil)).Name
	deliveries := must(channel.Consume(queue, "", false, false, false, false, nil))

	due, halves := 0, [2][]int{}
	for call := part; call < count; call += concurrency {
		halves[call/concurrency%2] = append(halves[call/concurrency%2], call)
		if kind := call % kinds; kind == 0 || kind == 1 || kind == 5 {
			due++
		}
	}
	var work sync.WaitGroup
	for _, half := range halves {
		work.Go(func() { send(connection, part, half, box, full) })
	}
	work.Go(func() { receive(channel, deliveries, queue, due) })
	work.Wait()
	for {
		at := time.Now().UnixNano()
		message, ok, err := channel.Get(box, true)
		if must(ok, err); !ok {
			break
		}
		tellOf(at, "get", message, box, "")
	}
	// Where there is no exchange of that name, the channel is closed.
	failing := must(connection.Channel())
	must(0, failing.Confirm(false))
	closed := failing.NotifyClose(make(chan *amqp.Error, 1))
	at, id, key := time.Now().UnixNano(), fmt.Sprintf("amqp091-%d-nowhere", part), fmt.Sprintf("amqp091-key-%d", part)
	must(0, failing.PublishWithContext(context.Background(), "nowhere", key, false, false,
		amqp.Publishing{MessageId: id, CorrelationId: id, Body: make([]byte, 5)}))
	code := strconv.Itoa((<-closed).Code)
	tell(line{At: at, Operation: "publish", Exchange: "nowhere", Key: key, Id: id, Size: 5, Error: &code})
	must(0, connection.Close())
}

func main() {
	count, concurrency := must(strconv.Atoi(os.Args[2])), must(strconv.Atoi(os.Args[3]))
	var all sync.WaitGroup
	for part := range concurrency {
		all.Go(func() { calls(os.Args[1], part, count, concurrency) })
	}
	all.Wait()
	out := json.NewEncoder(os.Stdout)
	for _, one := range told {
		must(0, out.Encode(one))
	}
}
