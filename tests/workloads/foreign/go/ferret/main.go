// ferret ADDRESS URL: FerretDB, which speaks MongoDB's protocol at ADDRESS and keeps its documents in the PostgreSQL at URL.
package main

import (
	"context"
	"log"
	"os"

	"github.com/FerretDB/FerretDB/ferretdb"
)

func main() {
	config := ferretdb.Config{
		Listener:      ferretdb.ListenerConfig{TCP: os.Args[1]},
		Handler:       "postgresql",
		PostgreSQLURL: os.Args[2],
	}
	server, err := ferretdb.New(&config)
	if err == nil {
		err = server.Run(context.Background())
	}
	log.Fatal(err)
}
