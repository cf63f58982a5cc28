// consume PORT COUNT STOCK PREFETCH: chain/messages.py's consumer by amqp091-go, which handles up to PREFETCH messages at a time,
// each in a goroutine that asks stock.
package main

import (
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"strconv"

	amqp "github.com/rabbitmq/amqp091-go"
)

func must[T any](value T, err error) T {
	if err != nil {
		log.Panic(err)
	}
	return value
}

func main() {
	count := must(strconv.Atoi(os.Args[2]))
	connection := must(amqp.Dial("amqp://guest:guest@127.0.0.1:" + os.Args[1] + "/"))
	channel := must(connection.Channel())
	must(0, channel.Qos(must(strconv.Atoi(os.Args[4])), 0, false))
	must(0, channel.ExchangeDeclare("shop", "topic", false, false, false, false, nil))
	must(channel.QueueDeclare("orders", false, false, false, false, nil))
	must(0, channel.QueueBind("orders", "placed.*", "shop", false, nil))
	deliveries := must(channel.Consume("orders", "", false, false, false, false, nil))
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 10}}
	done := make(chan string)
	fmt.Println("listening")
	go func() {
		for delivery := range deliveries {
			go func() {
				response := must(client.Get("http://" + os.Args[3] + "/stock/" + delivery.MessageId))
				must(io.ReadAll(response.Body))
				response.Body.Close()
				must(0, delivery.Ack(false))
				done <- delivery.MessageId
			}()
		}
	}()
	for range count {
		fmt.Println(<-done)
	}
	must(0, connection.Close())
}
