// ledger URL COUNT CONCURRENCY: statements of every outcome through pgx.
//
// At the end a line of JSON for each statement: its text, rows returned (null where it returns none by its nature),
// SQLSTATE of its failure.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"log"
	"os"
	"strconv"
	"strings"
	"sync"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

type line struct {
	Statement string  `json:"statement"`
	Rows      *int    `json:"rows"`
	Code      *string `json:"code"`
}

var (
	mutex sync.Mutex
	told  []line
)

func tell(statement string, rows int, err error) {
	one := line{Statement: statement}
	var failure *pgconn.PgError
	switch {
	case errors.As(err, &failure):
		one.Code = &failure.Code
	case err != nil:
		log.Fatal(err)
	case strings.HasPrefix(statement, "SELECT"):
		one.Rows = &rows
	}
	mutex.Lock()
	defer mutex.Unlock()
	told = append(told, one)
}

func execute(connection *pgx.Conn, statement string, values ...any) {
	rows, err := connection.Query(context.Background(), statement, values...)
	count := 0
	if err == nil {
		for rows.Next() {
			count++
		}
		err = rows.Err()
	}
	tell(statement, count, err)
}

func calls(url string, part, count, concurrency int) {
	ctx := context.Background()
	connection, err := pgx.Connect(ctx, url)
	if err != nil {
		log.Fatal(err)
	}
	defer connection.Close(ctx)
	for call := part; call < count; call += concurrency {
		switch call % 6 {
		case 0:
			execute(connection, "SELECT id, name FROM accounts WHERE id = $1", call%100+1)
		case 1:
			execute(connection, "SELECT id FROM accounts ORDER BY id LIMIT 7")
		case 2:
			execute(connection, "BEGIN")
			execute(connection, "UPDATE accounts SET balance = balance + 1 WHERE id = $1", call%100+1)
			execute(connection, "COMMIT")
		case 3:
			execute(connection, "SELECT 1 / ($1::int)", 0)
		case 4:
			execute(connection, "INSERT INTO accounts (id, name) VALUES (1, 'twice')")
		default:
			// In one go, behind one Sync.
			batch := &pgx.Batch{}
			statements := []string{"SELECT $1::int + 1", "SELECT $1::text || 'x'", "SELECT id FROM accounts WHERE id < $1"}
			batch.Queue(statements[0], 1)
			batch.Queue(statements[1], "1")
			batch.Queue(statements[2], 5)
			results := connection.SendBatch(ctx, batch)
			for at, rows := range []int{1, 1, 4} {
				_, err := results.Exec()
				tell(statements[at], rows, err)
			}
			results.Close()
		}
	}
}

func main() {
	count, _ := strconv.Atoi(os.Args[2])
	concurrency, _ := strconv.Atoi(os.Args[3])
	var all sync.WaitGroup
	for part := range concurrency {
		all.Go(func() { calls(os.Args[1], part, count, concurrency) })
	}
	all.Wait()
	out := json.NewEncoder(os.Stdout)
	for _, one := range told {
		if err := out.Encode(one); err != nil {
			log.Fatal(err)
		}
	}
}
