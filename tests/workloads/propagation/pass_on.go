// pass_on PORT TARGET: what is asked of it, it asks of TARGET, with no header of who asked, but one that X-With says: NAME=VALUE.
package main

import (
	"io"
	"net/http"
	"os"
	"strings"
)

func main() {
	port, target := os.Args[1], os.Args[2]
	handle := func(writer http.ResponseWriter, request *http.Request) {
		asked, err := http.NewRequest(request.Method, "http://"+target+request.URL.Path, nil)
		if err != nil {
			panic(err)
		}
		if request.Method == "POST" {
			asked.Body, asked.ContentLength = request.Body, request.ContentLength
		}
		if name, value, ok := strings.Cut(request.Header.Get("X-With"), "="); ok {
			asked.Header.Set(name, value)
		}
		answer, err := http.DefaultClient.Do(asked)
		if err != nil {
			http.Error(writer, err.Error(), http.StatusBadGateway)
			return
		}
		defer answer.Body.Close()
		io.Copy(writer, answer.Body)
	}
	panic(http.ListenAndServe("127.0.0.1:"+port, http.HandlerFunc(handle)))
}
